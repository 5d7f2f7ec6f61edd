"""Where a leaked image lies in its original: scaled and cropped, never rotated.

Coordinates are continuous: a pixel's centre is at its index + 0.5. A leaked point u lies at `left + u / scale_x` of the
original.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from medlocker.blending import Pixels

Plane = npt.NDArray[np.float32]

WORKING_SIDE = 224
"""Longer side of the original while registration searches, px."""

SMALLEST_WINDOW = 0.8
"""Least share of the original's width that a crop is looked for; milder crops than a fifth are found."""

_CLIP = 0.1
"""Differences count up to this, so that the mark itself, which the original lacks, does not steer."""


@dataclass(frozen=True)
class Registration:
    """How a leaked image follows from its original.

    Attributes:
        scale_x: leaked px per original px, across.
        scale_y: the same, down.
        left: original px at the leaked image's left edge.
        top: the same, top edge.
        error: mean absolute difference where they overlap, clipped at 0.1; full scale is 1.
    """

    scale_x: float
    scale_y: float
    left: float
    top: float
    error: float = float("inf")

    @property
    def is_identity(self) -> bool:
        """Whether leaked and original px coincide."""
        return (self.scale_x, self.scale_y, self.left, self.top) == (1.0, 1.0, 0.0, 0.0)


def unit_colours(pixels: Pixels) -> Plane:
    """(H, W, C) float32 in 0–1: grey gives C = 1, RGB and RGBA give C = 3; a grey picture stored as RGB gives 1."""
    colours = pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]
    if colours.shape[2] == 3 and (colours == colours[..., :1]).all():
        colours = colours[..., :1]
    return colours.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def luma(colours: Plane) -> Plane:
    """(H, W, C) → (H, W), ITU-R 601."""
    if colours.shape[2] == 1:
        return colours[..., 0]
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    grey: Plane = colours @ weights
    return grey


def register(leaked: Pixels, original: Pixels) -> Registration:
    """Find scale and crop of a leaked image.

    The whole image at another size and a crop without scaling are tried as such; else windows of 80 to 100 % are
    matched and the best is refined by minimising the clipped difference. Exact guesses win unless clearly worse.

    Args:
        leaked: as found; grey or colour, 8 or 16 bit.
        original: the unmarked image.

    Returns:
        The best registration; its `error` tells how well it fits.
    """
    whole = Registration(leaked.shape[1] / original.shape[1], leaked.shape[0] / original.shape[0], 0.0, 0.0)
    if _untouched(leaked, original):
        return replace(whole, error=0.0)
    fit = _Fit(luma(unit_colours(leaked)), luma(unit_colours(original)))
    exact = [fit.rated(whole), *(fit.rated(r) for r in fit.unscaled())]
    best = min(exact, key=lambda r: r.error)
    if fit.settled(best):
        return best
    found = fit.refined(fit.window())
    return best if best.error <= 1.05 * found.error + 2e-4 else found


def _untouched(leaked: Pixels, original: Pixels) -> bool:
    """Whether most pixels are the same where the original is not flat, as black borders are."""
    if leaked.shape != original.shape or leaked.dtype != original.dtype:
        return False
    textured = np.zeros(original.shape, dtype=bool)
    textured[:, 1:] = original[:, 1:] != original[:, :-1]
    return bool(textured.any() and (leaked == original)[textured].mean() > 0.5)


