"""Synthetic fundus photographs: the data set that ships with the package, for the demo and for tests.

They are drawings, not patients: no training image went into them, and nothing learnt on them holds for people.
What the grades mean is written at `draw_fundus`.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medlocker.datasets.fundus.canvas import Layer
from medlocker.datasets.fundus.eye import sample_eye
from medlocker.datasets.fundus.lesions import LESION_TYPES, PLANS, draw_lesions
from medlocker.datasets.fundus.photograph import (
    disc_outline,
    paint_lesions,
    paint_retina,
    sample_camera,
    take_photograph,
)
from medlocker.errors import SettingsError

GRADE_NAMES = ("no DR", "mild", "moderate", "severe", "proliferative")
MASK_TYPES = (*LESION_TYPES, "OD")
SMALLEST_SIDE, LARGEST_SIDE = 96, 2048
_MASK_COVERAGE = 0.25

Row = dict[str, str]


@dataclass(frozen=True)
class SyntheticFundus:
    """One drawn photograph.

    Attributes:
        pixels: (side, side, 3) uint8 RGB.
        grade: 0–4, index into `GRADE_NAMES`.
        masks: "MA", "HE", "EX", "SE" and "OD" (microaneurysms, haemorrhages, hard exudates, soft exudates, optic
            disc) → (side, side) bool; all False where a lesion type is absent. New vessels have no mask, as in IDRiD.
    """

    pixels: NDArray[np.uint8]
    grade: int
    masks: Mapping[str, NDArray[np.bool_]]


def draw_fundus(rng: np.random.Generator, grade: int, side: int = 224) -> SyntheticFundus:
    """Draw a fundus photograph of a given grade of diabetic retinopathy.

    The grade follows the lesions, in the spirit of the ICDR scale with counts scaled down to small images:

    - 0, no DR: none;
    - 1, mild: 6–16 microaneurysms and nothing else;
    - 2, moderate: microaneurysms, 2–8 haemorrhages, up to 3 clusters of hard exudates;
    - 3, severe: microaneurysms, 4–7 haemorrhages in each quadrant, hard exudates and 1–5 soft exudates;
    - 4, proliferative: new vessels, a preretinal haemorrhage or both, over lesions between grades 2 and 3.

    Args:
        rng: source of everything drawn; the same state gives the same eye at every side.
        grade: 0–4.
        side: px, 96–2048.

    Returns:
        The photograph with its masks.

    Raises:
        SettingsError: for a grade or side out of range.
    """
    _check(grade, side)
    eye, camera = sample_eye(rng), sample_camera(rng)
    mirrored = rng.random() < 0.5
    retina = paint_retina(rng, eye, side)
    lesions = draw_lesions(rng, eye, PLANS[grade], side)
    paint_lesions(retina, lesions)
    pixels = take_photograph(rng, eye, camera, retina)
    disc = Layer(side)
    disc.polygon(disc_outline(eye))
    layers: dict[str, Layer] = {"OD": disc, **dict(lesions.by_type.items())}
    flip = slice(None, None, -1 if mirrored else 1)
    masks = {kind: np.ascontiguousarray(layer.coverage()[:, flip] >= _MASK_COVERAGE) for kind, layer in layers.items()}
    return SyntheticFundus(np.ascontiguousarray(pixels[:, flip]), grade, masks)


def image_generator(seed: int, split: str | None, index: int) -> np.random.Generator:
    """Derive the generator of one image of a data set, independent of how many others are made.

    Args:
        seed: the data set's seed, ≥ 0.
        split: name of the split, or None.
        index: number of the image in its split.
    """
    split_number = zlib.crc32((split or "").encode())
    return np.random.default_rng(np.random.SeedSequence([seed, split_number, index]))


def write_synthetic_dataset(
    root: Path, *, per_grade: int, side: int = 224, seed: int = 0, split: str | None = None
) -> None:
    """Write a labelled data set of synthetic photographs with lesion masks.

    Layout: `images/<split>_<grade>_<number>.png`, `labels.csv` (file, grade, split), `masks/<type>/<same name>` and
    `index.csv` (file, split, MA, HE, EX, SE, OD: the mask's path, empty where there is none). A second call with
    another split adds that split to the same folder.

    Args:
        root: folder to write to; made when it is not there.
        per_grade: images of each of the five grades, at least 1.
        side: px, 96–2048.
        seed: ≥ 0; with the split's name it fixes every pixel.
        split: name that goes into file names and tables, or None.

    Raises:
        SettingsError: for a number or side out of range.
    """
    if per_grade < 1 or seed < 0:
        raise SettingsError(
            f"cannot write {per_grade} images a grade with seed {seed}",
            fix="give at least 1 image a grade and a seed of 0 or more",
        )
    _check(0, side)
    for folder in ("images", *(f"masks/{kind}" for kind in MASK_TYPES)):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rows = [
        _write_image(root, grade, number, side, seed, split)
        for number in range(per_grade)
        for grade in range(len(GRADE_NAMES))
    ]
    _write_table(root / "labels.csv", ("file", "grade", "split"), rows)
    _write_table(root / "index.csv", ("file", "split", *MASK_TYPES), rows)


def _check(grade: int, side: int) -> None:
    if not 0 <= grade < len(GRADE_NAMES):
        raise SettingsError(f"grade {grade} does not exist", fix=f"use 0 to {len(GRADE_NAMES) - 1}")
    if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
        raise SettingsError(
            f"a synthetic image cannot be {side} px wide", fix=f"use {SMALLEST_SIDE} to {LARGEST_SIDE} px"
        )


def _write_image(root: Path, grade: int, number: int, side: int, seed: int, split: str | None) -> Row:
    # Numbering across grades keeps an image's index the same when per_grade changes.
    index = number * len(GRADE_NAMES) + grade
    fundus = draw_fundus(image_generator(seed, split, index), grade, side)
    prefix = f"{split}_" if split else ""
    name = f"{prefix}{grade}_{number:04d}.png"
    file = PurePosixPath("images", name)
    Image.fromarray(fundus.pixels).save(root / file)
    masks = {kind: _write_mask(root, kind, name, mask) for kind, mask in fundus.masks.items()}
    return {"file": str(file), "grade": str(grade), "split": split or "", **masks}


def _write_mask(root: Path, kind: str, name: str, mask: NDArray[np.bool_]) -> str:
    if not mask.any():
        return ""
    file = PurePosixPath("masks", kind, name)
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(root / file)
    return str(file)


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a table sorted by file, keeping the rows of other splits that are already there."""
    kept = list(csv.DictReader(path.open(newline=""))) if path.exists() else []
    other_splits = [row for row in kept if row["split"] != rows[0]["split"]]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted([*other_splits, *rows], key=lambda row: row["file"]))
