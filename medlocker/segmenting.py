"""Lesion masks from a segmentation network: the interface it offers, and a data set with its predictions as masks."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medlocker.blending import Pixels
from medlocker.datasets import Dataset, Record, dataset_digest
from medlocker.errors import DatasetError
from medlocker.imageio import StoredImage, encode_image, read_image, write_atomic

LESIONS = ("MA", "HE", "EX", "SE")
"""Microaneurysms, haemorrhages, hard exudates, soft exudates: the lesion types of IDRiD."""


NOTE_NAME = "masks.json"
"""Beside predicted masks: which network drew them, and for which images."""


class Segmenter(Protocol):
    """A network that finds lesions.

    Attributes:
        name: for messages and records.
        lesions: one type an output, e.g. `MA`.
        thresholds: probability from which a pixel counts as lesion, one a type.
        fingerprint: SHA-256 (hexadecimal) of its weights.
        runtime: what really executes it.
    """

    @property
    def name(self) -> str: ...
    @property
    def lesions(self) -> tuple[str, ...]: ...
    @property
    def thresholds(self) -> tuple[float, ...]: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def runtime(self) -> str: ...

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Probability of every lesion type at every pixel.

        Args:
            pixels: (H, W), (H, W, 3) or (H, W, 4) stored pixels.

        Returns:
            (K, H, W) float32 in 0–1, in the image's frame.
        """
        ...


def predicted_masks(segmenter: Segmenter, pixels: Pixels) -> dict[str, npt.NDArray[np.bool_]]:
    """Lesion type → (H, W) bool, true from that type's threshold on."""
    found = segmenter.probabilities(pixels)
    return {
        lesion: np.asarray(values >= threshold, dtype=np.bool_)
        for lesion, threshold, values in zip(segmenter.lesions, segmenter.thresholds, found, strict=True)
    }


def save_masks(masks: Mapping[str, npt.NDArray[np.bool_]], folder: Path, record_id: str) -> dict[str, Path]:
    """Write masks as `<folder>/<type>/<id>.png`, white on the lesion; types without a pixel are written too.

    Args:
        masks: lesion type → (H, W) bool.
        folder: of all masks; the layout `--masks` reads.
        record_id: of the image.

    Returns:
        Lesion type → file.
    """
    files = {}
    for lesion, mask in masks.items():
        files[lesion] = folder / lesion / f"{record_id}.png"
        white = StoredImage(mask.astype(np.uint8) * np.uint8(255))
        write_atomic(files[lesion], encode_image(white, ".png"))
    return files


def with_predicted_masks(
    dataset: Dataset,
    segmenter: Segmenter,
    folder: Path,
    *,
    keep: Collection[str] = (),
    on_image: Callable[[int], None] | None = None,
) -> Dataset:
    """The data set with predicted lesion masks in place of those it came with.

    An interrupted call continues: masks that are there already are used again. A note in the folder says which network
    drew them and for which images, and another call refuses it.

    Args:
        dataset: what to segment.
        segmenter: the network.
        folder: where the masks are kept.
        keep: types whose given masks stay, such as the optic disc's.
        on_image: told 1 after each image.

    Returns:
        The same records with `lesion_masks` that name the written files.

    Raises:
        DatasetError: the folder holds something else, or the masks of another network or other images.
    """
    _claim(folder, segmenter, dataset)
    records = []
    for record in dataset.records:
        records.append(_masked(record, segmenter, folder, keep))
        if on_image:
            on_image(1)
    return replace(dataset, records=tuple(records))


def _claim(folder: Path, segmenter: Segmenter, dataset: Dataset) -> None:
    note = folder / NOTE_NAME
    wanted = {
        "segmenter": segmenter.fingerprint,
        "thresholds": dict(zip(segmenter.lesions, segmenter.thresholds, strict=True)),
        "dataset": dataset_digest(dataset),
    }
    text = (json.dumps(wanted, indent=2, sort_keys=True) + "\n").encode()
    if note.is_file() and note.read_bytes() == text:
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(
            f"{folder}: does not hold the masks of this network and these images",
            fix="name a new or empty folder, or delete this one",
        )
    write_atomic(note, text)


def _masked(record: Record, segmenter: Segmenter, folder: Path, keep: Collection[str]) -> Record:
    files = {lesion: folder / lesion / f"{record.id}.png" for lesion in segmenter.lesions}
    if not all(path.is_file() for path in files.values()):
        files = save_masks(predicted_masks(segmenter, read_image(record.path).pixels), folder, record.id)
    kept = {kind: path for kind, path in record.lesion_masks.items() if kind in keep and kind not in files}
    return replace(record, lesion_masks=kept | files)
