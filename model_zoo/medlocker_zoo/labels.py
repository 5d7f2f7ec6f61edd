"""Coarser labels and held-out parts of a data set."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from medlocker.datasets.base import Dataset, Record
from medlocker.errors import DatasetError, SettingsError

LabelMap = tuple[tuple[str, tuple[int, ...]], ...]
"""New classes in order: name, and the old class indices it takes in."""


def parse_label_map(text: str) -> LabelMap:
    """Read a label map such as `no DR=0;DR=1,2,3,4`.

    Args:
        text: groups divided by semicolons; old indices divided by commas.

    Raises:
        SettingsError: it does not have that form, or names an old class twice.
    """
    try:
        pairs = [group.split("=") for group in text.split(";")]
        groups = tuple((name.strip(), tuple(int(index) for index in members.split(","))) for name, members in pairs)
    except ValueError as error:
        raise SettingsError(f"--label-map {text!r} cannot be read", fix="write e.g. 'no DR=0;DR=1,2,3,4'") from error
    old = [index for _, members in groups for index in members]
    if len(groups) < 2 or len(set(old)) != len(old):
        raise SettingsError(f"--label-map {text!r}", why="it needs two classes, and each old class once at most")
    return groups


def map_labels(dataset: Dataset, label_map: LabelMap) -> Dataset:
    """The data set under coarser labels; images of classes the map does not name are left out.

    Args:
        dataset: fully labelled.
        label_map: the new classes.

    Raises:
        DatasetError: the map names a class that the data set does not have.
    """
    new_index = {old: new for new, (_, members) in enumerate(label_map) for old in members}
    unknown = [index for index in new_index if not 0 <= index < len(dataset.class_names)]
    if unknown:
        raise DatasetError(
            f"{dataset.name} has no class {unknown[0]}", why=f"it has {len(dataset.class_names)} classes"
        )
    kept = [record for record in dataset.records if record.label in new_index]
    records = tuple(replace(record, label=new_index[record.label or 0]) for record in kept)
    return replace(dataset, records=records, class_names=tuple(name for name, _ in label_map))


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
