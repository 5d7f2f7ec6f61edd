"""Which photographs the benchmarks of search and transfer use, and what a search may do on each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from medlocker.blending import Logo, prepare_mark
from medlocker.classifiers import Classifier
from medlocker.datasets import DatasetSpec, Record, open_dataset
from medlocker.imageio import read_image
from medlocker.placement import feasible_positions
from medlocker.preprocessing import network_input
from medlocker.rendering import PreparedImage
from medlocker.search import SearchSpace
from medlocker_zoo.classifier import TorchClassifier
from medlocker_zoo.resolve import resolve_source

ALPHA_RANGE = (100, 255)


def networks(files: Sequence[str]) -> list[TorchClassifier]:
    """Networks of weights files, each under its file's name."""
    return [resolve_source(file, "cpu") for file in files]


def test_records(folder: Path) -> list[Record]:
    """The test part, unusable files left out."""
    spec = DatasetSpec(root=folder, where=(("split", "test"),), on_error="skip")
    return list(open_dataset(spec).records)


def clean_predictions(network: Classifier, records: Sequence[Record], cache: Path) -> np.ndarray:
    """What a network reads on clean images, (n,); kept in `cache` under the network's fingerprint."""
    file = cache / f"clean-{network.fingerprint[:16]}.npy"
    if file.is_file():
        return np.load(file)
    predicted = []
    for start in range(0, len(records), 32):
        pixels = [read_image(r.path).pixels for r in records[start : start + 32]]
        inputs = torch.stack([network_input(p, network.preprocessing) for p in pixels])
        predicted.append(network.probabilities(inputs).argmax(1).numpy())
    cache.mkdir(parents=True, exist_ok=True)
    np.save(file, np.concatenate(predicted))
    return np.concatenate(predicted)


def choose(records: Sequence[Record], right: np.ndarray, per_class: int, skip: int, seed: int) -> list[int]:
    """Indices of images read rightly: of each class those after the first `skip` in an order drawn by `seed`.

    Classes alternate, so that any beginning of the list is balanced as far as the classes have images.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(records))
    labels = sorted({r.label for r in records if r.label is not None})
    lists = [[int(i) for i in order if right[i] and records[i].label == c][skip : skip + per_class] for c in labels]
    longest = max(map(len, lists))
    return [group[k] for k in range(longest) for group in lists if k < len(group)]


def prepare(
    record: Record, members: Sequence[Classifier], logo: Logo, scale: float
) -> tuple[PreparedImage, SearchSpace]:
    """An image ready to be rendered with marks anywhere, and its feasible placements."""
    pixels = read_image(record.path).pixels
    size = (pixels.shape[1], pixels.shape[0])
    mark = prepare_mark(logo, pixels.shape, pixels.dtype, logo_scale=scale)
    views = dict.fromkeys(m.preprocessing for m in members)
    space = SearchSpace(feasible_positions(size, mark.size, "anywhere"), ALPHA_RANGE, size)
    return PreparedImage(pixels, mark, views, torch.device("cpu")), space
