"""Find image files below a folder, and never leave it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from medlocker.errors import DatasetError
from medlocker.imageio import IMAGE_SUFFIXES


def list_images(folder: Path, skip: Iterable[Path] = ()) -> list[Path]:
    """Image files below a folder, sorted; hidden files and folders are passed over.

    Args:
        folder: where to look.
        skip: folders to leave out, such as lesion masks.

    Raises:
        DatasetError: the folder is missing or cannot be listed, or a linked folder leads elsewhere.
    """

    def refuse(error: OSError) -> None:
        raise DatasetError(f"{error.filename}: cannot be listed", why=error.strerror) from error

    left_out, found = set(skip), []
    for current, folders, names in os.walk(folder, onerror=refuse):
        here = Path(current)
        _refuse_links(here, folders, folder)
        folders[:] = sorted(name for name in folders if _visible(name) and here / name not in left_out)
        found += [here / name for name in names if _visible(name) and is_image(PurePosixPath(name))]
    return sorted(found)


def _refuse_links(here: Path, folders: list[str], root: Path) -> None:
    for name in folders:
        if (here / name).is_symlink() and not is_inside(here / name, root):
            raise DatasetError(
                f"{here / name}: a link to a folder elsewhere",
                why="a data set is read from one folder only",
                fix="give --data the folder it points to, or copy the files",
            )


def _visible(name: str) -> bool:
    # "__MACOSX" is what a zip made on a Mac leaves behind.
    return not name.startswith((".", "__"))


def is_image(path: PurePosixPath | Path) -> bool:
    """Whether the suffix is one of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_inside(path: Path, root: Path) -> bool:
    """Whether a path stays below a root once links and `..` are followed."""
    return path.resolve().is_relative_to(root.resolve())


class FileIndex:
    """Looks up the image a CSV row means: by relative path, with or without suffix, else by file name alone.

    Args:
        root: folder that relative paths count from.
        files: image files below it.
    """

    def __init__(self, root: Path, files: Iterable[Path]) -> None:
        self._by_key: dict[str, list[Path]] = defaultdict(list)
        for file in files:
            relative = PurePosixPath(file.relative_to(root).as_posix())
            bare = relative.with_suffix("")
            for key in {relative.as_posix(), bare.as_posix(), relative.name, bare.name}:
                self._by_key[key].append(file)
        self._root = root

    def find(self, name: str) -> list[Path]:
        """Files a name can mean; a file with exactly that relative path wins over namesakes in other folders."""
        key = PurePosixPath(name.replace("\\", "/")).as_posix()
        candidates = self._by_key.get(key, [])
        exact = [file for file in candidates if file.relative_to(self._root).as_posix() == key]
        return exact or candidates
