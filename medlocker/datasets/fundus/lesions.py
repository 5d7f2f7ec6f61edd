"""The lesions of diabetic retinopathy and the plan that ties them to a grade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medlocker.datasets.fundus.canvas import Layer, Points, blob, rotated
from medlocker.datasets.fundus.eye import Eye
from medlocker.datasets.fundus.vessels import curve

LesionType = Literal["MA", "HE", "EX", "SE"]
LESION_TYPES: tuple[LesionType, ...] = ("MA", "HE", "EX", "SE")
Range = tuple[int, int]

_QUADRANTS = 4
_SMALLEST_RADIUS_PX = 0.8


@dataclass(frozen=True)
class LesionPlan:
    """How many lesions of each type a grade has; every range is inclusive.

    Attributes:
        microaneurysms: over the whole field.
        haemorrhages: over the whole field.
        haemorrhages_per_quadrant: more of them, in each quadrant about the centre of the field.
        exudate_clusters: clusters of hard exudates.
        soft_exudates: cotton-wool spots.
        proliferative: whether new vessels, a preretinal haemorrhage, or both are present.
    """

    microaneurysms: Range = (0, 0)
    haemorrhages: Range = (0, 0)
    haemorrhages_per_quadrant: Range = (0, 0)
    exudate_clusters: Range = (0, 0)
    soft_exudates: Range = (0, 0)
    proliferative: bool = False


# In the spirit of the ICDR scale, with counts scaled down to what 160 px can show.
PLANS: tuple[LesionPlan, ...] = (
    LesionPlan(),
    LesionPlan(microaneurysms=(6, 16)),
    LesionPlan(microaneurysms=(4, 16), haemorrhages=(2, 8), exudate_clusters=(0, 3)),
    LesionPlan(microaneurysms=(8, 20), haemorrhages_per_quadrant=(4, 7), exudate_clusters=(1, 4), soft_exudates=(1, 5)),
    LesionPlan(
        microaneurysms=(4, 16),
        haemorrhages=(3, 16),
        exudate_clusters=(0, 3),
        soft_exudates=(0, 3),
        proliferative=True,
    ),
)


@dataclass(frozen=True)
class LesionLayers:
    """What was drawn of each kind; a preretinal haemorrhage is in `by_type["HE"]`, new vessels are apart."""

    by_type: Mapping[LesionType, Layer]
    new_vessels: Layer


def draw_lesions(rng: np.random.Generator, eye: Eye, plan: LesionPlan, side: int) -> LesionLayers:
    """Draw the lesions of one eye as a plan asks.

    Args:
        rng: source of numbers, places and shapes.
        eye: where disc, fovea and field of view lie.
        plan: how many of each.
        side: px, side of the image.

    Returns:
        One coverage layer for each type.
    """
    layers = LesionLayers({kind: Layer(side) for kind in LESION_TYPES}, Layer(side))
    _draw_exudates(rng, eye, layers.by_type["EX"], _count(rng, plan.exudate_clusters))
    for spot in _spots(rng, eye, _count(rng, plan.soft_exudates)):
        _draw_soft_exudate(rng, layers.by_type["SE"], spot)
    for spot in _haemorrhage_spots(rng, eye, plan):
        _draw_haemorrhage(rng, eye, layers.by_type["HE"], spot)
    for spot in _spots(rng, eye, _count(rng, plan.microaneurysms)):
        radius = max(rng.uniform(0.0062, 0.0095), _SMALLEST_RADIUS_PX / side)
        layers.by_type["MA"].polygon(blob(rng, spot, radius, 0.05), rng.uniform(0.8, 1.0))
    if plan.proliferative:
        _draw_proliferation(rng, eye, layers)
    return layers


def _count(rng: np.random.Generator, bounds: Range) -> int:
    return int(rng.integers(bounds[0], bounds[1], endpoint=True))


def _spots(rng: np.random.Generator, eye: Eye, count: int, quadrant: int | None = None) -> list[Points]:
    return [_spot(rng, eye, quadrant) for _ in range(count)]


def _spot(rng: np.random.Generator, eye: Eye, quadrant: int | None) -> Points:
    """Draw a place in the field of view, off the disc and off the very centre of the fovea."""
    while True:
        turn = rng.uniform(0, np.pi / 2) + (rng.integers(_QUADRANTS) if quadrant is None else quadrant) * np.pi / 2
        reach = 0.92 * eye.radius * np.sqrt(rng.uniform(0.02, 1))
        spot = eye.centre + reach * np.array([np.cos(turn), np.sin(turn)])
        off_disc = np.linalg.norm(spot - eye.disc) > 1.5 * eye.disc_radius
        if off_disc and eye.sees(spot, margin=0.03) and np.linalg.norm(spot - eye.fovea) > 0.02:
            return np.asarray(spot)


def _haemorrhage_spots(rng: np.random.Generator, eye: Eye, plan: LesionPlan) -> list[Points]:
    spots = _spots(rng, eye, _count(rng, plan.haemorrhages))
    for quadrant in range(_QUADRANTS):
        spots += _spots(rng, eye, _count(rng, plan.haemorrhages_per_quadrant), quadrant)
    return spots


def _draw_haemorrhage(rng: np.random.Generator, eye: Eye, layer: Layer, spot: Points) -> None:
    shape = rng.choice(["dot", "blot", "flame"], p=[0.4, 0.35, 0.25])
    strength = rng.uniform(0.7, 1.0)
    if shape == "flame":
        _draw_flame(rng, eye, layer, spot, strength)
        return
    radius = rng.uniform(0.010, 0.014) if shape == "dot" else rng.uniform(0.014, 0.026)
    layer.polygon(blob(rng, spot, radius, 0.15 if shape == "dot" else 0.35, rng.uniform(1, 1.7)), strength)


def _draw_flame(rng: np.random.Generator, eye: Eye, layer: Layer, spot: Points, strength: float) -> None:
    """Draw a bundle of short strokes along the nerve fibres, which run away from the disc."""
    away = spot - eye.disc
    along = away / np.linalg.norm(away)
    across = np.array([-along[1], along[0]])
    for offset in np.linspace(-0.010, 0.010, 6):
        middle = spot + offset * across + rng.uniform(-0.01, 0.01) * along
        half = rng.uniform(0.012, 0.026) * (along + rng.uniform(-0.12, 0.12) * across)
        layer.stroke(np.stack([middle - half, middle + half]), 0.006, strength)


def _draw_exudates(rng: np.random.Generator, eye: Eye, layer: Layer, clusters: int) -> None:
    for _ in range(clusters):
        circinate = rng.random() < 0.35
        middle = eye.fovea + rng.normal(0, 0.03, 2) if circinate else _near_macula(rng, eye)
        reach = rng.uniform(0.06, 0.1) if circinate else rng.uniform(0.015, 0.045)
        for _ in range(_count(rng, (10, 30))):
            spot = middle + _exudate_offset(rng, reach, circinate)
            if eye.sees(spot, margin=0.02) and np.linalg.norm(spot - eye.disc) > 1.2 * eye.disc_radius:
                radius = min(0.003 + rng.exponential(0.003), 0.014)
                layer.polygon(blob(rng, spot, radius, 0.35, rng.uniform(1, 1.8)), rng.uniform(0.75, 1.0))


def _near_macula(rng: np.random.Generator, eye: Eye) -> Points:
    return np.asarray(eye.fovea + rotated(np.array([[rng.uniform(0.06, 0.26), 0.0]]), rng.uniform(0, 2 * np.pi))[0])


def _exudate_offset(rng: np.random.Generator, reach: float, circinate: bool) -> Points:
    if not circinate:
        return rng.normal(0, reach, 2)
    turn = rng.uniform(0, 2 * np.pi)
    return reach * rng.normal(1, 0.17) * np.array([np.cos(turn), np.sin(turn)])


def _draw_soft_exudate(rng: np.random.Generator, layer: Layer, spot: Points) -> None:
    for _ in range(3):
        centre = spot + rng.normal(0, 0.007, 2)
        layer.polygon(blob(rng, centre, rng.uniform(0.012, 0.02), 0.35, rng.uniform(1, 1.6)), rng.uniform(0.75, 0.95))


def _draw_proliferation(rng: np.random.Generator, eye: Eye, layers: LesionLayers) -> None:
    kind = rng.choice(["new_vessels", "preretinal", "both"], p=[0.4, 0.25, 0.35])
    if kind != "preretinal":
        at_disc = rng.random() < 0.6
        places = [eye.disc + rng.normal(0, 0.02, 2)] if at_disc else _spots(rng, eye, _count(rng, (1, 2)))
        for place in places:
            _draw_tangle(rng, layers.new_vessels, place)
    if kind != "new_vessels":
        _draw_preretinal(rng, layers.by_type["HE"], _spot(rng, eye, None))


def _draw_tangle(rng: np.random.Generator, layer: Layer, place: Points) -> None:
    """Draw new vessels: a lace of thin loops that turn back on themselves."""
    for _ in range(_count(rng, (14, 24))):
        start = place + rng.normal(0, 0.02, 2)
        bend = rng.choice([-1, 1]) * rng.uniform(12, 35)
        path, _ = curve(rng, start, rng.uniform(0, 2 * np.pi), bend, rng.uniform(0.07, 0.16), 0.35)
        layer.stroke(path, rng.uniform(0.0022, 0.004), rng.uniform(0.6, 0.95))


def _draw_preretinal(rng: np.random.Generator, layer: Layer, place: Points) -> None:
    """Draw blood that has settled before the retina: a boat with a level top."""
    width = rng.uniform(0.06, 0.11)
    height = width * rng.uniform(0.55, 0.85)
    angles = np.linspace(0, np.pi, 24)
    wobble = 1 + 0.08 * np.cos(3 * angles + rng.uniform(0, 2 * np.pi))
    hull = np.stack([width * np.cos(angles) * wobble, height * np.sin(angles) * wobble], axis=1)
    layer.polygon(place + rotated(hull, rng.uniform(-0.2, 0.2)), rng.uniform(0.85, 1.0))
