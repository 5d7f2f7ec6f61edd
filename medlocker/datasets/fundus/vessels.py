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
_BRANCH_SPACING = 0.12
_SMOOTHING = np.full(7, 1 / np.sqrt(7))
_THINNEST = 0.0016
_STRAIGHTENING = 0.45
_TAPER = 0.7
_TAPER_STEPS = 10
_FULL_CONTRAST_WIDTH = 0.009
# (heading in degrees, x right and y down; bend in radians per side; length; width factor): two arcades round the
# macula, two nasal trunks and two twigs towards the macula.
_TRUNKS = (
    (-76.0, 3.7, 0.95, 1.0),
    (76.0, -3.7, 0.95, 1.0),
    (-120.0, -0.4, 0.6, 0.75),
    (120.0, 0.4, 0.6, 0.75),
    (-28.0, 1.2, 0.22, 0.4),
    (28.0, -1.2, 0.22, 0.4),
)
_TRUNK_WIDTH: dict[Kind, float] = {"artery": 0.0078, "vein": 0.0112}


@dataclass(frozen=True)
class Vessel:
    """One unbranched piece of vessel.

    Attributes:
        kind: artery (thin, bright) or vein (thick, dark).
        path: (n, 2) points, fractions of the side, n ≥ 2.
        headings: (n,) radians.
        width: fraction of the side at the first point; three tenths of it remain at the last.
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
        bend: radians per side, curvature at the start; it fades along the way.
        length: fraction of the side.
        waviness: radians, spread of the heading about its course.

    Returns:
        (n, 2) points and (n,) headings.
    """
    steps = max(3, round(length / _STEP))
    wobble = np.convolve(rng.standard_normal(steps + 6), _SMOOTHING, mode="valid")
    turned = -bend * _STRAIGHTENING * np.expm1(-_STEP / _STRAIGHTENING * np.arange(steps))
    headings = heading + turned + waviness * wobble
    path = np.empty((steps, 2))
    path[0] = start
    path[1:, 0] = start[0] + _STEP * np.cumsum(np.cos(headings[:-1]))
    path[1:, 1] = start[1] + _STEP * np.cumsum(np.sin(headings[:-1]))
    return path, headings


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
        steps = len(vessel.path)
        for first in range(0, steps - 1, _TAPER_STEPS):
            width = vessel.width * (1 - _TAPER * first / steps)
            strength = min(1.0, 0.4 + 0.6 * width / _FULL_CONTRAST_WIDTH)
            layer.stroke(vessel.path[first : first + _TAPER_STEPS + 1], width * width_factor, strength)


def _trunks(rng: np.random.Generator, eye: Eye, kind: Kind) -> Iterator[Vessel]:
    for heading, bend, length, factor in _TRUNKS:
        start = eye.disc + eye.disc_radius * rng.uniform(-0.2, 0.2, 2)
        course = np.deg2rad(heading + rng.uniform(-14, 14))
        path, headings = curve(rng, start, course, bend * rng.uniform(0.75, 1.25), length, 0.17)
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
        width = parent.width * (1 - _TAPER * place) * rng.uniform(0.5, 0.8)
        if width >= _THINNEST:
            yield from _branch(rng, eye, parent, at, side, width)


def _branch(rng: np.random.Generator, eye: Eye, parent: Vessel, at: int, side: float, width: float) -> Iterator[Vessel]:
    heading = parent.headings[at] + side * rng.uniform(0.35, 0.85)
    length = (0.08 + 0.6 * (len(parent.path) - at) * _STEP) * rng.uniform(0.7, 1.2)
    path, headings = curve(rng, parent.path[at], heading, -side * rng.uniform(0.2, 2.5), length, 0.22)
    yield from _visible(eye, Vessel(parent.kind, path, headings, width, parent.depth + 1))


def _visible(eye: Eye, vessel: Vessel) -> Iterator[Vessel]:
    """Cut a vessel where it leaves the field of view or enters the avascular zone round the fovea."""
    from_fovea = vessel.path - eye.fovea
    kept = (np.hypot(from_fovea[:, 0], from_fovea[:, 1]) > _AVASCULAR_RADIUS) & eye.sees(vessel.path, margin=-0.02)
    end = len(kept) if kept.all() else int(np.argmin(kept))
    if end >= 3:
        yield Vessel(vessel.kind, vessel.path[:end], vessel.headings[:end], vessel.width, vessel.depth)
