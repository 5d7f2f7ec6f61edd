"""Lesion masks from a segmentation network: the interface it offers, and its predictions as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medlocker.blending import Pixels
from medlocker.datasets import Dataset, dataset_digest
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


def mask_files(lesions: Sequence[str], folder: Path, record_id: str) -> dict[str, Path]:
    """Where the masks of one image are: lesion type → `<folder>/<type>/<id>.png`, the layout `--masks` reads."""
    return {lesion: folder / lesion / f"{record_id}.png" for lesion in lesions}


def save_mask(path: Path, mask: npt.NDArray[np.bool_]) -> None:
    """Write a (H, W) bool mask as PNG, white on the lesion."""
    write_atomic(path, encode_image(StoredImage(mask.astype(np.uint8) * np.uint8(255)), ".png"))


def write_predicted_masks(
    dataset: Dataset, segmenter: Segmenter, folder: Path, *, on_image: Callable[[int], None] | None = None
) -> None:
    """Draw the lesion masks of every image of a data set.

    An interrupted call continues: masks that are there already are left alone. A note in the folder says which network
    drew them and for which images, and another call refuses it.

    Args:
        dataset: what to segment.
        segmenter: the network.
        folder: where the masks are kept.
        on_image: told 1 after each image.

    Raises:
        DatasetError: the folder holds something else, or the masks of another network or other images.
    """
    _claim(folder, segmenter, dataset)
    for record in dataset.records:
        files = mask_files(segmenter.lesions, folder, record.id)
        if not all(path.is_file() for path in files.values()):
            for lesion, mask in predicted_masks(segmenter, read_image(record.path).pixels).items():
                save_mask(files[lesion], mask)
        if on_image:
            on_image(1)


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
