"""Find out how a data set is laid out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from medlocker.datasets.base import Layout
from medlocker.datasets.files import list_images
from medlocker.datasets.folder_layouts import (
    class_folders,
    list_folders,
    list_idrid_segmentation,
    list_plain,
    segmentation_base,
)
from medlocker.datasets.masks import INDEX_NAME, mask_folder
from medlocker.datasets.retinamnist import find_archive, list_retinamnist
from medlocker.datasets.spec import DatasetSpec, Listing
from medlocker.datasets.table_layouts import (
    APTOS_COLUMNS,
    APTOS_NAME,
    EYEPACS_COLUMNS,
    EYEPACS_NAME,
    LABELS_NAME,
    grading_base,
    list_aptos,
    list_csv,
    list_eyepacs,
    list_idrid_grading,
)
from medlocker.datasets.tables import read_table
from medlocker.errors import DatasetError

_LISTERS: dict[Layout, Callable[[DatasetSpec], Listing]] = {
    "csv": list_csv,
    "folders": list_folders,
    "plain": list_plain,
    "eyepacs": list_eyepacs,
    "aptos": list_aptos,
    "idrid_grading": list_idrid_grading,
    "idrid_segmentation": list_idrid_segmentation,
}


def list_entries(spec: DatasetSpec, cache: Path | None) -> Listing:
    """List what the data set holds, by the layout that was asked for or found.

    Raises:
        DatasetError: the root is missing, or its layout is unclear or another than asked for.
    """
    if not spec.root.exists():
        raise DatasetError(f"{spec.root}: no such folder", fix="give --data the folder of the images")
    layout = find_layout(spec) if spec.layout == "auto" else spec.layout
    if layout == "retinamnist":
        return list_retinamnist(spec, cache)
    if not spec.root.is_dir():
        raise DatasetError(f"{spec.root}: not a folder", fix="give --data the folder of the images")
    return _LISTERS[layout](spec)


def find_layout(spec: DatasetSpec) -> Layout:
    """The layout of a data set.

    Args:
        spec: its root and, where given, its CSV file.

    Raises:
        DatasetError: more than one layout fits, or none.
    """
    if spec.labels is not None:
        return "csv"
    found = _named_layouts(spec.root)
    if len(found) > 1:
        raise DatasetError(f"{spec.root}: {' and '.join(found)} both fit", fix="name one with --layout")
    return found[0] if found else _bare_layout(spec)


def _named_layouts(root: Path) -> list[Layout]:
    """Layouts with names of their own."""
    found: list[Layout] = []
    if _has_columns(root / EYEPACS_NAME, EYEPACS_COLUMNS):
        found.append("eyepacs")
    if _has_columns(root / APTOS_NAME, APTOS_COLUMNS):
        found.append("aptos")
    if grading_base(root):
        found.append("idrid_grading")
    if segmentation_base(root):
        found.append("idrid_segmentation")
    if find_archive(root):
        found.append("retinamnist")
    if (root / LABELS_NAME).is_file() or (root / INDEX_NAME).is_file():
        found.append("csv")
    return found


def _has_columns(path: Path, columns: tuple[str, ...]) -> bool:
    return path.is_file() and set(columns) <= set(read_table(path).columns)


def _bare_layout(spec: DatasetSpec) -> Layout:
    if not spec.root.is_dir():
        raise DatasetError(f"{spec.root}: not a folder", fix="give --data the folder of the images")
    tables = sorted(path.name for path in spec.root.glob("*.csv"))
    if tables:
        raise DatasetError(
            f"{spec.root}: which file holds the labels is unclear",
            why=f"it has {', '.join(tables)}",
            fix="name it with --labels, or use --layout folders or plain",
        )
    masks = mask_folder(spec)
    folders, beside = class_folders(spec.root, list_images(spec.root, skip=[masks] if masks else []))
    if beside and folders:
        raise DatasetError(
            f"{spec.root}: images lie both in folders and beside them", fix="use --layout folders or --layout plain"
        )
    return "folders" if len(folders) > 1 else "plain"
