"""The paper's selection: only images that every network reads correctly when clean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import torch

from medlocker.classifiers import Classifier
from medlocker.datasets import Dataset, DatasetSpec, Record
from medlocker.errors import DatasetError
from medlocker.imageio import read_image
from medlocker.jobs.progress import Progress
from medlocker.preprocessing import network_input

BATCH = 32


def keep_readable(dataset: Dataset, networks: Sequence[Classifier], spec: DatasetSpec, progress: Progress) -> Dataset:
    """Keep the images that all networks read correctly, then sample them.

    Source: paper section 3, "we only attack samples that are successfully classified by all networks".

    Args:
        dataset: labelled images.
        networks: sources and targets.
        spec: its `per_class`, `limit` and `seed` are applied after the selection.
        progress: shows the reading.

    Returns:
        The smaller data set, in the same order.

    Raises:
        DatasetError: the data set has no labels, or no image is left.
    """
    if not dataset.labelled:
        raise DatasetError(f"{dataset.root}: --only-correct needs labels", fix="give --labels, or leave the option out")
    kept: list[Record] = []
    records = iter(dataset.records)
    with progress.stage("Selecting images every network reads correctly", len(dataset.records)) as advance:
        while chunk := list(islice(records, BATCH)):
            kept += _all_correct(chunk, networks)
            advance(len(chunk), f"{len(kept)} kept")
    chosen = draw_sample(kept, spec)
    if not chosen:
        raise DatasetError(
            f"{dataset.root}: no image is read correctly by all of {', '.join(n.name for n in networks)}"
        )
    return replace(dataset, records=tuple(chosen))


def _all_correct(records: Sequence[Record], networks: Sequence[Classifier]) -> list[Record]:
    pixels = [read_image(r.path).pixels for r in records]
    labels = np.array([r.label for r in records])
    right = np.ones(len(records), dtype=bool)
    for network in networks:
        inputs = torch.stack([network_input(p, network.preprocessing) for p in pixels]).to(network.device)
        right &= network.probabilities(inputs).argmax(1).cpu().numpy() == labels
    return [r for r, ok in zip(records, right, strict=True) if ok]


def draw_sample(records: Sequence[Record], spec: DatasetSpec) -> list[Record]:
    """At most `spec.per_class` records of each class, drawn by `spec.seed`, in the order of their ids."""
    if spec.per_class is None:
        return list(records)[: spec.limit]
    rng = np.random.default_rng(spec.seed)
    chosen: list[Record] = []
    for label in sorted({r.label for r in records if r.label is not None}):
        group = [r for r in records if r.label == label]
        picks = rng.permutation(len(group))[: spec.per_class]
        chosen += [group[i] for i in picks]
    return sorted(chosen, key=lambda r: r.id)[: spec.limit]
