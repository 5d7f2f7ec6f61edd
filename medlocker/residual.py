"""What Eq. 9 cannot give back, coded in a few bits a pixel.

Eq. 1 rounds, so several original values share one marked value. Whoever holds the key can bound the original to an
interval (`blending.preimage_bounds`); only the choice inside that interval has to travel. It is predicted from pixels
already restored, coarse to fine, and the prediction's error is packed and compressed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medlocker.blending import Mark, blend_values, preimage_bounds
from medlocker.errors import AlteredImageError, CorruptPacketError
from medlocker.packing import pack_symbols, unpack_symbols

Values = npt.NDArray[np.int64]
_Plane = npt.NDArray[np.int32]
"""(C, N', M') or one channel or part of it: channels first and 32 bits wide, which halves the time."""

SLOPE_UNIT = 32
"""Slopes between colour channels are stored in 1/32, one signed byte each."""

_GREEN, _RED_AND_BLUE = slice(1, 2), slice(0, 3, 2)


class _Pass(NamedTuple):
    """One refinement: the pixels it restores, and how far their restored neighbours are.

    Attributes:
        rows: of the pixels.
        columns: of the pixels.
        half: px to each neighbour, along each axis that `offsets` uses.
        offsets: directions to the neighbours, (down, right) in −1 … 1.
    """

    rows: slice
    columns: slice
    half: int
    offsets: tuple[tuple[int, int], ...]


def encode_residual(original: Values, mark: Mark, alpha: int) -> bytes:
    """Code what the marked patch does not tell about the original.

    Args:
        original: (N', M', C) int64, the colour channels under the footprint before `lock`.
        mark: the mark that is blended in.
        alpha: 0–255.

    Returns:
        The payload of a recovery packet.
    """
    low, high = _bounds(blend_values(original, mark.colour, mark.opacity(alpha)[..., None]), mark, alpha)
    values = _planes(original)
    means = _all_means(values)
    slopes = _fit_slopes(values - means)
    symbols = np.zeros_like(values)
    for channels in _channel_order(len(values)):
        guess = _predict(means, values, channels, slopes)
        symbols[channels] = _fold(values[channels], guess, low[channels], high[channels])
    return slopes.astype(np.int8).tobytes() + pack_symbols(symbols, high - low + 1)


def decode_residual(payload: bytes, marked: Values, mark: Mark, alpha: int) -> Values:
    """Restore the original from the marked patch and its payload.

    Args:
        payload: from `encode_residual`.
        marked: (N', M', C) int64, the colour channels under the footprint after `lock`.
        mark: the mark that was blended in.
        alpha: 0–255, as blended.

    Returns:
        The original values, (N', M', C) int64.

    Raises:
        AlteredImageError: a marked value cannot come from this mark and α.
        CorruptPacketError: the payload does not fit the patch; nothing is inflated beyond the size that it must have.
    """
    low, high = _bounds(marked, mark, alpha)
    if (low > high).any():
        raise AlteredImageError(
            "the marked pixels cannot come from this mark", why="the image was altered, or the key is for another image"
        )
    if len(payload) < 2:
        raise CorruptPacketError("the recovery packet is too short")
    slopes = np.frombuffer(payload[:2], dtype=np.int8).astype(np.int32)
    symbols = unpack_symbols(payload[2:], high - low + 1)
    values = low.copy()
    for step in _passes(low.shape[1], low.shape[2]):
        at = (slice(None), step.rows, step.columns)
        _refine(values, step, (symbols[at], low[at], high[at]), slopes)
    return np.moveaxis(values, 0, 2).astype(np.int64)


def _refine(values: _Plane, step: _Pass, known: tuple[_Plane, _Plane, _Plane], slopes: _Plane) -> None:
    """Restore one pass's pixels in place."""
    symbols, low, high = known
    means = _mean_of_neighbours(values, step)
    target = values[:, step.rows, step.columns]
    for channels in _channel_order(len(values)):
        guess = _predict(means, target, channels, slopes)
        target[channels] = _unfold(symbols[channels], guess, low[channels], high[channels])


def _planes(patch: Values) -> _Plane:
    return np.ascontiguousarray(np.moveaxis(patch, 2, 0), dtype=np.int32)


def _bounds(marked: Values, mark: Mark, alpha: int) -> tuple[_Plane, _Plane]:
    low, high = preimage_bounds(marked, mark, alpha)
    return _planes(low), _planes(high)


def _channel_order(channels: int) -> tuple[slice, ...]:
    """Green first: red and blue, together, are predicted with its help."""
    return (slice(0, 1),) if channels == 1 else (_GREEN, _RED_AND_BLUE)


