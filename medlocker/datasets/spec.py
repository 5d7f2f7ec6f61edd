"""What a user says about a data set, and what a layout finds before any pixel is decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from medlocker.datasets.base import Layout, OnError, Problem


class DatasetSpec(BaseModel):
    """Where a data set is and which part of it is wanted.

    Attributes:
        root: its folder, or the `.npz` file of RetinaMNIST.
        layout: how it is laid out; `auto` finds out.
        labels: CSV with file names and labels; None to look for `labels.csv` or `index.csv` in `root`.
        id_column: column with file names; None to recognise it by its name.
        label_column: column with labels; None to recognise it by its name.
        where: (column, value) pairs; only rows that match all of them are selected.
        masks: folder with one sub-folder a lesion type, or a CSV with one column a lesion type; None to look for
            `index.csv` or `masks/` in `root`.
        limit: keep the first so many images in the order of their ids.
        per_class: draw at most so many images of each class; a smaller class is taken whole.
        seed: of that draw.
        on_error: `stop` refuses a selection with unusable files, `skip` leaves them out.
        download: let the `medmnist` package fetch RetinaMNIST into `root` where it is not there yet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path
    layout: Layout = "auto"
    labels: Path | None = None
    id_column: str | None = None
    label_column: str | None = None
    where: tuple[tuple[str, str], ...] = ()
    masks: Path | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    per_class: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    on_error: OnError = "stop"
    download: bool = False


@dataclass(frozen=True)
class Entry:
    """One image a layout lists, not yet decoded.

    Attributes:
        relative_path: below the data set's root.
        path: where the file is.
        label: as written; "" where a labelled data set gives none, None in an unlabelled data set.
        columns: the CSV row, for `where`.
        problem: why the entry cannot be used, where that shows without decoding.
        lesion_masks: lesion type → mask file.
        in_table: false for an image beside the listed ones that no row of the CSV names.
        materialise: writes the file where it comes out of an archive; None where it is on disk already.
    """

    relative_path: PurePosixPath
    path: Path
    label: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    problem: Problem | None = None
    lesion_masks: Mapping[str, Path] = field(default_factory=dict)
    in_table: bool = True
    materialise: Callable[[], None] | None = None

    @property
    def id(self) -> str:
        """The relative path without its suffix."""
        return self.relative_path.as_posix().removesuffix(self.relative_path.suffix)


@dataclass(frozen=True)
class Listing:
    """Everything a layout lists.

    Attributes:
        root: folder the relative paths count from.
        layout: the layout that was found.
        entries: in any order.
        labelled: whether the layout gives labels.
        has_columns: whether `where` can be applied.
    """

    root: Path
    layout: Layout
    entries: tuple[Entry, ...]
    labelled: bool
    has_columns: bool = False
