"""What every data set looks like to the rest of MedLocker, whatever its layout on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

Layout = Literal[
    "auto", "csv", "folders", "plain", "eyepacs", "aptos", "idrid_grading", "idrid_segmentation", "retinamnist"
]
OnError = Literal["stop", "skip"]


@dataclass(frozen=True)
class Record:
    """One image of a data set.

    Attributes:
        id: stable name inside the data set: the path relative to its root, posix form, without the suffix.
        path: where the image file is.
        relative_path: the path relative to the data set's root, with suffix.
        label: index into the data set's `class_names`, or None.
        pixel_sha256: `medlocker.blending.pixel_sha256` of the decoded pixels.
        lesion_masks: lesion type → mask file, same frame as the image; empty where none are given.
    """

    id: str
    path: Path
    relative_path: PurePosixPath
    label: int | None
    pixel_sha256: str
    lesion_masks: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used, and why.

    Attributes:
        path: the file, or the row's file name where no file was found.
        reason: one of the listed causes.
        detail: one sentence for the user.
    """

    path: Path
    reason: Literal["missing", "empty", "unreadable", "unsupported", "duplicate", "unlabelled", "bad_label"]
    detail: str


@dataclass(frozen=True)
class Dataset:
    """A data set: its records in a stable order (sorted by id), and what was left out.

    Attributes:
        name: short name for tables and runs.
        root: the folder (or file) it was read from.
        layout: the layout that was found.
        records: sorted by id.
        class_names: one name per class index; empty for an unlabelled data set.
        problems: files that were left out under `on_error="skip"`.
    """

    name: str
    root: Path
    layout: Layout
    records: tuple[Record, ...]
    class_names: tuple[str, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether every record has a label."""
        return bool(self.records) and all(record.label is not None for record in self.records)
