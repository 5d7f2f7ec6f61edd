"""Find a known logo on a leaked image: where, and how opaque.

With the original at hand (its owner has it) the difference of the two is searched with a matched filter; without it the
logo's own pattern is. To tell which recipient's placement a copy shows, `medlocker.tracing.reading` chooses among the
known candidates instead, which is far more robust than either.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from medlocker.blending import AlphaRule, Logo, Mark, Pixels, Placement, colour_channels, footprint, lock, prepare_mark
from medlocker.tracing.frames import Frame, overlay
from medlocker.tracing.registration import Plane, luma, unit_colours

_TYPICAL_ALPHA = 178
"""Middle of the search range [100, 255]; shapes the matched filter where the logo's own opacity varies."""
_PATCH_SIDE = 64
_STRETCHES = (1.0, 1.02, 1.04, 1.06, 1.08)


class Located(NamedTuple):
    """A mark found on an image.

    Attributes:
        x: left edge, px of the original (of the image's expected size).
        y: top edge, likewise.
        alpha: 0–255.
        score: share of the difference's energy that the mark explains (original known), or normalised
            cross-correlation (blind); at most 1.
        scale: leaked px per original px, across and down.
        offset: original px at the leaked image's left and top edge.
    """

    x: int
    y: int
    alpha: int
    score: float
    scale: tuple[float, float]
    offset: tuple[float, float]

    @property
    def placement(self) -> Placement:
        """α, x, y."""
        return Placement(self.alpha, self.x, self.y)


def locate_mark(
    leaked: Pixels,
    logo: Logo,
    *,
    logo_scale: float = 4.0,
    rule: AlphaRule = "alpha_channel",
    original: Pixels | None = None,
    expected_size: tuple[int, int] | None = None,
) -> Located:
    """Find a logo's position and α.

    Args:
        leaked: as found; grey or colour, 8 or 16 bit.
        logo: known.
        logo_scale: the paper's sl it was scaled with.
        rule: how opacity follows from α.
        original: the unmarked image; without it the search is blind, and α an estimate.
        expected_size: (W, H) px of the original for the blind search; the leaked image's own when None.

    Returns:
        The best match; `score` tells how good it is. From an unaltered copy and its original, exact.
    """
    if original is not None:
        mark = prepare_mark(logo, original.shape, original.dtype, logo_scale=logo_scale, rule=rule)
        return _locate_by_difference(overlay(leaked, original, full_size=True), leaked, mark)
    size = expected_size or (leaked.shape[1], leaked.shape[0])
    mark = prepare_mark(logo, (size[1], size[0], 3), np.uint8, logo_scale=logo_scale, rule=rule)
    return _locate_by_pattern(unit_colours(leaked), mark, size)


def _locate_by_difference(frame: Frame, leaked: Pixels, mark: Mark) -> Located:
    gain = _matched_filter(frame, mark)
    _, _, _, (column, row) = cv2.minMaxLoc(gain)
    height, width = frame.original.shape[:2]
    x = min(round(column * frame.zoom[0]), width - mark.size[0])
    y = min(round(row * frame.zoom[1]), height - mark.size[1])
    found = frame.registration
    alpha = _exact_alpha(leaked, frame.original, mark, x, y) if found.error == 0 else _fitted_alpha(frame, mark, x, y)
    effect, difference = frame.effect(mark, Placement(alpha, x, y)), frame.difference
    energy = float((difference**2).sum())
    score = 1 - float(((difference - effect) ** 2).sum()) / energy if energy else 0.0
    return Located(x, y, alpha, score, (found.scale_x, found.scale_y), (found.left, found.top))


def _matched_filter(frame: Frame, mark: Mark) -> Plane:
    """Energy of the difference that a mark of the best opacity explains, for every position, (h', w').

    For D = a·c·(L − O) that is ⟨D, c(L − O)⟩² / ⟨c(L − O), c(L − O)⟩; by Cauchy–Schwarz the true position has the most.
    """
    colour, shape = _scaled_pattern(mark, frame.zoom, frame.leaked.shape[2])
    difference, reference = frame.difference, frame.reference
    product = _correlate(difference, shape * colour) - _correlate(difference * reference, shape)
    own = (
        float(((shape * colour) ** 2).sum())
        - 2 * _correlate(reference, shape**2 * colour)
        + _correlate(reference**2, shape**2)
    )
    # Where the image has nearly the logo's colours a mark changes nothing, and noise would be divided by nothing.
    floor = 1e-3 * float(own.max()) + 1e-9
    gain: Plane = np.where(product > 0, product, 0) ** 2 / np.maximum(own, floor)
    return gain


def _scaled_pattern(mark: Mark, zoom: tuple[float, float], channels: int) -> tuple[Plane, Plane]:
    """The logo's colours and relative opacity at a frame's scale, each (h, w, channels)."""
    colour = (mark.colour / mark.peak).astype(np.float32)
    shape = (np.minimum(mark.cap, _TYPICAL_ALPHA) / _TYPICAL_ALPHA).astype(np.float32)
    if channels == 1:
        colour = luma(colour)[..., None]
    colour = np.broadcast_to(colour, (*colour.shape[:2], channels))
    size = max(1, round(mark.size[0] / zoom[0])), max(1, round(mark.size[1] / zoom[1]))
    if size != mark.size:
        colour = cv2.resize(np.ascontiguousarray(colour), size, interpolation=cv2.INTER_AREA)
        shape = cv2.resize(shape, size, interpolation=cv2.INTER_AREA)
    return colour.reshape(size[1], size[0], channels), np.repeat(shape[..., None], channels, axis=2)


