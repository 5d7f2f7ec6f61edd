"""RetinaMNIST as the medmnist package stores it: one `.npz` file, taken apart into PNG files on demand.

Source: Yang et al., MedMNIST v2, Scientific Data 10:41, 2023.
"""

from __future__ import annotations

import hashlib
import importlib
import zipfile
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from medlocker.datasets.spec import DatasetSpec, Entry, Listing
from medlocker.errors import DatasetError
from medlocker.imageio import StoredImage, encode_image, write_atomic

_SPLITS = ("train", "val", "test")


def find_archive(root: Path) -> Path | None:
    """The archive: the root itself, or the only one of a name like `retinamnist.npz` or `retinamnist_224.npz` in it."""
    if root.is_file():
        return root if root.suffix == ".npz" else None
    found = sorted(root.glob("retinamnist*.npz"))
    return found[0] if len(found) == 1 else None


def list_retinamnist(spec: DatasetSpec, cache: Path | None) -> Listing:
    """The images of the archive; the column `split` is `train`, `val` or `test`.

    Each image becomes `<cache>/<archive>-<digest>/<split>/<number>.png` once it is selected; what is there already is
    taken as it is, since the digest of the archive is in the name.

    Args:
        spec: its root is the archive or the folder with it.
        cache: folder for the PNG files; None for the archive's own folder.

    Raises:
        DatasetError: no archive, or not one of this form.
    """
    archive = find_archive(spec.root)
    if archive is None and spec.download and spec.root.is_dir():
        archive = _download(spec.root)
    if archive is None:
        raise DatasetError(
            f"{spec.root}: no RetinaMNIST archive",
            why="one file retinamnist*.npz is expected",
            fix="put it there, or install medlocker[medmnist] and ask for the download",
        )
    arrays, digest = _load(archive)
    root = (cache or archive.parent) / f"{archive.stem}-{digest[:12]}"
    entries = [
        _entry(root, split, index, arrays[f"{split}_images"], int(label))
        for split in _SPLITS
        for index, label in enumerate(arrays[f"{split}_labels"][:, 0])
    ]
    return Listing(root, "retinamnist", tuple(entries), labelled=True, has_columns=True)


def _entry(root: Path, split: str, index: int, images: npt.NDArray[np.uint8], label: int) -> Entry:
    relative = PurePosixPath(split, f"{index:05d}.png")
    path = root / relative
    write = partial(_write, path, images, index)
    return Entry(relative, path, str(label), {"split": split}, materialise=write)


def _write(path: Path, images: npt.NDArray[np.uint8], index: int) -> None:
    if not path.exists():
        write_atomic(path, encode_image(StoredImage(images[index]), ".png"))


def _load(archive: Path) -> tuple[dict[str, npt.NDArray[Any]], str]:
    wanted = [f"{split}_{kind}" for split in _SPLITS for kind in ("images", "labels")]
    try:
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with np.load(archive, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in wanted}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(
            f"{archive}: not a RetinaMNIST archive", why=str(error), fix="fetch it again with the medmnist package"
        ) from error
    for split in _SPLITS:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if images.dtype != np.uint8 or images.shape[3:] != (3,) or labels.shape != (len(images), 1):
            raise DatasetError(
                f"{archive}: not a RetinaMNIST archive", why=f"{split}_images has the shape {images.shape}"
            )
    return arrays, digest


def _download(folder: Path) -> Path | None:
    try:
        medmnist = importlib.import_module("medmnist")
    except ImportError as error:
        raise DatasetError(
            "RetinaMNIST cannot be fetched", why="medmnist is not installed", fix="pip install medlocker[medmnist]"
        ) from error
    medmnist.RetinaMNIST(split="train", root=str(folder), download=True)
    return find_archive(folder)
