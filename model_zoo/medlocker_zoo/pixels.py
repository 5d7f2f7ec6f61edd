"""Images and labels of a data set, ready for training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from medlocker.classifiers import Preprocessing
from medlocker.datasets.base import Dataset
from medlocker.errors import DatasetError
from medlocker.imageio import read_image
from medlocker.preprocessing import resize_unit, unit_channels


def labels_of(dataset: Dataset) -> npt.NDArray[np.int64]:
    """(n,) class index per record.

    Raises:
        DatasetError: an image has no label, or one outside the class names.
    """
    for record in dataset.records:
        if record.label is None or not 0 <= record.label < len(dataset.class_names):
            raise DatasetError(
                f"{record.path}: no usable label",
                why=f"training and measuring need one of {len(dataset.class_names)} classes for every image",
                fix="give labels with --labels CSV",
            )
    return np.asarray([record.label for record in dataset.records], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class PixelCache:
    """A data set decoded and resized once.

    Attributes:
        images: (n, 3, S, S) uint8, channels last in memory.
        labels: (n,) int64.
        classes: number of classes.
    """

    images: torch.Tensor
    labels: torch.Tensor
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    def unit_batch(self, indices: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, S, S) float32 in [0, 1] and (B,) labels of some images, on `device`."""
        return self.images[indices].to(device).float() / 255, self.labels[indices].to(device)


def cache_pixels(
    dataset: Dataset, preprocessing: Preprocessing, progress: Callable[[int, int], None] | None = None
) -> PixelCache:
    """Decode every image and resize it to the network's input.

    The resized values are rounded to 8 bits, 0.5/255 at most away from what the network sees later; training does not
    notice, and everything that is reported is measured without this rounding.

    Args:
        dataset: fully labelled.
        preprocessing: the network's.
        progress: called with images done and images in all.

    Raises:
        DatasetError: an image has no label.
        ImageReadError: an image cannot be read.
    """
    labels = torch.from_numpy(labels_of(dataset))
    side, count = preprocessing.input_size, len(dataset.records)
    images = torch.empty((count, 3, side, side), dtype=torch.uint8, memory_format=torch.channels_last)
    for index, record in enumerate(dataset.records):
        values = resize_unit(unit_channels(read_image(record.path).pixels), preprocessing)
        images[index] = (values.clamp(0, 1) * 255).round().to(torch.uint8)
        if progress:
            progress(index + 1, count)
    return PixelCache(images, labels, len(dataset.class_names))
