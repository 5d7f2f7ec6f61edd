"""How far an image restored by Eq. 9 alone can be from the original."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from medlocker.blending import Mark, Pixels, Placement, colour_channels, footprint, preimage_bounds


class Loss(NamedTuple):
    """What an inexact restore costs, over the whole image.

    Attributes:
        inexact: expected share of the image's pixels that differ from the original, 0–1.
        expected_psnr: dB, if each original value that the marked one allows is equally likely.
        worst_psnr: dB, if the original is as far off as the marked value allows.
    """

    inexact: float
    expected_psnr: float
    worst_psnr: float


def expected_loss(marked: Pixels, estimate: Pixels, mark: Mark, placement: Placement) -> Loss:
    """Bound the error of `blending.estimate_original` without knowing the original.

    Args:
        marked: the marked image.
        estimate: from `estimate_original`.
        mark: that was blended in.
        placement: α, x, y.

    Returns:
        The loss; infinite PSNR where nothing can be lost.
    """
    rows, columns = footprint(mark, placement, marked.shape)
    low, high = preimage_bounds(colour_channels(marked[rows, columns]), mark, placement.alpha)
    guess = colour_channels(estimate[rows, columns])
    count = (high - low + 1).astype(np.float64)
    exact = np.where((low <= guess) & (guess <= high), 1 / count, 0.0).prod(axis=2)
    # The mean of (v − g)² over the integers v of [low, high].
    expected = ((low + high) / 2 - guess) ** 2 + (count**2 - 1) / 12
    worst = np.maximum(np.abs(low - guess), np.abs(high - guess)).astype(np.float64) ** 2
    pixels = marked.shape[0] * marked.shape[1]
    values = pixels * low.shape[2]
    return Loss(
        float((1 - exact).sum() / pixels),
        _psnr(float(expected.sum()) / values, mark.peak),
        _psnr(float(worst.sum()) / values, mark.peak),
    )


def _psnr(squared_error: float, peak: int) -> float:
    return float("inf") if squared_error == 0 else float(10 * np.log10(peak**2 / squared_error))
