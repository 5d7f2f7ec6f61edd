"""Which marked image belongs to which clean one, when a model is evaluated."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import pandas as pd

from medlocker.blending import Logo, Pixels, Placement, lock, pixel_sha256, prepare_mark
from medlocker.errors import AlteredImageError, SettingsError
from medlocker.imageio import read_image
from medlocker.placement import feasible_positions
from medlocker.querying import image_generator
from medlocker.release import ReleaseImage, ReleaseManifest, load_manifest, path_inside
from medlocker.search import SearchSpace

PATH, MARKED, ID = "path", "marked_path", "id"


@dataclass(frozen=True, eq=False)
class Pair:
    """An image and how its marked version is obtained.

    Attributes:
        id: names the row.
        clean: the image file.
        marked: makes the marked pixels; None where there is no marked version.
    """

    id: str
    clean: Path
    marked: Callable[[], Pixels] | None


def row_ids(frame: pd.DataFrame) -> list[str]:
    """The `id` column, or the paths below the folder common to all of them, without suffix.

    Raises:
        SettingsError: there is no `path` column, it is empty, or two rows have the same id.
    """
    if PATH not in frame.columns or not len(frame):
        raise SettingsError(
            "the data has no rows with a column `path`", why=f"its columns are {', '.join(map(str, frame.columns))}",
            fix="give a DataFrame with the columns path and label, or mlflow.data.from_image_folder(…)",
        )  # fmt: skip
    ids = [str(i) for i in frame[ID]] if ID in frame.columns else _relative([Path(p) for p in frame[PATH]])
    repeated = [name for name, times in Counter(ids).items() if times > 1]
    if repeated:
        raise SettingsError(f"two rows have the id {repeated[0]}", fix="list every image once")
    return ids


def _relative(paths: Sequence[Path]) -> list[str]:
    root = os.path.commonpath([p.absolute().parent for p in paths])
    return [p.absolute().relative_to(root).with_suffix("").as_posix() for p in paths]


def listed_pairs(frame: pd.DataFrame) -> list[Pair]:
    """Pairs as the column `marked_path` gives them; an empty cell means that there is no marked version."""
    marked = [None if pd.isna(p) or not str(p) else Path(p) for p in frame[MARKED]]
    return [
        Pair(name, Path(clean), None if path is None else _reading(path, None))
        for name, clean, path in zip(row_ids(frame), frame[PATH], marked, strict=True)
    ]


def release_pairs(frame: pd.DataFrame, release: Path) -> tuple[list[Pair], ReleaseManifest]:
    """Pairs with the images of a release, found by id or by the end of the path.

    Args:
        frame: rows to find; an image the release left out as infeasible has no marked version.
        release: the folder that holds `release.json`.

    Raises:
        SettingsError: a row has no partner, or two rows have the same one.
        ReleaseError: the folder holds no valid release.
    """
    manifest = load_manifest(release)
    images = {image.id: image for image in manifest.images}
    known = {**images, **dict.fromkeys(manifest.infeasible)}
    pairs = []
    for row, clean in zip(row_ids(frame), frame[PATH], strict=True):
        found = row if row in known else _partner(Path(clean), known)
        if found is None:
            raise SettingsError(
                f"{clean}: no image of {release} belongs to it",
                why="images are matched by id, or by the end of the path",
                fix="give the rows that were locked, or an id column with the ids of release.json",
            )
        image = images.get(found)
        marked = None if image is None else _reading(path_inside(release, image.file), image)
        pairs.append(Pair(found, Path(clean), marked))
    repeated = [name for name, times in Counter(pair.id for pair in pairs).items() if times > 1]
    if repeated:
        raise SettingsError(f"two rows belong to {repeated[0]} of {release}", fix="give an id column")
    return pairs, manifest


def _partner(path: Path, known: Mapping[str, object]) -> str | None:
    """The longest end of a path that is an id."""
    parts = PurePath(path).with_suffix("").parts
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if end in known), None)


def _reading(path: Path, released: ReleaseImage | None) -> Callable[[], Pixels]:
    def read() -> Pixels:
        pixels = read_image(path).pixels
        if released is not None and pixel_sha256(pixels) != released.marked_sha256:
            raise AlteredImageError(f"{path}: not the image that was released", fix="copy the release again")
        return pixels

    return read


def random_pairs(
    frame: pd.DataFrame, logo: Logo, logo_scale: float, alpha_range: tuple[int, int], seed: int
) -> list[Pair]:
    """Pairs with one uniformly random mark an image: the stated baseline where nothing else is given.

    The draw is that of `medlocker transfer --baselines random_single` with the same seed and ids.
    """

    def marking(name: str, path: Path) -> Callable[[], Pixels]:
        def mark_it() -> Pixels:
            pixels = read_image(path).pixels
            mark = prepare_mark(logo, pixels.shape, pixels.dtype, logo_scale=logo_scale)
            size = (pixels.shape[1], pixels.shape[0])
            space = SearchSpace(feasible_positions(size, mark.size, "anywhere"), alpha_range, size)
            drawn = space.sample(image_generator(seed, name, "random_single"), 1)
            return lock(pixels, mark, Placement(*np.ravel(drawn).tolist()))

        return mark_it

    paths = [Path(p) for p in frame[PATH]]
    return [Pair(name, path, marking(name, path)) for name, path in zip(row_ids(frame), paths, strict=True)]
