"""Where a mark may go on an image: the three placement modes (WSM, STEP 5), and what happens where it fits nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medlocker.blending import scaled_size
from medlocker.errors import InfeasiblePlacementError, SettingsError
from medlocker.feasible import FeasibleSet, Positions, Span, banded_rectangles
from medlocker.regions import Box, Mask, union_mask

__all__ = [
    "FeasibleSet",
    "PlacementMode",
    "Positions",
    "Resolved",
    "WhenInfeasible",
    "covered_lesion_fraction",
    "feasible_positions",
    "resolve_feasible",
    "shrink_schedule",
]

PlacementMode = Literal["anywhere", "avoid_lesions", "inside_lesions"]
"""WAP; WSM-out, the clinical default; WSM-in (READINGS 20)."""

WhenInfeasible = Literal["stop", "skip", "shrink"]
"""What to do with an image that has no feasible position."""


def feasible_positions(
    image_size: tuple[int, int],
    mark_size: tuple[int, int],
    mode: PlacementMode,
    boxes: Sequence[Box] = (),
    protected: Sequence[Box] = (),
) -> FeasibleSet:
    """All positions at which a mark satisfies a placement mode.

    Source: STEP 5, READINGS 2, 19 and 20.

    - `anywhere`: the footprint lies inside the image; lesion boxes do not matter.
    - `avoid_lesions`: moreover it shares no pixel with any lesion box: (x, y) is forbidden where
      bx − M' < x < bx + bw and by − N' < y < by + bh. A healthy eye (no boxes) is as `anywhere`.
    - `inside_lesions`: for at least one lesion box, the footprint lies inside it, if the mark is neither wider nor
      higher than that box; otherwise its centre pixel (x + M'//2, y + N'//2) lies inside the box.

    In every mode the footprint shares no pixel with a `protected` box.

    Args:
        image_size: (W, H) px.
        mark_size: (M', N') px, at least 1 × 1.
        mode: the placement mode.
        boxes: lesion boxes, from `medlocker.regions.lesion_boxes`.
        protected: further boxes to keep clear, such as the optic disc's, from `medlocker.regions.structure_boxes`.

    Returns:
        The set, never empty.

    Raises:
        InfeasiblePlacementError: no position satisfies the mode.
        SettingsError: a size or box is not at least 1 × 1 px.
    """
    _check_sizes(image_size, mark_size, (*boxes, *protected))
    if mode == "inside_lesions" and not boxes:
        raise InfeasiblePlacementError(
            "inside_lesions has no lesion to place the mark on",
            why="the image has no lesion box",
            fix="use avoid_lesions or anywhere, or skip images without lesions",
        )
    bounds = image_size[0] - mark_size[0], image_size[1] - mark_size[1]
    allowed = [_inside(box, mark_size) for box in boxes] if mode == "inside_lesions" else [(0, 0, *image_size)]
    cleared = (*boxes, *protected) if mode == "avoid_lesions" else tuple(protected)
    rectangles = banded_rectangles(bounds, allowed, [_overlapping(box, mark_size) for box in cleared])
    if not len(rectangles):
        raise InfeasiblePlacementError(
            f"{mode}: no place for a {mark_size[0]} x {mark_size[1]} px mark on {image_size[0]} x {image_size[1]} px",
            why="it is larger than the image" if min(bounds) < 0 else _no_room(boxes, protected),
            fix="use a smaller logo (a larger logo_scale), let images without room shrink it, or skip them",
        )
    return FeasibleSet(bounds, rectangles)


def _no_room(boxes: Sequence[Box], protected: Sequence[Box]) -> str:
    return f"{len(boxes)} lesion and {len(protected)} protected boxes leave no room"


def _check_sizes(image_size: tuple[int, int], mark_size: tuple[int, int], boxes: Sequence[Box]) -> None:
    if min(*image_size, *mark_size, *(side for box in boxes for side in box[2:])) < 1:
        raise SettingsError("an image, mark or box has no pixels", why="widths and heights are at least 1 px")


def _overlapping(box: Box, mark_size: tuple[int, int]) -> Span:
    """Corners at which the footprint shares a pixel with the box: the box grown left and up by the mark."""
    return box.x - mark_size[0] + 1, box.y - mark_size[1] + 1, box.x + box.width, box.y + box.height


def _inside(box: Box, mark_size: tuple[int, int]) -> Span:
    """Corners at which the footprint, or else its centre pixel, lies inside the box."""
    width, height = mark_size
    if width <= box.width and height <= box.height:
        return box.x, box.y, box.x + box.width - width + 1, box.y + box.height - height + 1
    left, top = box.x - width // 2, box.y - height // 2
    return left, top, left + box.width, top + box.height


@dataclass(frozen=True, eq=False)
class Resolved:
    """Where a mark may go on one image, and at which size.

    Attributes:
        feasible: the positions.
        logo_scale: the paper's sl that was used.
        mark_size: (M', N') px at that scale.
        shrunk: whether the logo had to be made smaller than asked.
    """

    feasible: FeasibleSet
    logo_scale: float
    mark_size: tuple[int, int]
    shrunk: bool


def shrink_schedule(logo_scale: float, max_scale: float, step: float) -> Iterator[float]:
    """The logo scales to try: the one asked for, then `step` times the last, at the end `max_scale` itself.

    Args:
        logo_scale: the paper's sl; larger means a smaller logo.
        max_scale: the smallest logo that is still worth placing.
        step: factor, above 1.

    Yields:
        Increasing scales; only `logo_scale` where it is already at or above `max_scale`.

    Raises:
        SettingsError: `step` is not above 1.
    """
    if step <= 1:
        raise SettingsError(f"shrink step is {step:g}", why="it must be above 1, or the logo never gets smaller")
    yield logo_scale
    while logo_scale < max_scale:
        logo_scale = min(logo_scale * step, max_scale)
        yield logo_scale


def resolve_feasible(
    image_size: tuple[int, int],
    logo_size: tuple[int, int],
    logo_scale: float,
    mode: PlacementMode,
    boxes: Sequence[Box] = (),
    protected: Sequence[Box] = (),
    when_infeasible: WhenInfeasible = "stop",
    *,
    max_scale: float = 16.0,
    step: float = 1.25,
) -> Resolved | None:
    """Size the logo and find its feasible positions, with a stated outcome where there are none.

    Source: Eq. 2, STEP 5, READINGS 19.

    Args:
        image_size: (W, H) px.
        logo_size: (M, N) px of the unscaled logo.
        logo_scale: the paper's sl.
        mode: the placement mode.
        boxes: lesion boxes.
        protected: further boxes to keep clear.
        when_infeasible: `stop` raises, `skip` returns None, `shrink` tries the scales of `shrink_schedule`.
        max_scale: used by `shrink` only.
        step: used by `shrink` only.

    Returns:
        The positions with scale and size, or None where the image is to be skipped.

    Raises:
        InfeasiblePlacementError: nothing is feasible under `stop`, or even at `max_scale` under `shrink`.
        SettingsError: a scale, size or box is not valid.
    """
    scales = shrink_schedule(logo_scale, max_scale, step) if when_infeasible == "shrink" else iter((logo_scale,))
    for scale in scales:
        mark_size = scaled_size(image_size, logo_size, scale)
        try:
            feasible = feasible_positions(image_size, mark_size, mode, boxes, protected)
        except InfeasiblePlacementError as error:
            failure = error
        else:
            return Resolved(feasible, scale, mark_size, shrunk=scale != logo_scale)
    if when_infeasible == "skip":
        return None
    raise failure


def covered_lesion_fraction(masks: Sequence[Mask], footprint_box: Box) -> float:
    """Share of an image's lesion pixels that lie under a mark's footprint.

    Args:
        masks: (H, W) bool, one or more lesion types; a pixel in several counts once.
        footprint_box: the footprint.

    Returns:
        0–1; 0 where the image has no lesion pixels.

    Raises:
        SettingsError: the masks differ in shape, or one is not a (H, W) bool array.
    """
    union = union_mask(masks)
    total = 0 if union is None else int(np.count_nonzero(union))
    if union is None or total == 0:
        return 0.0
    x, y, width, height = footprint_box
    return int(np.count_nonzero(union[y : y + height, x : x + width])) / total
