"""Read raster files to the exact values they store."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from medlocker.blending import Pixels
from medlocker.errors import EmptyImageError, ImageReadError, MissingImageError, UnsupportedImageError
from medlocker.imageio import png, tiff
from medlocker.imageio.metadata import Metadata, pillow_metadata

MAX_PIXELS = 178_000_000
"""Largest image that is decoded, in px; a small file can claim any size. It is what Pillow decodes at most unless its
global limit is changed for the whole process; fundus cameras stay below 60 million."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"})
"""Suffixes of files taken for images, in lower case; what is inside decides how they are decoded."""

_NARROW_MODES = {"1": "L", "L": "L", "RGB": "RGB", "RGBA": "RGBA", "LA": "RGBA", "PA": "RGBA"}
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError, OverflowError, MemoryError,
    struct.error, zlib.error, cv2.error,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class StoredImage:
    """An image as its file stores it.

    Attributes:
        pixels: (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or uint16; the orientation tag is not applied.
        metadata: what a marked copy takes over.
    """

    pixels: Pixels
    metadata: Metadata = field(default_factory=Metadata)


def read_image(path: Path) -> StoredImage:
    """Read an image file.

    Args:
        path: a PNG, TIFF, JPEG, BMP, WebP or PNM file.

    Returns:
        Its stored pixels and metadata.

    Raises:
        MissingImageError: no such file.
        EmptyImageError: the file has no bytes.
        UnsupportedImageError: an intact image of a kind that cannot be stored losslessly (see `decode_image`).
        ImageReadError: the file cannot be read, is truncated or damaged.
    """
    try:
        encoded = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingImageError(f"{path}: no such file") from error
    except OSError as error:
        raise ImageReadError(f"{path}: cannot be read", why=error.strerror) from error
    return decode_image(encoded, str(path))


def decode_image(encoded: bytes, name: str) -> StoredImage:
    """Decode an image file held in memory.

    Palettes become RGB or RGBA, 1-bit becomes 8-bit grey, grey with alpha becomes RGBA; nothing else is converted.

    Args:
        encoded: the file.
        name: file name for messages.

    Returns:
        Its stored pixels and metadata.

    Raises:
        EmptyImageError: no bytes.
        UnsupportedImageError: CMYK, float, 32-bit, premultiplied alpha, more than one frame, more than `MAX_PIXELS`, or
            a format that is not read.
        ImageReadError: truncated or damaged.
    """
    if not encoded:
        raise EmptyImageError(f"{name}: the file is empty", fix="copy it again")
    decode = _decoder(encoded, name)
    with _named_errors(name):
        return decode(encoded, name)


def _decoder(encoded: bytes, name: str) -> Callable[[bytes, str], StoredImage]:
    if encoded.startswith(png.SIGNATURE):
        return _decode_png
    if encoded[:4] in (b"II*\0", b"MM\0*"):
        return _decode_tiff
    plain = _plain_opener(encoded)
    if plain is None:
        raise UnsupportedImageError(
            f"{name}: not an image this program reads", fix="use PNG, TIFF, JPEG, BMP, WebP or PNM"
        )
    return lambda data, label: _decode_plain(plain(io.BytesIO(data)), label)


def _plain_opener(encoded: bytes) -> Callable[[io.BytesIO], ImageFile.ImageFile] | None:
    if encoded.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.jpeg_factory
    if encoded.startswith(b"BM"):
        return BmpImagePlugin.BmpImageFile
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    return PpmImagePlugin.PpmImageFile if encoded[:2] in (b"P4", b"P5", b"P6") else None


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    try:
        yield
    except Image.DecompressionBombError as error:
        raise UnsupportedImageError(f"{name}: too many pixels", why=str(error)) from error
    except _DECODER_ERRORS as error:
        reason = str(error) or type(error).__name__
        kind = "truncated" if "truncated" in reason.lower() else "truncated or damaged"
        raise ImageReadError(f"{name}: the file is {kind}", why=reason, fix="copy it again") from error


