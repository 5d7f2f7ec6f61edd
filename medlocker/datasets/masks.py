"""Find and read lesion masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medlocker.datasets.base import Problem
from medlocker.datasets.files import FileIndex, is_inside, list_images
from medlocker.datasets.spec import DatasetSpec, Entry
from medlocker.datasets.tables import file_column, path_columns, read_table
from medlocker.errors import DatasetError
from medlocker.imageio import IMAGE_SUFFIXES, read_image

MASK_FOLDER = "masks"
INDEX_NAME = "index.csv"
ALL_TYPES = "lesions"
"""Type of the masks of a folder that does not tell lesion types apart."""


def read_mask(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Read a lesion mask.

    Args:
        path: image file; any non-zero colour or grey value means lesion, an alpha channel means nothing.
        shape: (H, W) px of the image it belongs to.

    Returns:
        (H, W), true on the lesion.

    Raises:
        ImageReadError: the file cannot be read.
        DatasetError: its size is not that of the image.
    """
    pixels = read_image(path).pixels
    if pixels.shape[:2] != tuple(shape[:2]):
        raise DatasetError(
            f"{path}: the mask is {pixels.shape[1]} x {pixels.shape[0]} px, its image {shape[1]} x {shape[0]} px",
            fix="give masks in the frame of their images",
        )
    return np.asarray(pixels > 0 if pixels.ndim == 2 else pixels[..., :3].any(axis=2), dtype=np.bool_)


def mask_folder(spec: DatasetSpec) -> Path | None:
    """The folder of masks, as given or found as `masks/`; None where there is none."""
    if spec.masks is not None and spec.masks.is_dir():
        return spec.masks
    return spec.root / MASK_FOLDER if (spec.root / MASK_FOLDER).is_dir() else None


def attach_masks(entries: Sequence[Entry], spec: DatasetSpec, index: FileIndex) -> tuple[Entry, ...]:
    """Entries with their lesion masks: from a CSV (given, or `index.csv`), else from a folder (given, or `masks/`).

    Args:
        entries: images a layout found.
        spec: the user's request.
        index: the images below the root.

    Raises:
        DatasetError: `spec.masks` does not exist or holds no masks, or a mask could belong to several images.
    """
    if spec.masks is not None and not spec.masks.exists():
        raise DatasetError(f"{spec.masks}: no such file or folder", fix="give --masks a folder or a CSV file")
    table = _mask_table(spec)
    if table is not None:
        masks = _from_table(table, spec, index)
        if masks or spec.masks is not None:
            return tuple(_with_masks(entry, masks.get(entry.path, {}), spec.root) for entry in entries)
    folder = mask_folder(spec)
    return tuple(entries) if folder is None else attach_folder(entries, folder)


def _mask_table(spec: DatasetSpec) -> Path | None:
    if spec.masks is not None:
        return spec.masks if spec.masks.is_file() else None
    found = spec.root / INDEX_NAME
    return found if found.is_file() else None


def _from_table(path: Path, spec: DatasetSpec, index: FileIndex) -> dict[Path, dict[str, Path]]:
    table = read_table(path)
    files = file_column(table, spec.id_column if spec.id_column in table.columns else None)
    columns = path_columns(table, (files,), IMAGE_SUFFIXES)
    if not columns and spec.masks is not None:
        raise DatasetError(f"{path}: no column with mask files", why=table.shown_columns)
    masks: dict[Path, dict[str, Path]] = {}
    for row in table.rows if columns else ():
        for file in index.find(row[files])[:1]:
            masks[file] = {column: spec.root / row[column] for column in columns if row[column]}
    return masks


def _with_masks(entry: Entry, masks: Mapping[str, Path], root: Path) -> Entry:
    for mask in masks.values():
        if not is_inside(mask, root):
            problem = Problem(entry.path, "unsupported", f"its mask {mask} lies outside the data set's folder")
            return replace(entry, problem=entry.problem or problem)
        if not mask.is_file():
            problem = Problem(entry.path, "missing", f"its mask {mask} does not exist")
            return replace(entry, problem=entry.problem or problem)
    return replace(entry, lesion_masks=dict(masks))


def attach_folder(entries: Sequence[Entry], folder: Path) -> tuple[Entry, ...]:
    """Entries with the masks of a folder that has one sub-folder a lesion type, or one mask an image for all types.

    A mask is named as its image, `<stem>.*` or `<stem>_<type>.*`, below `<folder>/<type>/`, or below `<folder>/` itself
    where that has no sub-folders; the type is then `lesions`. Where two images share a stem, a mask must lie below the
    same sub-folders as its image.

    Raises:
        DatasetError: the folder holds no masks, or a mask could belong to several images.
    """
    lookup = {kind.name: _mask_names(kind) for kind in sorted(folder.iterdir()) if kind.is_dir()}
    if not lookup:
        lookup = {ALL_TYPES: _mask_names(folder)}
    if not any(lookup.values()):
        raise DatasetError(
            f"{folder}: no masks found",
            fix="give a folder with one sub-folder a lesion type, or with one mask an image",
        )
    stems = Counter(entry.path.stem for entry in entries)
    shared = {stem for stem, count in stems.items() if count > 1}
    return tuple(replace(entry, lesion_masks=_masks_of(entry, lookup, shared)) for entry in entries)


def _mask_names(folder: Path) -> dict[str, Path]:
    names = {}
    for path in list_images(folder):
        bare = path.relative_to(folder).with_suffix("").as_posix()
        names[bare.removesuffix(f"_{folder.name}")] = path
    return names


def _masks_of(entry: Entry, lookup: Mapping[str, Mapping[str, Path]], shared: set[str]) -> dict[str, Path]:
    masks = {}
    for kind, names in lookup.items():
        if entry.id in names:
            masks[kind] = names[entry.id]
        elif entry.path.stem in names:
            if entry.path.stem in shared:
                raise DatasetError(
                    f"{names[entry.path.stem]}: belongs to several images of that name",
                    fix="lay the masks out in the same sub-folders as the images",
                )
            masks[kind] = names[entry.path.stem]
    return masks
