"""A leaked image and its original in one frame, and what a mark would do there."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from medlocker.blending import Mark, Pixels, Placement, colour_channels, footprint, lock
from medlocker.tracing.registration import Plane, Registration, luma, register, unit_colours

READING_SIDE = 512
"""Longer side, px, at which shares are read; larger originals are reduced, which costs no accuracy worth its time."""


@dataclass(frozen=True, eq=False)
class Frame:
    """The original's grid, or a reduced one, with the leaked image laid over it.

    Attributes:
        original: the unmarked image as stored.
        registration: where the leaked image lies in it.
        leaked: (h, w, C) 0–1, C = 1 when the leak is grey.
        reference: (h, w, C) the original as sharp as the leak.
        inside: (h, w) where the leak shows something.
        sigma: px of this frame, blur that makes the original as soft as a leak that had been reduced.
    """

    original: Pixels
    registration: Registration
    leaked: Plane
    reference: Plane = field(init=False)
    inside: npt.NDArray[np.bool_]
    sigma: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "reference", self.project(unit_colours(self.original)))

    @property
    def difference(self) -> Plane:
        """(h, w, C) leaked − original; 0 where the leak shows nothing."""
        return np.where(self.inside[..., None], self.leaked - self.reference, np.float32(0))

    @property
    def zoom(self) -> tuple[float, float]:
        """Original px per px of this frame, across and down."""
        return self.original.shape[1] / self.leaked.shape[1], self.original.shape[0] / self.leaked.shape[0]

    def project(self, colours: Plane) -> Plane:
        """Bring (H, W, C) values on the original's grid into this frame: reduce, turn grey, soften."""
        height, width, channels = self.leaked.shape
        if channels == 1:
            colours = luma(colours)[..., None]
        elif colours.shape[2] == 1:
            colours = np.repeat(colours, 3, axis=2)
        if colours.shape[:2] != (height, width):
            colours = _with_channels(cv2.resize(colours, (width, height), interpolation=cv2.INTER_AREA))
        if self.sigma > 0:
            colours = _with_channels(cv2.GaussianBlur(colours, (0, 0), self.sigma))
        return colours

    def effect(self, mark: Mark, placement: Placement) -> Plane:
        """(h, w, C) by how much a mark changes the image; 0 where the leak shows nothing."""
        rows, columns = footprint(mark, placement, self.original.shape)
        patch = self.original[rows, columns]
        change = colour_channels(lock(patch, mark, Placement(placement.alpha, 0, 0))) - colour_channels(patch)
        effect = np.zeros((*self.original.shape[:2], change.shape[2]), dtype=np.float32)
        effect[rows, columns] = change / mark.peak
        effect = self.project(effect)
        effect[~self.inside] = 0
        return effect


def overlay(
    leaked: Pixels, original: Pixels, registration: Registration | None = None, *, full_size: bool = False
) -> Frame:
    """Lay a leaked image over its original.

    Args:
        leaked: as found.
        original: the unmarked image.
        registration: found by `register` when None.
        full_size: keep the original's own grid for a leak that has it too.

    Returns:
        A frame of at most `READING_SIDE` px, unless `full_size` applies.
    """
    found = register(leaked, original) if registration is None else registration
    colours, (height, width) = unit_colours(leaked), original.shape[:2]
    reduction = min(1.0, READING_SIDE / max(height, width))
    same_grid = found.is_identity and leaked.shape[:2] == (height, width)
    if same_grid and (full_size or reduction == 1.0):
        return Frame(original, found, colours, np.ones((height, width), dtype=bool), 0.0)
    size = max(1, round(width * reduction)), max(1, round(height * reduction))
    zoom = width / size[0], height / size[1]
    scales = found.scale_x * zoom[0], found.scale_y * zoom[1]
    colours, scales = _no_finer(colours, scales)
    matrix = np.array([_row(scales[0], found.left / zoom[0], 0), _row(scales[1], found.top / zoom[1], 1)])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = _with_channels(cv2.warpAffine(colours, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))
    shown = cv2.warpAffine(np.ones(colours.shape[:2], np.float32), matrix, size, flags=flags)
    least = min(scales)
    sigma = 0.5 * float(np.sqrt(1 / least**2 - 1)) if least < 0.98 else 0.0
    # Half of the outermost pixel's weight may be missing at a border that is no crop.
    return Frame(original, found, warped, shown > 0.49, sigma)


def _no_finer(colours: Plane, scales: tuple[float, float]) -> tuple[Plane, tuple[float, float]]:
    """Average a leak that is finer than the frame down to it, since the warp would only sample it."""
    if min(scales) < 1.2:
        return colours, scales
    height, width = colours.shape[:2]
    size = max(1, round(width / scales[0])), max(1, round(height / scales[1]))
    reduced = _with_channels(cv2.resize(colours, size, interpolation=cv2.INTER_AREA))
    return reduced, (scales[0] * size[0] / width, scales[1] * size[1] / height)


def _row(scale: float, offset: float, axis: int) -> list[float]:
    row = [0.0, 0.0, (0.5 - offset) * scale - 0.5]
    row[axis] = scale
    return row


def _with_channels(plane: Plane) -> Plane:
    return plane[..., None] if plane.ndim == 2 else plane
