"""Layouts in which folders say what an image is: one folder a class, no labels, IDRiD's segmentation part."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

from medlocker.datasets.files import FileIndex, list_images
from medlocker.datasets.masks import attach_masks, mask_folder
from medlocker.datasets.spec import DatasetSpec, Entry, Listing
from medlocker.datasets.table_layouts import IDRID_PARTS, ORIGINALS, leaving_link
from medlocker.errors import DatasetError

SEGMENTATION_FOLDER = "A. Segmentation"
SEGMENTATION_TRUTHS = "2. All Segmentation Groundtruths"
_SPLIT_NAMES = frozenset({"train", "training", "test", "testing", "val", "valid", "validation"})


def list_folders(spec: DatasetSpec) -> Listing:
    """A folder per class; images beside the class folders have no label.

    Raises:
        DatasetError: the folders are splits, each with class folders of its own.
    """
    images = _images(spec)
    relatives = [path.relative_to(spec.root).parts for path in images]
    kinds = {parts[0].lower() for parts in relatives if len(parts) > 2}
    if kinds and kinds <= _SPLIT_NAMES:
        raise DatasetError(
            f"{spec.root}: the folders {', '.join(sorted(kinds))} are splits, not classes",
            fix="give --data one of them",
        )
    entries = [_entry(path, spec.root) for path in images]
    labelled = [_labelled_by_folder(entry) for entry in entries]
    return Listing(spec.root, "folders", attach_masks(labelled, spec, FileIndex(spec.root, images)), labelled=True)


def _labelled_by_folder(entry: Entry) -> Entry:
    parts = entry.relative_path.parts
    label = parts[0] if len(parts) > 1 else ""
    return Entry(entry.relative_path, entry.path, label, problem=entry.problem)


def list_plain(spec: DatasetSpec) -> Listing:
    """A folder of images without labels, sub-folders included."""
    images = _images(spec)
    entries = [_entry(path, spec.root) for path in images]
    return Listing(spec.root, "plain", attach_masks(entries, spec, FileIndex(spec.root, images)), labelled=False)


def _images(spec: DatasetSpec) -> list[Path]:
    masks = mask_folder(spec)
    return list_images(spec.root, skip=[masks] if masks else [])


def _entry(path: Path, root: Path, split: str | None = None) -> Entry:
    columns = {} if split is None else {"split": split}
    relative = PurePosixPath(path.relative_to(root).as_posix())
    return Entry(relative, path, columns=columns, problem=leaving_link(path, root))


def class_folders(root: Path, images: list[Path]) -> tuple[set[str], bool]:
    """Names of the top folders that hold images, and whether images lie beside them."""
    relatives = [path.relative_to(root).parts for path in images]
    return {parts[0] for parts in relatives if len(parts) > 1}, any(len(parts) == 1 for parts in relatives)


def segmentation_base(root: Path) -> Path | None:
    """The folder of IDRiD's segmentation part at or below a root, or None."""
    for base in (root, root / SEGMENTATION_FOLDER):
        if (base / ORIGINALS).is_dir() and (base / SEGMENTATION_TRUTHS).is_dir():
            return base
    return None


def list_idrid_segmentation(spec: DatasetSpec) -> Listing:
    """IDRiD's own folders of part A: no labels, lesion masks attached; the column `split` is `train` or `test`.

    Source: Porwal et al., Indian Diabetic Retinopathy Image Dataset (IDRiD), Data 3(3):25, 2018.

    Raises:
        DatasetError: the folders are not there.
    """
    base = segmentation_base(spec.root)
    if base is None:
        raise DatasetError(
            f"{spec.root}: no IDRiD segmentation data", why=f"{ORIGINALS} and {SEGMENTATION_TRUTHS} are not there"
        )
    masks = _idrid_masks(base / SEGMENTATION_TRUTHS)
    entries = []
    for path in list_images(base / ORIGINALS):
        part = path.relative_to(base / ORIGINALS).parts[0]
        found = _entry(path, spec.root, IDRID_PARTS.get(part[:1].lower(), ""))
        entries.append(Entry(found.relative_path, path, None, found.columns, found.problem, masks[part, path.stem]))
    return Listing(spec.root, "idrid_segmentation", tuple(entries), labelled=False, has_columns=True)


def _idrid_masks(truths: Path) -> defaultdict[tuple[str, str], dict[str, Path]]:
    """(part, image stem) → lesion type → file; a mask is called e.g. `IDRiD_01_MA.tif`."""
    masks: defaultdict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
    for path in list_images(truths):
        stem, _, kind = path.stem.rpartition("_")
        masks[path.relative_to(truths).parts[0], stem][kind] = path
    return masks