class _Fit:
    """One leaked image against one original, both as luma at working size."""

    def __init__(self, leaked: Plane, original: Plane) -> None:
        self._reduction = min(1.0, WORKING_SIDE / max(original.shape))
        self._leaked_shape, self._original_shape = leaked.shape, original.shape
        self._original = resized(original, _reduced(original.shape, self._reduction))
        # A leak far larger than the working image would be sampled too thinly by the warp.
        self._leaked = resized(leaked, _reduced(leaked.shape, min(1.0, 1.25 * WORKING_SIDE / max(leaked.shape))))
        # Both as soft as one working pixel, the original also as soft as a leak that was reduced.
        coarseness = min(1.0, self._leaked.shape[1] / self._original.shape[1])
        self._smooth_leaked = _blurred(self._leaked, coarseness)
        self._smooth_original = _blurred(self._original, float(np.sqrt(0.75 + 0.25 / coarseness**2)))

    def rated(self, guess: Registration) -> Registration:
        height, width = self._original.shape
        to_leaked = self._matrix(guess)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(self._smooth_leaked, to_leaked, (width, height), flags=flags)
        ones = np.ones_like(self._smooth_leaked)
        inside = cv2.warpAffine(ones, to_leaked, (width, height), flags=flags) > 0.99
        if inside.mean() < SMALLEST_WINDOW**2 / 2:
            return replace(guess, error=float("inf"))
        difference = np.minimum(np.abs(warped - self._smooth_original)[inside], _CLIP)
        return replace(guess, error=float(difference.mean()))

    def _matrix(self, guess: Registration) -> npt.NDArray[np.float64]:
        """Working original px → working leaked px, by centres."""
        (height, width), (rows, columns) = self._original.shape, self._leaked.shape
        across = self._original_shape[1] / width, guess.scale_x * columns / self._leaked_shape[1]
        down = self._original_shape[0] / height, guess.scale_y * rows / self._leaked_shape[0]
        return np.array([_axis(*across, guess.left, 0), _axis(*down, guess.top, 1)])

    def unscaled(self) -> Iterator[Registration]:
        """A crop that kept its size, if the leak fits into the original, at the best whole-pixel offset."""
        share = self._leaked_shape[1] / self._original_shape[1]
        other = self._leaked_shape[0] / self._original_shape[0]
        if SMALLEST_WINDOW <= share <= 1 and SMALLEST_WINDOW <= other <= 1 and self._reduction == 1.0:
            _, (left, top) = _match(self._original, resized(self._leaked, self._leaked_shape[::-1]))
            yield Registration(1.0, 1.0, float(left), float(top))

    def settled(self, guess: Registration) -> bool:
        """Whether shifting by a working pixel or scaling by 1 % fits worse, whichever way: then nothing is searched."""
        step = 1.0 / self._reduction
        moved = [
            replace(guess, left=guess.left + d, top=guess.top + e)
            for d, e in ((step, 0), (-step, 0), (0, step), (0, -step))
        ]
        scaled = [replace(guess, scale_x=guess.scale_x * z, scale_y=guess.scale_y * z) for z in (0.99, 1.01)]
        centred = [
            replace(
                r, left=guess.left + self._original_shape[1] * z / 2, top=guess.top + self._original_shape[0] * z / 2
            )
            for r, z in zip(scaled, (-0.01, 0.01), strict=True)
        ]
        return all(self.rated(r).error > 1.05 * guess.error for r in (*moved, *scaled, *centred))

    def window(self) -> Registration:
        """The window of the original that the leak resembles most, one scale for both axes."""
        height, width = self._original.shape
        aspect = self._leaked_shape[0] / self._leaked_shape[1]
        best, found = -2.0, (width, height, 0, 0)
        for columns in range(int(SMALLEST_WINDOW * width), width + 1, max(1, width // 112)):
            rows = min(round(columns * aspect), height)
            score, (left, top) = _match(self._original, resized(self._leaked, (columns, rows)))
            if score > best:
                best, found = score, (columns, rows, left, top)
        columns, rows, left, top = found
        zoom_x, zoom_y = self._original_shape[1] / width, self._original_shape[0] / height
        scales = self._leaked_shape[1] / (columns * zoom_x), self._leaked_shape[0] / (rows * zoom_y)
        return Registration(*scales, left * zoom_x, top * zoom_y)

    def refined(self, start: Registration) -> Registration:
        """Nelder–Mead on scale and offset, in steps of a working pixel."""
        step = 1.0 / self._reduction
        size = max(self._original_shape)

        def at(moved: npt.NDArray[np.float64]) -> Registration:
            across, down, right, below = moved.tolist()
            return Registration(
                start.scale_x * (1 + across * step / size),
                start.scale_y * (1 + down * step / size),
                start.left + right * step,
                start.top + below * step,
            )

        simplex = np.vstack([np.zeros(4), np.eye(4)])
        options = {"initial_simplex": simplex, "maxfev": 90, "xatol": 0.02, "fatol": 1e-6}
        found = minimize(lambda moved: self.rated(at(moved)).error, np.zeros(4), method="Nelder-Mead", options=options)
        return self.rated(at(found.x))


def _axis(zoom: float, scale: float, offset: float, axis: int) -> list[float]:
    """One row of the affine map i → ((i + 0.5)·zoom − offset)·scale − 0.5."""
    row = [0.0, 0.0, (0.5 * zoom - offset) * scale - 0.5]
    row[axis] = zoom * scale
    return row


def _match(image: Plane, template: Plane) -> tuple[float, tuple[int, int]]:
    """Best normalised cross-correlation of the details (not of the broad shading) and its (x, y)."""
    detail = image - _blurred(image, 4.0), template - _blurred(template, 4.0)
    _, score, _, position = cv2.minMaxLoc(cv2.matchTemplate(*detail, cv2.TM_CCOEFF_NORMED))
    return score, (position[0], position[1])


def _blurred(plane: Plane, sigma: float) -> Plane:
    result: Plane = cv2.GaussianBlur(plane, (0, 0), sigma)
    return result


def resized(plane: Plane, size: tuple[int, int]) -> Plane:
    """To (width, height); averages where that is smaller. A single channel axis is dropped when anything changes."""
    if (plane.shape[1], plane.shape[0]) == size:
        return plane
    smaller = size[0] <= plane.shape[1]
    result: Plane = cv2.resize(plane, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    return result


def _reduced(shape: tuple[int, ...], reduction: float) -> tuple[int, int]:
    return max(1, round(shape[1] * reduction)), max(1, round(shape[0] * reduction))