def check_pixel_count(width: int, height: int, name: str) -> None:
    """Refuse an image before its pixels are decoded.

    Raises:
        UnsupportedImageError: more than `MAX_PIXELS`, or none.
    """
    if not 0 < width * height <= MAX_PIXELS:
        raise UnsupportedImageError(
            f"{name}: {width} x {height} px", why=f"images of 1 to {MAX_PIXELS // 10**6} million px are read"
        )


def _decode_plain(image: ImageFile.ImageFile, name: str) -> StoredImage:
    check_pixel_count(*image.size, name)
    if getattr(image, "n_frames", 1) > 1:
        raise UnsupportedImageError(f"{name}: more than one frame", fix="give one file per frame")
    if isinstance(image, PpmImagePlugin.PpmImageFile) and image.tile[0][0] != "raw":
        raise UnsupportedImageError(f"{name}: a PNM file of other than 8 bits", fix="convert it to PNG")
    metadata = pillow_metadata(image, name)
    return StoredImage(_narrow_pixels(image, name), metadata)


def _narrow_pixels(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    """The pixels of an 8-bit (or narrower) image."""
    mode = _NARROW_MODES.get(image.mode)
    if image.mode == "P":
        image.load()
        mode = "RGBA" if "transparency" in image.info else "RGB"
    if mode is None:
        raise UnsupportedImageError(
            f"{name}: pixels of kind {image.mode}", why="only grey, RGB and RGBA can be marked", fix="convert to RGB"
        )
    return np.array(image if image.mode == mode else image.convert(mode), dtype=np.uint8)


def _wide_pixels(encoded: bytes, name: str) -> npt.NDArray[np.uint16]:
    """The pixels of a 16-bit image; Pillow would narrow colour to 8 bits."""
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise ImageReadError(f"{name}: the file is truncated or damaged", fix="copy it again")
    if decoded.dtype != np.uint16 or decoded.shape[2:] not in ((), (3,), (4,)):
        raise UnsupportedImageError(f"{name}: 16-bit pixels that are not grey, RGB or RGBA")
    stored: npt.NDArray[np.uint16] = np.asarray(decoded, dtype=np.uint16)
    return stored if stored.ndim == 2 else np.asarray(swap_red_blue(stored), dtype=np.uint16)


def swap_red_blue(pixels: Pixels) -> Pixels:
    """RGB(A) from OpenCV's BGR(A), and back."""
    code = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    swapped: Pixels = cv2.cvtColor(pixels, code)
    return swapped


def _decode_png(encoded: bytes, name: str) -> StoredImage:
    chunks = png.read_chunks(encoded, name)
    header = png.read_header(chunks, name)
    check_pixel_count(header.width, header.height, name)
    metadata, stream = png.read_metadata(chunks, name), png.pixel_stream(chunks, header)
    if header.depth == 16:
        pixels: Pixels = _wide_pixels(stream, name)
    else:
        pixels = _narrow_pixels(PngImagePlugin.PngImageFile(io.BytesIO(stream)), name)
    key = png.colour_key(chunks, header)
    if key is not None:
        pixels = _with_key_alpha(pixels, key, header.depth)
    return StoredImage(pixels, metadata)


def _with_key_alpha(pixels: Pixels, key: tuple[int, ...], depth: int) -> Pixels:
    peak = np.iinfo(pixels.dtype).max
    scale = peak // (2**depth - 1)
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    transparent = (rgb == np.array(key, dtype=np.int64) * scale).all(axis=2)
    return np.dstack([rgb, np.where(transparent, 0, peak).astype(pixels.dtype)])


def _decode_tiff(encoded: bytes, name: str) -> StoredImage:
    image = TiffImagePlugin.TiffImageFile(io.BytesIO(encoded))
    check_pixel_count(*image.size, name)
    if image.n_frames > 1:
        raise UnsupportedImageError(f"{name}: {image.n_frames} pages", fix="give one file per page")
    bits, metadata = tiff.check_tags(image, encoded, name), tiff.read_metadata(image, name)
    data = tiff.upright(encoded)
    if bits == 16:
        return StoredImage(_wide_pixels(data, name), metadata)
    return StoredImage(_narrow_pixels(TiffImagePlugin.TiffImageFile(io.BytesIO(data)), name), metadata)
