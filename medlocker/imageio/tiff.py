"""TIFF: what the readers get wrong on their own, and one lossless writer for 8-bit and 16-bit pixels.

Pillow narrows 16-bit colour to 8 bits and applies the orientation tag; OpenCV drops all metadata. So Pillow reads the
directory, the orientation is hidden from both, and each decodes the pixels it can hold.
Source: TIFF 6.0; Adobe Photoshop TIFF Technical Notes (Deflate, compression 8).
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from medlocker.blending import Pixels
from medlocker.errors import ImageReadError, UnsupportedImageError
from medlocker.imageio.metadata import (
    METRES_PER_INCH,
    Density,
    Metadata,
    check_size,
    clean_exif,
    clean_xmp,
    directory_values,
)

ORIENTATION = 274
_COMPRESSION_LEVEL = 6
_STRIP_BYTES = 2**18
_XMP, _ICC, _EXIF_IFD, _GPS_IFD = 700, 34675, 34665, 34853
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_METRES_PER_UNIT = {2: METRES_PER_INCH, 3: 0.01}
# DocumentName, ImageDescription, Make, Model, Orientation, resolution, PageName, Software, DateTime, Artist, Copyright
_DESCRIPTIVE_TAGS = (269, 270, 271, 272, ORIENTATION, 282, 283, 285, 296, 305, 306, 315, 316, 33432)


def check_tags(image: TiffImagePlugin.TiffImageFile, encoded: bytes, name: str) -> int:
    """Refuse what cannot be decoded to the stored values, before decoding.

    Args:
        image: the opened, not yet decoded file.
        encoded: the same file.
        name: file name for messages.

    Returns:
        Bits per sample as decoded: 8 or 16.

    Raises:
        ImageReadError: pixel data lie outside the file.
        UnsupportedImageError: float or signed samples, other depths than 1 to 8 and 16, premultiplied alpha.
    """
    tags = image.tag_v2
    bits, formats = set(_tuple(tags.get(258, 1))), set(_tuple(tags.get(339, 1)))
    if formats != {1}:
        raise UnsupportedImageError(f"{name}: samples that are not unsigned integers", fix="convert to 8 or 16 bits")
    if bits != {16} and max(bits) > 8:
        raise UnsupportedImageError(f"{name}: {max(bits)} bits per sample", fix="convert to 8 or 16 bits")
    if bits == {16} and tags.get(262) not in (1, 2):
        raise UnsupportedImageError(f"{name}: 16-bit samples that are neither plain grey nor RGB")
    if 1 in _tuple(tags.get(338, 0)):
        raise UnsupportedImageError(f"{name}: premultiplied alpha", why="the colours cannot be recovered exactly")
    for starts, lengths in ((273, 279), (324, 325)):
        for start, length in zip(_tuple(tags.get(starts, ())), _tuple(tags.get(lengths, ())), strict=False):
            if start + length > len(encoded):
                raise ImageReadError(f"{name}: the file is truncated", why="pixel data lie beyond its end")
    return 16 if bits == {16} else 8


def _tuple(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def upright(encoded: bytes) -> bytes:
    """The same file with the orientation tag of its first directory set to 1, so that no reader turns the pixels."""
    order = "<" if encoded[:2] == b"II" else ">"
    (offset,) = struct.unpack_from(order + "I", encoded, 4)
    if ORIENTATION not in directory_values(encoded, order, offset):
        return encoded
    (count,) = struct.unpack_from(order + "H", encoded, offset)
    patched = bytearray(encoded)
    for position in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, kind, _ = struct.unpack_from(order + "HHI", encoded, position)
        if tag == ORIENTATION:
            struct.pack_into(order + ("H" if kind == 3 else "I"), patched, position + 8, 1)
    return bytes(patched)


def read_metadata(image: TiffImagePlugin.TiffImageFile, name: str) -> Metadata:
    """What can be carried over from a TIFF file; its descriptive tags become an EXIF block.

    Args:
        image: the opened file.
        name: file name for messages.

    Raises:
        UnsupportedImageError: the metadata are over the size limit.
    """
    tags, exif, source = image.tag_v2, Image.Exif(), image.getexif()
    for tag in _DESCRIPTIVE_TAGS:
        if tag in tags:
            exif[tag] = tags[tag]
    for tag in (_EXIF_IFD, _GPS_IFD):
        if tag in tags:
            exif[tag] = dict(source.get_ifd(tag))
    block = exif.tobytes() if len(exif) else b""
    icc, xmp = _bytes(tags.get(_ICC)), _bytes(tags.get(_XMP))
    check_size(len(block) + len(icc or b"") + len(xmp or b""), name)
    density = _density(tags.get(_X_RESOLUTION), tags.get(_Y_RESOLUTION), tags.get(_RESOLUTION_UNIT, 2))
    return Metadata(icc=icc, exif=clean_exif(block), xmp=clean_xmp(xmp), density=density)


def _bytes(value: bytes | tuple[bytes, ...] | None) -> bytes | None:
    # Pillow wraps the block in a tuple where the file's type differs from the one it expects for the tag.
    return b"".join(value) if isinstance(value, tuple) else value


def _density(x: float | None, y: float | None, unit: int) -> Density | None:
    metres = _METRES_PER_UNIT.get(unit)
    if not x or not y or metres is None:
        return None
    return Density(round(float(x) / metres), round(float(y) / metres), 1)


def encode(pixels: Pixels, metadata: Metadata) -> bytes:
    """A little-endian TIFF file: deflated strips, horizontal differencing, unassociated alpha.

    Args:
        pixels: (H, W), (H, W, 3) or (H, W, 4); uint8 or uint16.
        metadata: what to write beside the pixels.

    Returns:
        The file; the same bytes for the same input.
    """
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    rows = max(1, _STRIP_BYTES // (width * samples * pixels.itemsize))
    strips = _strips(pixels.reshape(height, width, samples), rows)
    directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\x00\x08\x00\x00\x00")
    _describe(directory, metadata)
    fields: dict[int, int | tuple[int, ...]] = {
        256: width, 257: height, 258: (8 * pixels.itemsize,) * samples, 259: 8, 262: 1 if samples == 1 else 2,
        277: samples, 278: rows, 284: 1, 317: 2, 339: (1,) * samples,
    }  # fmt: skip
    if samples == 4:
        fields[338] = 2
    for tag, value in fields.items():
        directory[tag] = value
    lengths = [len(strip) for strip in strips]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    for tag, values in ((273, starts.tolist()), (279, lengths)):
        directory.tagtype[tag] = 4
        directory[tag] = tuple(values)
    return b"II*\x00\x08\x00\x00\x00" + directory.tobytes(8) + b"".join(strips)


def _strips(pixels: npt.NDArray[np.generic], rows: int) -> list[bytes]:
    difference = pixels.astype(pixels.dtype.newbyteorder("<"))
    difference[:, 1:] -= pixels[:, :-1]
    starts = range(0, len(difference), rows)
    return [zlib.compress(difference[top : top + rows].tobytes(), _COMPRESSION_LEVEL) for top in starts]


def _describe(directory: TiffImagePlugin.ImageFileDirectory_v2, metadata: Metadata) -> None:
    if metadata.density is not None and metadata.density.unit == 1:
        directory[_X_RESOLUTION], directory[_Y_RESOLUTION] = (value / 100 for value in metadata.density[:2])
        directory[_RESOLUTION_UNIT] = 3
    if metadata.exif is not None:
        exif = Image.Exif()
        exif.load(metadata.exif)
        for tag in _DESCRIPTIVE_TAGS:
            if tag in exif:
                directory[tag] = exif[tag]
        for tag in (_EXIF_IFD, _GPS_IFD):
            if tag in exif:
                directory.tagtype[tag] = 4
                directory[tag] = dict(exif.get_ifd(tag))
    for tag, kind, block in ((_ICC, 7, metadata.icc), (_XMP, 1, metadata.xmp)):
        if block is not None:
            directory.tagtype[tag] = kind
            directory[tag] = block
