"""Held-out parts of a data set."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from medlocker.datasets.base import Dataset, Record
from medlocker.datasets.regrouping import LabelMap, map_labels, parse_label_map
from medlocker.errors import DatasetError, SettingsError

__all__ = ["LabelMap", "hold_out", "map_labels", "parse_label_map", "split_dataset"]


def split_dataset(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Hold out a share of every class.

    Which images are held out depends on their pixels and the seed alone, not on names or order, and copies of one
    picture stay together.

    Args:
        dataset: fully labelled.
        fraction: share to hold out, 0 < fraction < 1.
        seed: of the choice.

    Returns:
        (rest, held out).

    Raises:
        SettingsError: the fraction is not between 0 and 1.
        DatasetError: a side would be empty.
    """
    if not 0 < fraction < 1:
        raise SettingsError(f"the validation share is {fraction:g}", why="it must lie between 0 and 1")
    held: set[str] = set()
    for label in range(len(dataset.class_names)):
        held |= _drawn({record.pixel_sha256 for record in dataset.records if record.label == label}, fraction, seed)
    return _divided(dataset, held)


def hold_out(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """As `split_dataset`, whatever the labels are.

    Raises:
        SettingsError: the fraction is not between 0 and 1.
        DatasetError: a side would be empty.
    """
    if not 0 < fraction < 1:
        raise SettingsError(f"the validation share is {fraction:g}", why="it must lie between 0 and 1")
    return _divided(dataset, _drawn({record.pixel_sha256 for record in dataset.records}, fraction, seed))


def _drawn(pictures: set[str], fraction: float, seed: int) -> set[str]:
    order = sorted(pictures, key=lambda picture: hashlib.sha256(f"{seed}/{picture}".encode()).digest())
    return set(order[: round(fraction * len(order))])


def _divided(dataset: Dataset, held: set[str]) -> tuple[Dataset, Dataset]:
    inside = [record for record in dataset.records if record.pixel_sha256 in held]
    outside = [record for record in dataset.records if record.pixel_sha256 not in held]
    if not inside or not outside:
        raise DatasetError(
            f"{dataset.name}: {len(dataset.records)} images cannot be split", fix="use more images or another share"
        )
    return _part(dataset, outside, "train"), _part(dataset, inside, "held-out")


def _part(dataset: Dataset, records: list[Record], name: str) -> Dataset:
    return replace(dataset, name=f"{dataset.name} ({name})", records=tuple(records))
