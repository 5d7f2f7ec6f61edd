"""From labels as written to class indices."""

from __future__ import annotations

from collections.abc import Iterable

from medlocker.errors import DatasetError

MAX_CLASSES = 1000


def class_names(labels: Iterable[str]) -> tuple[str, ...]:
    """The classes a set of labels means.

    Labels are grades when at least half of them are whole numbers from 0: the classes then run from 0 to the largest
    one, so that index and grade agree even where a grade has no image. Otherwise they are names, sorted.

    Args:
        labels: labels as written; empty ones do not count.

    Returns:
        One name a class, in the order of the indices.

    Raises:
        DatasetError: more than `MAX_CLASSES` classes: the column is probably not the one with the labels.
    """
    written = [label for label in labels if label]
    grades = [grade for grade in map(_grade, written) if grade is not None]
    if grades and 2 * len(grades) >= len(written):
        count = max(grades) + 1
        names: tuple[str, ...] = tuple(map(str, range(min(count, MAX_CLASSES + 1))))
    else:
        names = tuple(sorted(set(written)))
        count = len(names)
    if count > MAX_CLASSES:
        raise DatasetError(
            f"{count} classes", why="the column may not be the one with the labels", fix="name it with --label-column"
        )
    return names


def class_index(label: str, names: tuple[str, ...]) -> int | None:
    """The index of a label as written, or None where it is not one of the classes."""
    if label in names:
        return names.index(label)
    grade = _grade(label)
    return grade if grade is not None and str(grade) in names else None


def _grade(label: str) -> int | None:
    """Whole numbers from 0, also written as 2.0 or 02."""
    whole, _, decimals = label.partition(".")
    if not (whole.isascii() and whole.isdigit()) or decimals.strip("0"):
        return None
    return int(whole) if len(whole) < 10 else None
