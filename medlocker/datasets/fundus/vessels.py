"""The vessel tree: arcades that leave the disc, bend round the macula and branch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medlocker.datasets.fundus.canvas import Layer, Points
from medlocker.datasets.fundus.eye import Eye

Kind = Literal["artery", "vein"]

_STEP = 0.012
_AVASCULAR_RADIUS = 0.05
_BRANCH_SPACING = 0.1
_THINNEST = 0.0016
_TAPER_PIECES = 4
_FULL_CONTRAST_WIDTH = 0.009
# (heading in degrees, x right and y down; bend in radians per side; length; width factor): two arcades round the
# macula, two nasal trunks and two twigs towards the macula.
_TRUNKS = (
    (-78.0, 2.7, 0.68, 1.0),
    (78.0, -2.7, 0.68, 1.0),
    (-125.0, -0.4, 0.42, 0.75),
    (125.0, 0.4, 0.42, 0.75),
    (-28.0, 1.2, 0.2, 0.4),
    (28.0, -1.2, 0.2, 0.4),
)
_TRUNK_WIDTH: dict[Kind, float] = {"artery": 0.0078, "vein": 0.0112}


@dataclass(frozen=True)
class Vessel:
    """One unbranched piece of vessel.

    Attributes:
        kind: artery (thin, bright) or vein (thick, dark).
        path: (n, 2) points, fractions of the side, n ≥ 2.
        headings: (n,) radians.
        width: fraction of the side at the first point; two thirds of it remain at the last.
        depth: 0 for a trunk, one more at each branching.
    """

    kind: Kind
    path: Points
    headings: Points
    width: float
    depth: int


def curve(
    rng: np.random.Generator, start: Points, heading: float, bend: float, length: float, waviness: float
) -> tuple[Points, Points]:
    """Walk along a smoothly wavering line.

    Args:
        rng: source of the wavering.
        start: (2,) first point.
        heading: radians, direction at the start.
        bend: radians per side, mean curvature.
        length: fraction of the side.
        waviness: radians, spread of the heading about its course.

    Returns:
        (n, 2) points and (n,) headings.
    """
    steps = max(3, round(length / _STEP))
    wobble = np.convolve(rng.standard_normal(steps + 6), np.ones(7) / np.sqrt(7), mode="valid")
    headings = heading + bend * _STEP * np.arange(steps) + waviness * wobble
    moves = _STEP * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    return start + np.cumsum(moves, axis=0) - moves[0], headings


def grow_tree(rng: np.random.Generator, eye: Eye) -> list[Vessel]:
    """Grow all vessels of an eye.

    Returns:
        Trunks and branches of both kinds, thinnest first, so that thick ones are drawn over thin ones.
    """
    vessels = [piece for kind in _TRUNK_WIDTH for trunk in _trunks(rng, eye, kind) for piece in _grow(rng, eye, trunk)]
    return sorted(vessels, key=lambda vessel: vessel.width)


def draw_vessels(layer: Layer, vessels: Iterable[Vessel], width_factor: float = 1.0) -> None:
    """Draw vessels as tapering strokes, `width_factor` times as wide as they are; thin ones absorb less."""
    for vessel in vessels:
        pieces = np.array_split(np.arange(len(vessel.path)), min(_TAPER_PIECES, len(vessel.path) - 1))
        for piece in pieces:
            taper = 1 - piece[0] / (3 * len(vessel.path))
            reach = slice(piece[0], piece[-1] + 2)
            width = vessel.width * taper
            layer.stroke(vessel.path[reach], width * width_factor, min(1.0, 0.4 + 0.6 * width / _FULL_CONTRAST_WIDTH))


def _trunks(rng: np.random.Generator, eye: Eye, kind: Kind) -> Iterator[Vessel]:
    for heading, bend, length, factor in _TRUNKS:
        start = eye.disc + eye.disc_radius * rng.uniform(-0.25, 0.25, 2)
        course = np.deg2rad(heading + rng.uniform(-14, 14))
        path, headings = curve(rng, start, course, bend * rng.uniform(0.75, 1.25), length, 0.13)
        width = _TRUNK_WIDTH[kind] * factor * rng.uniform(0.85, 1.1)
        yield from _visible(eye, Vessel(kind, path, headings, width, 0))


def _grow(rng: np.random.Generator, eye: Eye, vessel: Vessel) -> Iterator[Vessel]:
    yield vessel
    for child in _branches(rng, eye, vessel):
        yield from _grow(rng, eye, child)


def _branches(rng: np.random.Generator, eye: Eye, parent: Vessel) -> Iterator[Vessel]:
    steps = len(parent.path)
    count = round(steps * _STEP / _BRANCH_SPACING * rng.uniform(0.7, 1.2))
    side = rng.choice([-1.0, 1.0])
    for place in np.sort(rng.uniform(0.12, 0.95, count)):
        side = -side
        at = int(place * (steps - 1))
        width = parent.width * (1 - place / 3) * rng.uniform(0.4, 0.68)
        if width >= _THINNEST:
            yield from _branch(rng, eye, parent, at, side, width)


def _branch(rng: np.random.Generator, eye: Eye, parent: Vessel, at: int, side: float, width: float) -> Iterator[Vessel]:
    heading = parent.headings[at] + side * rng.uniform(0.35, 0.85)
    length = (0.06 + 0.5 * (len(parent.path) - at) * _STEP) * rng.uniform(0.7, 1.2)
    path, headings = curve(rng, parent.path[at], heading, -side * rng.uniform(0.2, 2.5), length, 0.22)
    yield from _visible(eye, Vessel(parent.kind, path, headings, width, parent.depth + 1))


def _visible(eye: Eye, vessel: Vessel) -> Iterator[Vessel]:
    """Cut a vessel where it leaves the field of view or enters the avascular zone round the fovea."""
    away = np.linalg.norm(vessel.path - eye.fovea, axis=1) > _AVASCULAR_RADIUS
    kept = away & eye.sees(vessel.path, margin=-0.02)
    end = len(kept) if kept.all() else int(np.argmin(kept))
    if end >= 3:
        yield Vessel(vessel.kind, vessel.path[:end], vessel.headings[:end], vessel.width, vessel.depth)
