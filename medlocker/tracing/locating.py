"""Find a known logo on a leaked image: where, and how opaque.

With the original at hand (its owner has it) the difference of the two is searched with a matched filter; without it the
logo's own pattern is. To tell which recipient's placement a copy shows, `medlocker.tracing.reading` chooses among the
known candidates instead, which is far more robust than either.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from medlocker.blending import AlphaRule, Logo, Mark, Pixels, Placement, colour_channels, footprint, lock, prepare_mark
from medlocker.tracing.frames import Frame, overlay
from medlocker.tracing.patterns import TYPICAL_ALPHA, match_blind, scaled_pattern
from medlocker.tracing.registration import Plane, unit_colours


class Located(NamedTuple):
    """A mark found on an image.

    Attributes:
        x: left edge, px of the original (of the image's expected size).
        y: top edge, likewise.
        alpha: 0–255.
        score: share of the difference's energy that the mark explains (original known), or normalised
            cross-correlation (blind); at most 1.
        scale: leaked px per original px, across and down.
        offset: original px at the leaked image's left and top edge; (0, 0) from a blind search, which cannot know a
            crop, so that x and y count from the leaked image's own corner.
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
    match = match_blind(unit_colours(leaked), mark, size)
    return Located(match.x, match.y, match.alpha, match.score, match.scale, (0.0, 0.0))


def _locate_by_difference(frame: Frame, leaked: Pixels, mark: Mark) -> Located:
    gain = _matched_filter(frame, mark)
    _, _, _, (column, row) = cv2.minMaxLoc(gain)
    height, width = frame.original.shape[:2]
    x = min(round(column * frame.zoom[0]), width - mark.size[0])
    y = min(round(row * frame.zoom[1]), height - mark.size[1])
    found = frame.registration
    untouched = found.error == 0 and leaked.shape == frame.original.shape
    alpha = _exact_alpha(leaked, frame.original, mark, x, y) if untouched else _fitted_alpha(frame, mark, x, y)
    effect, difference = frame.effect(mark, Placement(alpha, x, y)), frame.difference
    energy = float((difference**2).sum())
    score = 1 - float(((difference - effect) ** 2).sum()) / energy if energy else 0.0
    return Located(x, y, alpha, score, (found.scale_x, found.scale_y), (found.left, found.top))


def _matched_filter(frame: Frame, mark: Mark) -> Plane:
    """Energy of the difference that a mark of the best opacity explains, for every position, (h', w').

    For D = a·c·(L − O) that is ⟨D, c(L − O)⟩² / ⟨c(L − O), c(L − O)⟩; by Cauchy–Schwarz the true position has the most.
    """
    colour, shape = scaled_pattern(mark, frame.zoom, frame.leaked.shape[2])
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


def _correlate(image: Plane, template: Plane) -> Plane:
    result: Plane = cv2.matchTemplate(
        np.ascontiguousarray(image), np.ascontiguousarray(template, dtype=np.float32), cv2.TM_CCORR
    )
    return result


def _fitted_alpha(frame: Frame, mark: Mark, x: int, y: int) -> int:
    """Least squares on Eq. 1, repeated because the logo's own opacity caps α."""
    difference, alpha = frame.difference, TYPICAL_ALPHA
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
