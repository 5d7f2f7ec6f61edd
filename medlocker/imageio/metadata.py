"""What an image file says besides its pixels, in a form that fits every format MedLocker writes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

from medlocker.errors import UnsupportedImageError

MAX_METADATA_BYTES = 16 * 2**20
"""Upper bound of one image's metadata after decompression; a few compressed bytes can claim any size."""

XMP_THUMBNAIL = b"xmpGImg"
METRES_PER_INCH = 0.0254

_EXIF_PREFIX = b"Exif\x00\x00"
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_THUMBNAIL_TAGS = {0x0111: 0x0117, 0x0201: 0x0202}  # where the data starts: how long it is
_INTEGER_FORMATS = {3: "H", 4: "I"}


class Density(NamedTuple):
    """Pixel density as PNG stores it.

    Attributes:
        x: pixels per unit, horizontally.
        y: pixels per unit, vertically.
        unit: 1 for metres, 0 where only the aspect ratio is known.
    """

    x: int
    y: int
    unit: int


@dataclass(frozen=True)
class Metadata:
    """What a marked copy takes over from its original.

    Embedded thumbnails are left out on purpose: they would show the unmarked photograph.

    Attributes:
        icc: ICC profile.
        exif: EXIF block, starting at its TIFF header; the orientation tag is kept and never applied.
        xmp: XMP packet.
        text: (keyword, text) pairs in file order.
        density: pixel density.
        colour: PNG colour chunks (gAMA, cHRM, sRGB, cICP) as (name, payload).
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    text: tuple[tuple[str, str], ...] = ()
    density: Density | None = None
    colour: tuple[tuple[str, bytes], ...] = ()


def pillow_metadata(image: Image.Image, name: str) -> Metadata:
    """Metadata of an image that Pillow opened (JPEG, BMP, WebP, PNM).

    Args:
        image: the opened image.
        name: file name for messages.

    Raises:
        UnsupportedImageError: the metadata are over `MAX_METADATA_BYTES`.
    """
    info = image.info
    comment = info.get("comment", b"")
    blocks = {key: info.get(key) or None for key in ("icc_profile", "exif", "xmp")}
    check_size(sum(len(block) for block in blocks.values() if block) + len(comment), name)
    return Metadata(
        icc=blocks["icc_profile"],
        exif=clean_exif(blocks["exif"]),
        xmp=clean_xmp(blocks["xmp"]),
        text=(("Comment", comment.decode("latin-1")),) if comment else (),
        density=_from_dpi(info.get("dpi")),
    )


def check_size(total: int, name: str) -> None:
    """Refuse metadata of more than `MAX_METADATA_BYTES`.

    Raises:
        UnsupportedImageError: there are more.
    """
    if total > MAX_METADATA_BYTES:
        limit = MAX_METADATA_BYTES // 2**20
        raise UnsupportedImageError(
            f"{name}: more than {limit} MiB of metadata", fix="remove the metadata from the file"
        )


def _from_dpi(dpi: tuple[float, float] | None) -> Density | None:
    if not dpi:
        return None
    x, y = (round(float(value) / METRES_PER_INCH) for value in dpi)
    return Density(x, y, 1) if 0 < x < 2**31 and 0 < y < 2**31 else None


def clean_xmp(xmp: bytes | None) -> bytes | None:
    """The XMP packet, or None where it embeds a thumbnail."""
    return None if not xmp or XMP_THUMBNAIL in xmp else xmp


def clean_exif(exif: bytes | None) -> bytes | None:
    """An EXIF block without prefix and thumbnail; None where it is absent or malformed.

    Every other byte keeps its place, so that offsets inside maker notes stay valid.

    Args:
        exif: block from a file, with or without the `Exif` prefix of JPEG.
    """
    block = (exif or b"").removeprefix(_EXIF_PREFIX)
    order = _BYTE_ORDERS.get(block[:2])
    if order is None:
        return None
    try:
        return _without_thumbnail(block, order)
    except struct.error:
        return None


def _without_thumbnail(block: bytes, order: str) -> bytes:
    (first,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, first)
    link = first + 2 + 12 * count
    (second,) = struct.unpack_from(order + "I", block, link)
    cleaned = bytearray(block)
    cleaned[link : link + 4] = bytes(4)
    if second:
        values = directory_values(block, order, second)
        for start_tag, length_tag in _THUMBNAIL_TAGS.items():
            for start, length in zip(values.get(start_tag, ()), values.get(length_tag, ()), strict=False):
                end = min(start + length, len(block))
                cleaned[start:end] = bytes(max(end - start, 0))
    return bytes(cleaned)


def directory_values(block: bytes, order: str, offset: int) -> dict[int, tuple[int, ...]]:
    """The 16-bit and 32-bit unsigned values of one TIFF directory.

    Args:
        block: bytes whose start the offsets count from.
        order: `<` or `>`.
        offset: where the directory starts.

    Returns:
        Tag → values.

    Raises:
        struct.error: the directory leaves the block.
    """
    values = {}
    (entries,) = struct.unpack_from(order + "H", block, offset)
    for index in range(entries):
        position = offset + 2 + 12 * index
        tag, kind, count = struct.unpack_from(order + "HHI", block, position)
        if kind in _INTEGER_FORMATS:
            code = f"{order}{count}{_INTEGER_FORMATS[kind]}"
            inline = struct.calcsize(code) <= 4
            start = position + 8 if inline else struct.unpack_from(order + "I", block, position + 8)[0]
            values[tag] = struct.unpack_from(code, block, start)
    return values
