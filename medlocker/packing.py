"""Pack symbols of known, differing alphabets densely: several to a byte, then Huffman codes or LZMA."""

from __future__ import annotations

import lzma
import zlib

import numpy as np
import numpy.typing as npt

from medlocker.errors import CorruptPacketError

Symbols = npt.NDArray[np.int32]

_STORED, _HUFFMAN, _LZMA = 0, 1, 2
_LZMA_FILTERS = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 20, "lc": 0, "lp": 0, "pb": 0}]
_LENGTH_BYTES = 4
# Symbols share a stream by the size of their interval: each size up to 16 alone, then all that fit a byte, then all
# wider ones. `_PER_BYTE` says how many symbols of a small alphabet fit one byte.
_BYTE_STREAM, _WIDE_STREAM = 17, 18
_PER_BYTE = {size: max(k for k in range(1, 9) if size**k <= 256) for size in range(2, 17)}
_DIGITS = {
    size: (np.arange(256)[:, None] // size ** np.arange(count) % size).astype(np.int32)
    for size, count in _PER_BYTE.items()
}


def _streams(sizes: Symbols) -> npt.NDArray[np.uint8]:
    """The stream of each symbol; 1 where the marked value already decides."""
    capped = np.minimum(sizes, _BYTE_STREAM).astype(np.uint8)
    return capped + (sizes > 256)


def pack_symbols(symbols: Symbols, sizes: Symbols) -> bytes:
    """Pack symbols of known alphabets.

    Args:
        symbols: any shape, int32, each at least 0 and below its size.
        sizes: same shape, int32, 1 to 65536; a symbol whose alphabet has one member takes no space.

    Returns:
        One stream after another, each with its codec and length.
    """
    streams = _streams(sizes)
    packed = []
    for stream in range(2, _WIDE_STREAM + 1):
        chosen = symbols[streams == stream]
        if chosen.size:
            codec, data = _compress(_to_bytes(chosen, stream))
            packed.append(bytes([codec]) + len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    return b"".join(packed)


def unpack_symbols(data: bytes, sizes: Symbols) -> Symbols:
    """The inverse of `pack_symbols`.

    Args:
        data: the streams.
        sizes: as packed.

    Returns:
        The symbols, same shape as `sizes`.

    Raises:
        CorruptPacketError: the streams do not fit the sizes; nothing is inflated beyond what they ask for.
    """
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


def _to_bytes(symbols: Symbols, stream: int) -> bytes:
    if stream == _WIDE_STREAM:
        return (symbols >> 8).astype(np.uint8).tobytes() + (symbols & 255).astype(np.uint8).tobytes()
    if stream == _BYTE_STREAM:
        return symbols.astype(np.uint8).tobytes()
    per_byte = _PER_BYTE[stream]
    digits = np.zeros((_byte_count(symbols.size, stream), per_byte), dtype=np.int32)
    digits.flat[: symbols.size] = symbols
    return (digits @ stream ** np.arange(per_byte, dtype=np.int32)).astype(np.uint8).tobytes()


def _from_bytes(data: bytes, count: int, stream: int) -> Symbols:
    raw = np.frombuffer(data, dtype=np.uint8).astype(np.int32)
    if stream == _WIDE_STREAM:
        return (raw[:count] << 8) + raw[count:]
    if stream == _BYTE_STREAM:
        return raw
    return _DIGITS[stream][raw].reshape(-1)[:count]


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
