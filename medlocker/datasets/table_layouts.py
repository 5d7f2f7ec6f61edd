"""Layouts in which a CSV file says which images there are: our own, Kaggle's and IDRiD's grading part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from medlocker.datasets.base import Layout, Problem
from medlocker.datasets.files import FileIndex, is_inside, list_images
from medlocker.datasets.masks import INDEX_NAME, attach_masks, mask_folder
from medlocker.datasets.spec import DatasetSpec, Entry, Listing
from medlocker.datasets.tables import (
    Table,
    file_column,
    label_column,
    missing_label_column,
    path_columns,
    read_table,
)
from medlocker.errors import DatasetError
from medlocker.imageio import IMAGE_SUFFIXES

LABELS_NAME = "labels.csv"
EYEPACS_NAME, EYEPACS_COLUMNS = "trainLabels.csv", ("image", "level")
APTOS_NAME, APTOS_COLUMNS = "train.csv", ("id_code", "diagnosis")
GRADING_FOLDER = "B. Disease Grading"
ORIGINALS, GRADING_TRUTHS = "1. Original Images", "2. Groundtruths"
IDRID_PARTS = {"a": "train", "b": "test"}


def list_csv(spec: DatasetSpec) -> Listing:
    """A folder with a CSV file of labels, given or found as `labels.csv` or `index.csv`.

    An `index.csv` that was found and has mask columns may do without labels.

    Raises:
        DatasetError: no CSV file, or its columns are not recognised.
    """
    candidates = [spec.labels] if spec.labels else [spec.root / LABELS_NAME, spec.root / INDEX_NAME]
    path = next((path for path in candidates if path == spec.labels or path.is_file()), None)
    if path is None:
        raise DatasetError(f"{spec.root}: no labels.csv", fix="name the CSV file with --labels")
    table = read_table(path)
    files, labels = file_column(table, spec.id_column), label_column(table, spec.label_column)
    found_index = spec.labels is None and path.name == INDEX_NAME
    if labels is None and not (found_index and path_columns(table, (files,), IMAGE_SUFFIXES)):
        raise missing_label_column(table)
    return _list_table(spec, "csv", table, files, labels)


def list_eyepacs(spec: DatasetSpec) -> Listing:
    """EyePACS as Kaggle hands it out: `trainLabels.csv` with image and level, images such as `10_left.jpeg` below."""
    return _list_kaggle(spec, "eyepacs", EYEPACS_NAME, EYEPACS_COLUMNS)


def list_aptos(spec: DatasetSpec) -> Listing:
    """APTOS 2019 as Kaggle hands it out: `train.csv` with id_code and diagnosis, `train_images/*.png`."""
    return _list_kaggle(spec, "aptos", APTOS_NAME, APTOS_COLUMNS)


def _list_kaggle(spec: DatasetSpec, layout: Layout, name: str, columns: tuple[str, str]) -> Listing:
    table = read_table(spec.labels or spec.root / name)
    files = file_column(table, spec.id_column or columns[0])
    labels = label_column(table, spec.label_column or columns[1])
    return _list_table(spec, layout, table, files, labels)


def _list_table(spec: DatasetSpec, layout: Layout, table: Table, files: str, labels: str | None) -> Listing:
    masks = mask_folder(spec)
    images = list_images(spec.root, skip=[masks] if masks else [])
    index = FileIndex(spec.root, images)
    entries = table_entries(table, files, labels, index, spec.root)
    if labels is not None:
        entries += _unlisted(entries, images, spec.root)
    return Listing(spec.root, layout, attach_masks(entries, spec, index), labels is not None, has_columns=True)


def table_entries(
    table: Table,
    files: str,
    labels: str | None,
    index: FileIndex,
    root: Path,
    extra: Mapping[str, str] | None = None,
) -> list[Entry]:
    """One entry a row.

    Args:
        table: the CSV file.
        files: its column with file names.
        labels: its column with labels, or None.
        index: the images the rows can mean.
        root: folder that ids count from.
        extra: further columns for `where`, the same in every row.
    """
    entries = []
    for number, row in enumerate(table.rows, start=2):
        path, problem = _locate(row[files] or f"(row {number})", index, root)
        relative = PurePosixPath(path.relative_to(root).as_posix()) if problem is None else PurePosixPath(row[files])
        label = None if labels is None else row[labels]
        entries.append(Entry(relative, path, label, {**row, **(extra or {})}, problem))
    return entries


def _locate(name: str, index: FileIndex, root: Path) -> tuple[Path, Problem | None]:
    written = Path(name)
    if written.is_absolute() and written.is_relative_to(root.absolute()):
        name = written.relative_to(root.absolute()).as_posix()
    path = root / name
    if Path(name).is_absolute() or ".." in PurePosixPath(name.replace("\\", "/")).parts:
        return Path(name), Problem(Path(name), "unsupported", "the path leaves the data set's folder")
    found = index.find(name)
    if len(found) == 1:
        return found[0], leaving_link(found[0], root)
    if found:
        names = " and ".join(str(file) for file in found[:3])
        return path, Problem(path, "missing", f"the name fits {len(found)} files: {names}")
    return path, Problem(path, "missing", "no such image file below the data set's folder")


def leaving_link(path: Path, root: Path) -> Problem | None:
    """The problem of a file that is a link to somewhere outside the data set."""
    if not path.is_symlink() or is_inside(path, root):
        return None
    return Problem(path, "unsupported", "the file is a link that leaves the data set's folder")


def _unlisted(entries: Iterable[Entry], images: Iterable[Path], root: Path) -> list[Entry]:
    """Images in the same folders as the listed ones that no row names."""
    listed = {entry.path for entry in entries}
    folders = {entry.path.parent for entry in entries if entry.problem is None}
    return [
        Entry(PurePosixPath(path.relative_to(root).as_posix()), path, label="", in_table=False)
        for path in images
        if path.parent in folders and path not in listed
    ]


def grading_base(root: Path) -> Path | None:
    """The folder of IDRiD's grading part at or below a root, or None."""
    for base in (root, root / GRADING_FOLDER):
        if (base / ORIGINALS).is_dir() and (base / GRADING_TRUTHS).is_dir():
            return base
    return None


def list_idrid_grading(spec: DatasetSpec) -> Listing:
    """IDRiD's own folders of part B; the column `split` is `train` or `test`.

    Source: Porwal et al., Indian Diabetic Retinopathy Image Dataset (IDRiD), Data 3(3):25, 2018.

    Raises:
        DatasetError: the folders or CSV files are not there.
    """
    base = grading_base(spec.root)
    if base is None:
        raise DatasetError(f"{spec.root}: no IDRiD grading data", why=f"{ORIGINALS} and {GRADING_TRUTHS} are not there")
    entries: list[Entry] = []
    for part in sorted(path for path in (base / ORIGINALS).iterdir() if path.is_dir()):
        letter = part.name[:1].lower()
        found = sorted((base / GRADING_TRUTHS).glob(f"{letter}.*.csv"))
        if letter not in IDRID_PARTS or len(found) != 1:
            raise DatasetError(f"{part}: {len(found)} CSV files with its grades in {base / GRADING_TRUTHS}, not one")
        table, images = read_table(found[0]), list_images(part)
        files, labels = file_column(table, spec.id_column), label_column(table, spec.label_column)
        if labels is None:
            raise missing_label_column(table)
        extra = {"split": IDRID_PARTS[letter]}
        entries += table_entries(table, files, labels, FileIndex(part, images), spec.root, extra)
        entries += _unlisted(entries, images, spec.root)
    return Listing(spec.root, "idrid_grading", tuple(entries), labelled=True, has_columns=True)