def _passes(height: int, width: int) -> Iterator[_Pass]:
    """Refinements that restore each pixel once: the corner, then at each scale diagonals and straight crosses."""
    yield _Pass(slice(0, 1), slice(0, 1), 1, ())
    half = (1 << (max(height, width) - 1).bit_length()) >> 1
    while half:
        vertical = ((-1, 0), (1, 0)) if height > half else ()
        horizontal = ((0, -1), (0, 1)) if width > half else ()
        odd, even = slice(half, None, 2 * half), slice(0, None, 2 * half)
        if vertical and horizontal:
            yield _Pass(odd, odd, half, ((-1, -1), (-1, 1), (1, -1), (1, 1)))
        if horizontal:
            yield _Pass(even, odd, half, vertical + horizontal)
        if vertical:
            yield _Pass(odd, even, half, vertical + horizontal)
        half >>= 1


def _mean_of_neighbours(values: _Plane, step: _Pass) -> _Plane:
    if not step.offsets:
        return np.zeros((len(values), 1, 1), dtype=np.int32)
    # Four neighbours, or two where the patch is a single line at this scale.
    shift = len(step.offsets).bit_length() - 1
    total = sum(_neighbour(values, step, offset) for offset in step.offsets)
    return np.asarray((total + (1 << shift >> 1)) >> shift, dtype=np.int32)


def _neighbour(values: _Plane, step: _Pass, offset: tuple[int, int]) -> _Plane:
    across = _shifted(values, 1, step.rows, offset[0] * step.half)
    return _shifted(across, 2, step.columns, offset[1] * step.half)


def _shifted(values: _Plane, axis: int, lines: slice, shift: int) -> _Plane:
    """The lines at a distance from `lines`; where that leaves the patch, those on the other side."""
    if not shift:
        return values[:, lines] if axis == 1 else values[:, :, lines]
    return values.take(_shifted_lines(values.shape[axis], lines.start, lines.step, shift), axis=axis)


@lru_cache(maxsize=1024)
def _shifted_lines(length: int, start: int, step: int, shift: int) -> npt.NDArray[np.intp]:
    """Kept, because working out these few numbers takes longer than using them."""
    index = np.arange(start, length, step)
    beyond = (index + shift < 0) | (index + shift >= length)
    return np.where(beyond, index - shift, index + shift)


def _predict(means: _Plane, values: _Plane, channels: slice, slopes: _Plane) -> _Plane:
    """The neighbours' mean; for red and blue plus a slope times green's own distance from its neighbours' mean."""
    if channels != _RED_AND_BLUE:
        return means[channels]
    detail = slopes[:, None, None] * (values[1] - means[1])
    return np.asarray(means[channels] + ((detail + SLOPE_UNIT // 2) // SLOPE_UNIT), dtype=np.int32)


def _all_means(values: _Plane) -> _Plane:
    means = np.zeros_like(values)
    for step in _passes(values.shape[1], values.shape[2]):
        means[:, step.rows, step.columns] = _mean_of_neighbours(values, step)
    return means


def _fit_slopes(detail: _Plane) -> _Plane:
    """Least-squares slopes of red and of blue on green, in 1/32."""
    if len(detail) == 1:
        return np.zeros(2, dtype=np.int32)
    red, green, blue = detail.astype(np.float64)
    energy = max(float((green * green).sum()), 1.0)
    fitted = np.array([(red * green).sum(), (blue * green).sum()]) / energy * SLOPE_UNIT
    return np.clip(np.rint(fitted), -127, 127).astype(np.int32)


def _fold(values: _Plane, guess: _Plane, low: _Plane, high: _Plane) -> _Plane:
    """Number the values of [low, high] by their distance from the prediction: 0, +1, −1, +2 …"""
    guess = np.minimum(np.maximum(guess, low), high)
    error = values - guess
    both_sides = np.minimum(guess - low, high - guess)
    distance = np.abs(error)
    return np.asarray(
        np.where(distance <= both_sides, 2 * distance - (error > 0), distance + both_sides), dtype=np.int32
    )


def _unfold(symbols: _Plane, guess: _Plane, low: _Plane, high: _Plane) -> _Plane:
    """The inverse of `_fold`."""
    guess = np.minimum(np.maximum(guess, low), high)
    below, above = guess - low, high - guess
    both_sides = np.minimum(below, above)
    # 1, 2, 3, 4 … → +1, −1, +2, −2 …
    near = ((symbols + 1) >> 1) * (2 * (symbols & 1) - 1)
    far = np.where(above > below, symbols - both_sides, both_sides - symbols)
    return np.asarray(guess + np.where(symbols <= 2 * both_sides, near, far), dtype=np.int32)
