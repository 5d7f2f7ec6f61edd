"""Recovery packets: what Eq. 9 cannot give back, coded in a few bits a pixel and sealed.

Eq. 1 rounds, so several original values share one marked value. Whoever holds the key can bound the original to an
interval (`blending.preimage_bounds`); only the choice inside that interval has to travel. It is predicted from pixels
already restored, coarse to fine, and the prediction's error is packed and compressed.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medlocker.blending import Mark, blend_values, preimage_bounds
from medlocker.errors import AlteredImageError, CorruptPacketError

Values = npt.NDArray[np.int64]
_Indices = npt.NDArray[np.intp]

SLOPE_UNIT = 32
"""Slopes between colour channels are stored in 1/32, one signed byte each."""

_STORED, _HUFFMAN, _LZMA = 0, 1, 2
_LZMA_FILTERS = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 20, "lc": 0, "lp": 0, "pb": 0}]
_LENGTH_BYTES = 4
# Symbols share a stream by the size of their interval: each size up to 16 alone, then all that fit a byte, then all
# wider ones. `_PER_BYTE` says how many symbols of a small alphabet fit one byte.
_BYTE_STREAM, _WIDE_STREAM = 17, 18
_PER_BYTE = {size: max(k for k in range(1, 9) if size**k <= 256) for size in range(2, 17)}


class _Pass(NamedTuple):
    """One refinement: the pixels it restores and, for all of them at once, their restored neighbours."""

    rows: _Indices
    columns: _Indices
    neighbours: tuple[tuple[_Indices, _Indices], ...]

    @property
    def at(self) -> tuple[_Indices, _Indices]:
        return self.rows[:, None], self.columns[None, :]


def encode_residual(original: Values, mark: Mark, alpha: int) -> bytes:
    """Code what the marked patch does not tell about the original.

    Args:
        original: (N', M', C) int64, the colour channels under the footprint before `lock`.
        mark: the mark that is blended in.
        alpha: 0–255.

    Returns:
        The payload of a recovery packet.
    """
    marked = blend_values(original, mark.colour, mark.opacity(alpha)[..., None])
    low, high = preimage_bounds(marked, mark, alpha)
    slopes = _fit_slopes(original)
    symbols = np.zeros_like(original)
    for step in _passes(original.shape[:2]):
        means = _mean_of_neighbours(original, step)
        for channel in _channel_order(original.shape[2]):
            at = (*step.at, channel)
            guess = _predict(original, means, step, channel, slopes)
            symbols[at] = _fold(original[at], guess, low[at], high[at])
    return np.array(slopes, dtype=np.int8).tobytes() + _pack(symbols, high - low + 1)


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
    low, high = preimage_bounds(marked, mark, alpha)
    if (low > high).any():
        raise AlteredImageError(
            "the marked pixels cannot come from this mark", why="the image was altered, or the key is for another image"
        )
    if len(payload) < 2:
        raise CorruptPacketError("the recovery packet is too short")
    slopes = np.frombuffer(payload[:2], dtype=np.int8).astype(np.int64)
    symbols = _unpack(payload[2:], high - low + 1)
    values = low.copy()
    for step in _passes(marked.shape[:2]):
        means = _mean_of_neighbours(values, step)
        for channel in _channel_order(marked.shape[2]):
            at = (*step.at, channel)
            guess = _predict(values, means, step, channel, slopes)
            values[at] = _unfold(symbols[at], guess, low[at], high[at])
    return values


def _channel_order(channels: int) -> tuple[int, ...]:
    """Green first: red and blue are predicted with its help."""
    return (0,) if channels == 1 else (1, 0, 2)


@lru_cache(maxsize=32)
def _passes(shape: tuple[int, ...]) -> tuple[_Pass, ...]:
    """Refinements that restore each pixel once: the corner, then at each scale diagonals and straight crosses."""
    steps = [_Pass(np.arange(1), np.arange(1), ())]
    half = (1 << (max(shape) - 1).bit_length()) >> 1
    while half:
        steps += _passes_at(shape, half)
        half >>= 1
    return tuple(step for step in steps if step.rows.size and step.columns.size)


def _passes_at(shape: tuple[int, ...], half: int) -> Iterator[_Pass]:
    height, width = shape
    for top, left in ((half, half), (0, half), (half, 0)):
        rows, columns = np.arange(top, height, 2 * half), np.arange(left, width, 2 * half)
        up, down = _reflected(rows - half, rows + half, height)
        west, east = _reflected(columns - half, columns + half, width)
        if top and left:
            yield _Pass(rows, columns, ((up, west), (up, east), (down, west), (down, east)))
            continue
        vertical = ((up, columns), (down, columns)) if height > half else ()
        horizontal = ((rows, west), (rows, east)) if width > half else ()
        yield _Pass(rows, columns, vertical + horizontal)


def _reflected(before: _Indices, after: _Indices, length: int) -> tuple[_Indices, _Indices]:
    """Neighbours outside the patch are replaced by the one on the other side."""
    return np.where(before < 0, after, before), np.where(after >= length, before, after)


def _mean_of_neighbours(values: Values, step: _Pass) -> Values:
    count = len(step.neighbours)
    if not count:
        return np.zeros_like(values[step.at])
    total = values[np.ix_(*step.neighbours[0])]
    for rows, columns in step.neighbours[1:]:
        total = total + values[np.ix_(rows, columns)]
    return np.asarray((2 * total + count) // (2 * count))


def _predict(values: Values, means: Values, step: _Pass, channel: int, slopes: npt.NDArray[np.int64]) -> Values:
    """The neighbours' mean; for red and blue plus a slope times green's own distance from its neighbours' mean."""
    guess = means[..., channel]
    if values.shape[2] == 1 or channel == 1:
        return guess
    green = values[(*step.at, 1)] - means[..., 1]
    return np.asarray(guess + (slopes[channel // 2] * green + SLOPE_UNIT // 2) // SLOPE_UNIT)


def _fit_slopes(original: Values) -> npt.NDArray[np.int64]:
    """Least-squares slopes of red and of blue on green, in 1/32."""
    if original.shape[2] == 1:
        return np.zeros(2, dtype=np.int64)
    detail = np.zeros_like(original)
    for step in _passes(original.shape[:2])[1:]:
        detail[step.at] = original[step.at] - _mean_of_neighbours(original, step)
    red, green, blue = np.moveaxis(detail.astype(np.float64), 2, 0)
    energy = max(float((green * green).sum()), 1.0)
    fitted = np.array([(red * green).sum(), (blue * green).sum()]) / energy * SLOPE_UNIT
    return np.clip(np.rint(fitted), -127, 127).astype(np.int64)


def _fold(values: Values, guess: Values, low: Values, high: Values) -> Values:
    """Number the values of [low, high] by their distance from the prediction: 0, +1, −1, +2 …"""
    guess = np.clip(guess, low, high)
    error = values - guess
    both_sides = np.minimum(guess - low, high - guess)
    distance = np.abs(error)
    return np.where(distance <= both_sides, 2 * distance - (error > 0), distance + both_sides)


def _unfold(symbols: Values, guess: Values, low: Values, high: Values) -> Values:
    """The inverse of `_fold`."""
    guess = np.clip(guess, low, high)
    below, above = guess - low, high - guess
    both_sides = np.minimum(below, above)
    near = np.where(symbols & 1, (symbols + 1) // 2, -(symbols // 2))
    far = np.where(above > below, 1, -1) * (symbols - both_sides)
    return guess + np.where(symbols <= 2 * both_sides, near, far)


def _streams(sizes: Values) -> npt.NDArray[np.int64]:
    """The stream of each symbol; 1 where the marked value already decides."""
    wide = np.where(sizes <= 256, _BYTE_STREAM, _WIDE_STREAM)
    return np.where(sizes <= 16, sizes, wide)


def _pack(symbols: Values, sizes: Values) -> bytes:
    streams = _streams(sizes)
    packed = []
    for stream in range(2, _WIDE_STREAM + 1):
        chosen = symbols[streams == stream]
        if chosen.size:
            codec, data = _compress(_to_bytes(chosen, stream))
            packed.append(bytes([codec]) + len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    return b"".join(packed)


def _unpack(data: bytes, sizes: Values) -> Values:
    streams = _streams(sizes)
    symbols = np.zeros_like(sizes)
    for stream in range(2, _WIDE_STREAM + 1):
        here = streams == stream
        count = int(np.count_nonzero(here))
        if not count:
            continue
        head, data = data[: 1 + _LENGTH_BYTES], data[1 + _LENGTH_BYTES :]
        length = int.from_bytes(head[1:], "big")
        if len(head) <= _LENGTH_BYTES or length > len(data):
            raise CorruptPacketError("the recovery packet is cut short")
        symbols[here] = _from_bytes(_decompress(head[0], data[:length], _byte_count(count, stream)), count, stream)
        data = data[length:]
    if data or (symbols >= sizes).any():
        raise CorruptPacketError("the recovery packet does not fit the image")
    return symbols


def _byte_count(count: int, stream: int) -> int:
    if stream >= _BYTE_STREAM:
        return count * (stream - _BYTE_STREAM + 1)
    return -(-count // _PER_BYTE[stream])


def _to_bytes(symbols: Values, stream: int) -> bytes:
    if stream == _WIDE_STREAM:
        return (symbols >> 8).astype(np.uint8).tobytes() + (symbols & 255).astype(np.uint8).tobytes()
    if stream == _BYTE_STREAM:
        return symbols.astype(np.uint8).tobytes()
    per_byte = _PER_BYTE[stream]
    digits = np.zeros((_byte_count(symbols.size, stream), per_byte), dtype=np.int64)
    digits.flat[: symbols.size] = symbols
    return (digits @ stream ** np.arange(per_byte)).astype(np.uint8).tobytes()


def _from_bytes(data: bytes, count: int, stream: int) -> Values:
    raw = np.frombuffer(data, dtype=np.uint8).astype(np.int64)
    if stream == _WIDE_STREAM:
        return (raw[:count] << 8) + raw[count:]
    if stream == _BYTE_STREAM:
        return raw
    digits = raw[:, None] // stream ** np.arange(_PER_BYTE[stream]) % stream
    return digits.reshape(-1)[:count]


def _compress(raw: bytes) -> tuple[int, bytes]:
    """The shortest of: as it is, Huffman codes alone, LZMA."""
    huffman = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    candidates = {
        _STORED: raw,
        _HUFFMAN: huffman.compress(raw) + huffman.flush(),
        _LZMA: lzma.compress(raw, format=lzma.FORMAT_RAW, filters=_LZMA_FILTERS),
    }
    return min(candidates.items(), key=lambda item: len(item[1]))


def _decompress(codec: int, data: bytes, expected: int) -> bytes:
    """Inflate to exactly `expected` bytes; one byte more and it is refused before it is made."""
    try:
        if codec == _STORED:
            raw = data
        elif codec == _HUFFMAN:
            raw = zlib.decompressobj(-15).decompress(data, expected + 1)
        elif codec == _LZMA:
            raw = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA_FILTERS).decompress(data, expected + 1)
        else:
            raise CorruptPacketError("the recovery packet uses an unknown codec", fix="update MedLocker")
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise CorruptPacketError("the recovery packet cannot be decompressed") from error
    if len(raw) != expected:
        raise CorruptPacketError("the recovery packet does not have the size that the image asks for")
    return raw
