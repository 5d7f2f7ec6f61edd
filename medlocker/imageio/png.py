"""PNG at the level of chunks: metadata and recovery packets go in and out without touching the pixels.

Source: W3C Portable Network Graphics (PNG) Specification, third edition.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from medlocker.errors import ImageReadError, SettingsError, UnsupportedImageError
from medlocker.imageio.metadata import MAX_METADATA_BYTES, Density, Metadata, check_size, clean_exif, clean_xmp

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PACKET_CHUNK = b"mlRP"
"""Private (second letter small), ancillary (first), and not to be copied by an editor that changes pixels (fourth)."""
MAX_PACKET_BYTES = 256 * 2**20

_COLOUR_CHUNKS = (b"gAMA", b"cHRM", b"sRGB", b"cICP")
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_XMP_KEYWORD = "XML:com.adobe.xmp"


class Chunk(NamedTuple):
    """One chunk: its four-letter name, its payload, and whether its checksum holds."""

    name: bytes
    data: bytes
    intact: bool


class Header(NamedTuple):
    """The fields of IHDR that decide how pixels are decoded.

    Attributes:
        width: px.
        height: px.
        depth: bits per sample.
        colour_type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA.
    """

    width: int
    height: int
    depth: int
    colour_type: int


def read_chunks(encoded: bytes, name: str) -> list[Chunk]:
    """Split a PNG file into its chunks, up to and including IEND.

    Args:
        encoded: the file.
        name: file name for messages.

    Raises:
        ImageReadError: not a PNG, or the file ends before IEND.
    """
    if not encoded.startswith(SIGNATURE):
        raise ImageReadError(f"{name}: not a PNG file")
    chunks, position = [], len(SIGNATURE)
    while position + 12 <= len(encoded):
        (length,) = struct.unpack_from(">I", encoded, position)
        end = position + 12 + length
        if end > len(encoded):
            break
        kind, data = encoded[position + 4 : position + 8], encoded[position + 8 : end - 4]
        (checksum,) = struct.unpack_from(">I", encoded, end - 4)
        chunks.append(Chunk(kind, data, checksum == zlib.crc32(data, zlib.crc32(kind))))
        if kind == b"IEND":
            return chunks
        position = end
    raise ImageReadError(f"{name}: the file is truncated", why="it ends before its last chunk", fix="copy it again")


def chunk(name: bytes, data: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))


def read_header(chunks: list[Chunk], name: str) -> Header:
    """Size and sample format; refuses what is damaged or animated.

    Args:
        chunks: from `read_chunks`.
        name: file name for messages.

    Raises:
        ImageReadError: a checksum is wrong or IHDR is missing.
        UnsupportedImageError: an animated PNG.
    """
    for part in chunks:
        if not part.intact and part.name != PACKET_CHUNK:
            kind = part.name.decode("latin-1")
            raise ImageReadError(f"{name}: the checksum of chunk {kind} is wrong", why="the file is damaged")
    if not chunks or chunks[0].name != b"IHDR" or len(chunks[0].data) != 13:
        raise ImageReadError(f"{name}: the PNG header is missing", why="the file is damaged")
    if any(part.name == b"acTL" for part in chunks):
        raise UnsupportedImageError(f"{name}: an animated image", fix="give one file per frame")
    return Header(*struct.unpack(">IIBB", chunks[0].data[:10]))


def pixel_stream(chunks: list[Chunk], header: Header) -> bytes:
    """The same picture with nothing but pixels in it; colour-key transparency is left out, palettes keep theirs."""
    wanted = [kind for kind in _PIXEL_CHUNKS if kind != b"tRNS" or header.colour_type == 3]
    return SIGNATURE + b"".join(chunk(part.name, part.data) for part in chunks if part.name in wanted)


def colour_key(chunks: list[Chunk], header: Header) -> tuple[int, ...] | None:
    """The stored sample values that stand for transparent, in grey and RGB images."""
    if header.colour_type not in (0, 2):
        return None
    for part in chunks:
        if part.name == b"tRNS":
            return struct.unpack(f">{len(part.data) // 2}H", part.data)
    return None


def read_metadata(chunks: list[Chunk], name: str) -> Metadata:
    """What can be carried over from a PNG file.

    Args:
        chunks: from `read_chunks`.
        name: file name for messages.

    Raises:
        ImageReadError: compressed metadata are damaged.
        UnsupportedImageError: the metadata are over the size limit once decompressed.
    """
    first: dict[bytes, bytes] = {}
    for part in chunks:
        first.setdefault(part.name, part.data)
    texts = list(_texts(chunks, name))
    icc = _inflate(first[b"iCCP"].partition(b"\0")[2][1:], name) if b"iCCP" in first else None
    exif = first.get(b"eXIf")
    check_size(len(icc or b"") + len(exif or b"") + sum(len(text) for _, text in texts), name)
    xmp = next((text.encode() for keyword, text in texts if keyword == _XMP_KEYWORD), None)
    return Metadata(
        icc=icc,
        exif=clean_exif(exif),
        xmp=clean_xmp(xmp),
        text=tuple((keyword, text) for keyword, text in texts if keyword != _XMP_KEYWORD),
        density=Density(*struct.unpack(">IIB", first[b"pHYs"])) if len(first.get(b"pHYs", b"")) == 9 else None,
        colour=tuple((kind.decode(), first[kind]) for kind in _COLOUR_CHUNKS if kind in first),
    )


def _texts(chunks: list[Chunk], name: str) -> Iterator[tuple[str, str]]:
    total = 0
    for part in chunks:
        if part.name not in (b"tEXt", b"zTXt", b"iTXt"):
            continue
        keyword, _, rest = part.data.partition(b"\0")
        text = _text(part.name, rest, name)
        total += len(text)
        check_size(total, name)
        if 1 <= len(keyword) <= 79:
            yield keyword.decode("latin-1"), text


def _text(kind: bytes, rest: bytes, name: str) -> str:
    if kind == b"tEXt":
        return rest.decode("latin-1")
    if kind == b"zTXt":
        return _inflate(rest[1:], name).decode("latin-1")
    compressed = rest[:1] == b"\x01"
    # iTXt: two flag bytes, then language tag and translated keyword, each ended by a zero byte.
    content = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return (_inflate(content, name) if compressed else content).decode("utf-8", errors="replace")


def _inflate(data: bytes, name: str) -> bytes:
    try:
        plain = zlib.decompressobj().decompress(data, MAX_METADATA_BYTES + 1)
    except zlib.error as error:
        raise ImageReadError(f"{name}: compressed metadata are damaged", why=str(error)) from error
    check_size(len(plain), name)
    return plain


def with_metadata(encoded: bytes, metadata: Metadata) -> bytes:
    """A PNG file with the given metadata and no other.

    Args:
        encoded: a PNG file from a trusted encoder.
        metadata: what to put between its header and its pixels.
    """
    chunks = [part for part in read_chunks(encoded, "PNG") if part.name in _PIXEL_CHUNKS]
    head, body = chunks[0], chunks[1:]
    extra = b"".join(chunk(name, data) for name, data in _metadata_chunks(metadata))
    return SIGNATURE + chunk(head.name, head.data) + extra + b"".join(chunk(part.name, part.data) for part in body)


def _metadata_chunks(metadata: Metadata) -> Iterable[tuple[bytes, bytes]]:
    yield from ((name.encode("ascii"), data) for name, data in metadata.colour)
    if metadata.icc is not None:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc, 9)
    if metadata.density is not None:
        yield b"pHYs", struct.pack(">IIB", *metadata.density)
    if metadata.exif is not None:
        yield b"eXIf", metadata.exif
    if metadata.xmp is not None:
        yield b"iTXt", _international_text(_XMP_KEYWORD, metadata.xmp)
    for keyword, text in metadata.text:
        try:
            yield b"tEXt", keyword.encode("latin-1") + b"\0" + text.encode("latin-1")
        except UnicodeEncodeError:
            yield b"iTXt", _international_text(keyword, text.encode())


def _international_text(keyword: str, text: bytes) -> bytes:
    return keyword.encode("latin-1") + b"\0\0\0\0\0" + text


def embed_packet(encoded: bytes, packet: bytes) -> bytes:
    """Put a recovery packet into a PNG file, before its end.

    Args:
        encoded: a PNG file without a packet.
        packet: at most `MAX_PACKET_BYTES`.

    Raises:
        ImageReadError: not a whole PNG file.
        SettingsError: the file has a packet already, or the packet is too large.
    """
    chunks = read_chunks(encoded, "PNG")
    if any(part.name == PACKET_CHUNK for part in chunks):
        raise SettingsError("the PNG file carries a recovery packet already", fix="encode the image anew")
    if len(packet) > MAX_PACKET_BYTES:
        raise SettingsError(f"a recovery packet of {len(packet)} bytes", why=f"the limit is {MAX_PACKET_BYTES} bytes")
    end = len(SIGNATURE) + sum(12 + len(part.data) for part in chunks[:-1])
    return encoded[:end] + chunk(PACKET_CHUNK, packet) + chunk(b"IEND", b"")


def extract_packet(encoded: bytes) -> bytes | None:
    """The recovery packet of a PNG file.

    Args:
        encoded: the file.

    Returns:
        The packet, or None where there is none.

    Raises:
        ImageReadError: not a whole PNG file; the packet has a wrong checksum, is not the only one, or is too large.
    """
    packets = [part for part in read_chunks(encoded, "PNG") if part.name == PACKET_CHUNK]
    if not packets:
        return None
    if len(packets) > 1:
        raise ImageReadError(f"the PNG file carries {len(packets)} recovery packets", why="a marked image has one")
    if not packets[0].intact:
        raise ImageReadError("the checksum of the recovery packet is wrong", why="the file is damaged")
    if len(packets[0].data) > MAX_PACKET_BYTES:
        raise ImageReadError("the recovery packet is too large", why=f"the limit is {MAX_PACKET_BYTES} bytes")
    return packets[0].data
