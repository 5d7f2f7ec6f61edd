"""From lesion masks to the boxes a mark must keep clear of (WSM, STEP 2 to 4).

The paper's figures hold at IDRiD's native 4288 x 2848 px. At any other size, lengths scale with the square root of the
image's pixel count and areas with the pixel count, so that the same eye gets the same boxes at every resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Annotated, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from medlocker.errors import SettingsError

Mask = npt.NDArray[np.bool_]
"""(H, W), True where a pixel belongs to a lesion."""

NATIVE_SIZE = (4288, 2848)
"""px, width and height of the images the paper's settings were chosen for."""


class Box(NamedTuple):
    """A half-open rectangle of pixels, [x, x + width) × [y, y + height).

    Attributes:
        x: px, left edge.
        y: px, top edge.
        width: px, at least 1.
        height: px, at least 1.
    """

    x: int
    y: int
    width: int
    height: int


class RegionSettings(BaseModel):
    """How lesion masks become boxes. The defaults are the paper's.

    Attributes:
        kernel_size: px at native size, side of the square dilation kernel (the paper's K(10, 10)).
        iterations: how often the dilation is applied.
        min_area_fraction: share of the image's area; dilated regions of at most this area are dropped (the paper's λ,
            READINGS 17). 0 keeps every region.
        merge_iou: boxes that overlap by more than this are merged (the paper's γ).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kernel_size: Annotated[int, Field(ge=1, le=1000)] = 10
    iterations: Annotated[int, Field(ge=1, le=1000)] = 10
    min_area_fraction: Annotated[float, Field(ge=0, lt=1)] = 5e4 / (NATIVE_SIZE[0] * NATIVE_SIZE[1])
    merge_iou: Annotated[float, Field(ge=0, le=1)] = 0.5


def lesion_boxes(masks: Sequence[Mask], settings: RegionSettings | None = None) -> tuple[Box, ...]:
    """Boxes around the lesion regions of one image.

    Source: STEP 2 to 4 and Eq. 7, with READINGS 16 to 18: the masks' union is dilated, its 8-connected regions of at
    most the minimum area are dropped, and the boxes of the others are merged. The minimum area is compared after
    dilation, as the order of the paper's steps says: a small lesion far from any other is therefore dropped.

    Args:
        masks: one (H, W) bool mask a lesion type, or one for all, in the image's frame; empty for a healthy eye.
        settings: the paper's settings if None.

    Returns:
        Boxes inside the image, sorted by (x, y, width, height); no two overlap by more than `settings.merge_iou`.

    Raises:
        SettingsError: the masks differ in shape, or one is not a (H, W) bool array.
    """
    settings = settings or RegionSettings()
    union = union_mask(masks)
    if union is None or not union.any():
        return ()
    size = union.shape[1], union.shape[0]
    regions = _region_boxes(dilate(union, dilation_reach(size, settings)), settings.min_area_fraction)
    return merge_boxes(regions, settings.merge_iou)


def structure_boxes(masks: Sequence[Mask]) -> tuple[Box, ...]:
    """Tight boxes around healthy structures to keep clear, such as the optic disc or the macula.

    Unlike lesions these are one solid region each, so nothing is dilated and nothing is dropped for being small.

    Args:
        masks: (H, W) bool, in the image's frame.

    Returns:
        One box a connected region, sorted; boxes that overlap by more than half are merged.

    Raises:
        SettingsError: the masks differ in shape, or one is not a (H, W) bool array.
    """
    return lesion_boxes(masks, RegionSettings(kernel_size=1, iterations=1, min_area_fraction=0))


def union_mask(masks: Sequence[Mask]) -> Mask | None:
    """Where any of the masks is set; None if there are none.

    Raises:
        SettingsError: the masks differ in shape, or one is not a (H, W) bool array.
    """
    if not masks:
        return None
    for mask in masks:
        if mask.dtype != np.bool_ or mask.ndim != 2 or mask.shape != masks[0].shape:
            raise SettingsError(
                f"a lesion mask of type {mask.dtype} and shape {mask.shape}",
                why=f"the masks of one image are (H, W) bool arrays of one shape, here {masks[0].shape[:2]}",
            )
    return np.asarray(np.logical_or.reduce(masks))


def dilation_reach(image_size: tuple[int, int], settings: RegionSettings) -> tuple[int, int]:
    """How far the dilation grows a pixel.

    Source: STEP 2, READINGS 16. n dilations by a k × k square are one dilation by a square of n(k − 1) + 1. An even k
    has no middle; as in OpenCV, a pixel then grows k/2 − 1 towards the left and top and k/2 towards the right and
    bottom, n times: 40 and 50 px for the paper's settings.

    Args:
        image_size: (W, H) px.
        settings: kernel and iterations, at native size.

    Returns:
        (before, after) px: growth to the left and top, growth to the right and bottom. The native growth times
        sqrt(W·H / (4288·2848)), rounded half up, at least 1 px where the native growth is not 0.
    """
    scale = sqrt(image_size[0] * image_size[1] / (NATIVE_SIZE[0] * NATIVE_SIZE[1]))
    before = settings.iterations * ((settings.kernel_size - 1) // 2)
    after = settings.iterations * (settings.kernel_size // 2)
    return _scaled_length(before, scale), _scaled_length(after, scale)


def _scaled_length(native: int, scale: float) -> int:
    return max(1, int(native * scale + 0.5)) if native else 0


def dilate(mask: Mask, reach: tuple[int, int]) -> Mask:
    """Grow every set pixel to the square from `before` px left and above it to `after` px right and below it.

    Args:
        mask: (H, W) bool.
        reach: (before, after) px, from `dilation_reach`.

    Returns:
        (H, W) bool.
    """
    before, after = reach
    side = before + after + 1
    grown = cv2.dilate(mask.view(np.uint8), np.ones((side, side), np.uint8), anchor=(after, after))
    return np.asarray(grown).view(np.bool_)


def _region_boxes(mask: Mask, min_area_fraction: float) -> list[Box]:
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    # The fraction came from a division, so λ in px may be off by rounding; areas are whole numbers.
    limit = min_area_fraction * mask.size + 1e-6
    return [Box(*map(int, row[:4])) for row in stats[1:] if row[cv2.CC_STAT_AREA] > limit]


def union_box(first: Box, second: Box) -> Box:
    """The smallest box that holds both.

    Source: Eq. 7 as READINGS 18 corrects it: the paper takes the larger width and height, which need not hold both.
    """
    x, y = min(first.x, second.x), min(first.y, second.y)
    right = max(first.x + first.width, second.x + second.width)
    bottom = max(first.y + first.height, second.y + second.height)
    return Box(x, y, right - x, bottom - y)


def pairwise_iou(boxes: Sequence[Box]) -> npt.NDArray[np.float64]:
    """Intersection over union of every pair of boxes.

    Args:
        boxes: K boxes.

    Returns:
        (K, K) float64 in 0–1, symmetric, 1 on the diagonal.
    """
    low = np.array([box[:2] for box in boxes], dtype=np.int64).reshape(-1, 2)
    size = np.array([box[2:] for box in boxes], dtype=np.int64).reshape(-1, 2)
    high, area = low + size, size.prod(axis=1)
    shared = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    intersection = np.maximum(shared, 0).prod(axis=2)
    overlap: npt.NDArray[np.float64] = intersection / (area[:, None] + area - intersection)
    return overlap


def merge_boxes(boxes: Sequence[Box], merge_iou: float) -> tuple[Box, ...]:
    """Merge overlapping boxes until no pair overlaps by more than `merge_iou`.

    Source: STEP 4 and Eq. 7, READINGS 18. The pair with the largest overlap is merged first, of equal ones the first in
    sorted order, so that the outcome does not depend on the order of the input.

    Args:
        boxes: any number of boxes.
        merge_iou: the paper's γ, 0–1.

    Returns:
        The merged boxes, sorted, without repeats; each input box lies inside one of them.
    """
    merged = sorted(set(boxes))
    while len(merged) > 1:
        overlap = np.triu(pairwise_iou(merged), 1)
        first, second = map(int, np.unravel_index(overlap.argmax(), overlap.shape))
        if overlap[first, second] <= merge_iou:
            break
        others = [box for index, box in enumerate(merged) if index not in (first, second)]
        merged = sorted({*others, union_box(merged[first], merged[second])})
    return tuple(merged)