def _correlate(image: Plane, template: Plane) -> Plane:
    result: Plane = cv2.matchTemplate(
        np.ascontiguousarray(image), np.ascontiguousarray(template, dtype=np.float32), cv2.TM_CCORR
    )
    return result


def _fitted_alpha(frame: Frame, mark: Mark, x: int, y: int) -> int:
    """Least squares on Eq. 1, repeated because the logo's own opacity caps α."""
    difference, alpha = frame.difference, _TYPICAL_ALPHA
    for _ in range(4):
        effect = frame.effect(mark, Placement(alpha, x, y))
        energy = float((effect**2).sum())
        factor = float((difference * effect).sum()) / energy if energy else 1.0
        alpha = int(np.clip(round(alpha * factor), 1, 255))
    return alpha


def _exact_alpha(leaked: Pixels, original: Pixels, mark: Mark, x: int, y: int) -> int:
    """The α whose integer blend is nearest to the leaked pixels; the lowest of equals."""
    rows, columns = footprint(mark, Placement(0, x, y), original.shape)
    patch, target = original[rows, columns], colour_channels(leaked[rows, columns])

    def error(alpha: int) -> int:
        return int(((colour_channels(lock(patch, mark, Placement(alpha, 0, 0))) - target) ** 2).sum())

    # Each pixel's error falls until the true α and never falls after it, so that a coarse minimum is near the fine one.
    coarse = min(range(0, 256, 15), key=error)
    return min(range(max(0, coarse - 15), min(255, coarse + 15) + 1), key=error)


def _locate_by_pattern(leaked: Plane, mark: Mark, size: tuple[int, int]) -> Located:
    height, width = leaked.shape[:2]
    matches = []
    for scale in _possible_scales(width / size[0], height / size[1]):
        colour, shape = _scaled_pattern(mark, (1 / scale, 1 / scale), leaked.shape[2])
        if colour.shape[0] <= height and colour.shape[1] <= width:
            matches.append((*_match_pattern(leaked, colour, shape), scale))
    score, (left, top), scale = max(matches)
    alpha = _blind_alpha(leaked, mark, scale, left, top)
    return Located(round(left / scale), round(top / scale), alpha, score, (scale, scale), (0.0, 0.0))


def _possible_scales(across: float, down: float) -> list[float]:
    """The whole image at another size; a crop at full size; either, stretched by up to 8 % after a crop."""
    bases = {across, down} | ({1.0} if 0.8 <= min(across, down) <= 1 else set())
    return sorted({round(base * stretch, 4) for base in bases for stretch in _STRETCHES})


def _match_pattern(leaked: Plane, colour: Plane, shape: Plane) -> tuple[float, tuple[int, int]]:
    """Masked normalised cross-correlation; a logo of one colour is looked for by its outline."""
    inside = shape > 0.5
    if float(colour[inside].std()) > 0.02:
        scores = cv2.matchTemplate(leaked, np.ascontiguousarray(colour), cv2.TM_CCOEFF_NORMED, mask=shape)
    else:
        sign = np.sign(float(colour[inside].mean()) - float(leaked.mean())) or 1.0
        scores = sign * cv2.matchTemplate(luma(leaked), np.ascontiguousarray(shape[..., 0]), cv2.TM_CCOEFF_NORMED)
    # Over flat pixels the correlation is 0/0.
    scores = np.where(np.isfinite(scores) & (scores <= 1.0001), scores, -1.0).astype(np.float32)
    _, score, _, position = cv2.minMaxLoc(scores)
    return float(score), (position[0], position[1])


def _blind_alpha(leaked: Plane, mark: Mark, scale: float, left: int, top: int) -> int:
    """Least squares on Eq. 1, M = (1 − a_p)·O + a_p·L, with O a quadratic surface per channel fitted along with α."""
    width, height = max(1, round(mark.size[0] * scale)), max(1, round(mark.size[1] * scale))
    window = leaked[top : top + height, left : left + width]
    reduction = max(1.0, max(width, height) / _PATCH_SIDE)
    size = max(1, round(width / reduction)), max(1, round(height / reduction))
    values = cv2.resize(window, size, interpolation=cv2.INTER_AREA).reshape(size[0] * size[1], -1)
    colour, _ = _scaled_pattern(mark, (mark.size[0] / size[0], mark.size[1] / size[1]), values.shape[1])
    cap = cv2.resize(mark.cap, size, interpolation=cv2.INTER_AREA).reshape(-1, 1)
    surface = _quadratic(size)

    def error(alpha: int) -> float:
        opacity = np.minimum(cap, alpha) / 255
        target = values - opacity * colour.reshape(values.shape)
        basis = (1 - opacity) * surface
        fitted = basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
        return float(((target - fitted) ** 2).sum())

    coarse = min(range(0, 256, 15), key=error)
    return min(range(max(0, coarse - 15), min(255, coarse + 15) + 1), key=error)


def _quadratic(size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """(w·h, 6): 1, x, y, x², xy, y² over a grid in −1 … 1."""
    y, x = (axis.ravel() for axis in np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j])
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
