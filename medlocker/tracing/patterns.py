"""The logo as a pattern, and the blind search for it: only the logo is known, not the image under it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from medlocker.blending import Mark
from medlocker.tracing.registration import Plane, luma, resized

TYPICAL_ALPHA = 178
"""Middle of the search range [100, 255]; shapes the matched filter where the logo's own opacity varies."""

_PATCH_SIDE = 64
_STRETCHES = (1.0, 1.02, 1.04, 1.06, 1.08)
_FLAT = 0.02


class BlindMatch(NamedTuple):
    """A logo found by its pattern.

    Attributes:
        x: left edge, px of the expected size, from the leaked image's left edge.
        y: top edge, likewise.
        alpha: 0–255, an estimate.
        score: normalised cross-correlation, at most 1.
        scale: leaked px per px of the expected size, across and down.
    """

    x: int
    y: int
    alpha: int
    score: float
    scale: tuple[float, float]


def scaled_pattern(mark: Mark, zoom: tuple[float, float], channels: int) -> tuple[Plane, Plane]:
    """The logo's colours and relative opacity at a frame's scale, each (h, w, channels)."""
    colour = (mark.colour / mark.peak).astype(np.float32)
    shape = (np.minimum(mark.cap, TYPICAL_ALPHA) / TYPICAL_ALPHA).astype(np.float32)
    if channels == 1:
        colour = luma(colour)[..., None]
    colour = np.broadcast_to(colour, (*colour.shape[:2], channels))
    size = max(1, round(mark.size[0] / zoom[0])), max(1, round(mark.size[1] / zoom[1]))
    if size != mark.size:
        colour = cv2.resize(np.ascontiguousarray(colour), size, interpolation=cv2.INTER_AREA)
        shape = cv2.resize(shape, size, interpolation=cv2.INTER_AREA)
    return colour.reshape(size[1], size[0], channels), np.repeat(shape[..., None], channels, axis=2)


def match_blind(leaked: Plane, mark: Mark, size: tuple[int, int]) -> BlindMatch:
    """Find a mark by masked normalised cross-correlation, over the scales a mild crop or a resize leaves.

    Args:
        leaked: (h, w, C) 0–1.
        mark: at the expected size.
        size: (W, H) px expected of the original.

    Returns:
        The best match over all scales and positions.
    """
    matches = []
    for scale in _possible_scales(leaked.shape[1] / size[0], leaked.shape[0] / size[1]):
        view = _at_original_scale(leaked, scale)
        if view.shape[0] >= mark.size[1] and view.shape[1] >= mark.size[0]:
            matches.append((*_match_pattern(view, mark, _softness(scale)), scale))
    score, (x, y), scale = max(matches)
    view = _at_original_scale(leaked, scale)[y : y + mark.size[1], x : x + mark.size[0]]
    return BlindMatch(x, y, _estimated_alpha(view, mark, _softness(scale)), score, scale)


def _possible_scales(across: float, down: float) -> list[tuple[float, float]]:
    """The whole image at another size; the same, stretched by up to 8 % after a crop; a crop at full size."""
    whole = [(across * stretch, down * stretch) for stretch in _STRETCHES]
    return [*whole, (1.0, 1.0)] if 0.8 <= min(across, down) < 1 else whole


def _at_original_scale(leaked: Plane, scale: tuple[float, float]) -> Plane:
    size = max(1, round(leaked.shape[1] / scale[0])), max(1, round(leaked.shape[0] / scale[1]))
    return resized(leaked, size).reshape(size[1], size[0], leaked.shape[2])


def _softness(scale: tuple[float, float]) -> float:
    """Blur, px at the expected size, that a reduction leaves behind."""
    return 0.5 * float(np.sqrt(max(0.0, 1 / min(scale) ** 2 - 1)))


def _softened(plane: Plane, sigma: float) -> Plane:
    if sigma < 0.2:
        return plane
    result: Plane = cv2.GaussianBlur(plane, (0, 0), sigma)
    return result.reshape(plane.shape)


def _match_pattern(leaked: Plane, mark: Mark, sigma: float) -> tuple[float, tuple[int, int]]:
    """Score and (x, y); a logo of one colour is looked for by its outline."""
    colour, shape = scaled_pattern(mark, (1.0, 1.0), leaked.shape[2])
    inside = shape > 0.5
    if float(colour[inside].std()) > _FLAT:
        template = np.ascontiguousarray(_softened(np.ascontiguousarray(colour), sigma))
        scores = cv2.matchTemplate(leaked, template, cv2.TM_CCOEFF_NORMED, mask=shape)
    else:
        sign = np.sign(float(colour[inside].mean()) - float(leaked.mean())) or 1.0
        outline = _softened(np.ascontiguousarray(shape[..., 0]), sigma)
        scores = sign * cv2.matchTemplate(luma(leaked), outline, cv2.TM_CCOEFF_NORMED)
    # Over flat pixels the correlation is 0/0.
    scores = np.where(np.isfinite(scores) & (scores <= 1.0001), scores, -1.0).astype(np.float32)
    _, score, _, position = cv2.minMaxLoc(scores)
    return float(score), (position[0], position[1])


def _estimated_alpha(window: Plane, mark: Mark, sigma: float) -> int:
    """Least squares on Eq. 1, M = (1 − a_p)·O + a_p·L, with O a quadratic surface per channel fitted along with α."""
    reduction = max(1.0, max(mark.size) / _PATCH_SIDE)
    size = max(1, round(mark.size[0] / reduction)), max(1, round(mark.size[1] / reduction))
    values = resized(window, size).reshape(size[0] * size[1], -1)
    colour, _ = scaled_pattern(mark, (mark.size[0] / size[0], mark.size[1] / size[1]), values.shape[1])
    cap, surface = resized(mark.cap.astype(np.float32), size)[..., None], _quadratic(size)

    def error(alpha: int) -> float:
        opacity = (np.minimum(cap, alpha) / 255).astype(np.float32)
        target = values - _softened(opacity * colour, sigma / reduction).reshape(values.shape)
        basis = (1 - _softened(opacity, sigma / reduction).reshape(-1, 1)) * surface
        fitted = basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
        return float(((target - fitted) ** 2).sum())

    coarse = min(range(0, 256, 15), key=error)
    return min(range(max(0, coarse - 15), min(255, coarse + 15) + 1), key=error)


def _quadratic(size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """(w·h, 6): 1, x, y, x², xy, y² over a grid in −1 … 1."""
    y, x = (axis.ravel() for axis in np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j])
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
