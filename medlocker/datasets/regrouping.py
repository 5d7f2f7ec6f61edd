"""A data set under other labels: classes merged, one class for all, or only some classes kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from medlocker.datasets.base import Dataset
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


def labelled_as(dataset: Dataset, label: str, classes: Sequence[str]) -> Dataset:
    """A data set whose images all belong to one class.

    Args:
        dataset: any; labels it has are replaced.
        label: the class.
        classes: names of all classes, in the order of the networks' outputs.
    """
    index = list(classes).index(label)
    records = tuple(replace(record, label=index) for record in dataset.records)
    return replace(dataset, records=records, class_names=tuple(classes))


def only_classes(dataset: Dataset, names: Collection[str]) -> Dataset:
    """The images of some classes.

    Raises:
        DatasetError: a name is not a class of the data set, or no image is left.
    """
    unknown = sorted(set(names) - set(dataset.class_names))
    if unknown:
        raise DatasetError(
            f"{dataset.name} has no class {unknown[0]!r}", why=f"it has {', '.join(dataset.class_names)}"
        )
    wanted = {dataset.class_names.index(name) for name in names}
    records = tuple(record for record in dataset.records if record.label in wanted)
    if not records:
        raise DatasetError(f"{dataset.name}: no image of {', '.join(names)}")
    return replace(dataset, records=records)
