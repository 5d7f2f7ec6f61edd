"""Pictures of a mark: the original, the marked image and their difference."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from medlocker.errors import ImageReadError
from medlocker.reporting.data import Sample

RGB = npt.NDArray[np.uint8]

COMPARISON_SIDE = 512
"""px, longest side of one panel of a comparison picture."""
THUMBNAIL_SIDE = 240
"""px, longest side of a thumbnail in the report."""
_GAP = 8


def difference(original: RGB, marked: RGB) -> RGB:
    """What a mark changed: mid-grey where nothing, lighter where it brightened, darker where it darkened.

    Args:
        original: (H, W, 3) uint8.
        marked: (H, W, 3) uint8, same size.

    Returns:
        (H, W, 3) uint8, 128 + (marked − original) / 2: half contrast, so that no change is clipped.

    Raises:
        ImageReadError: the two differ in size.
    """
    if original.shape != marked.shape:
        raise ImageReadError(
            f"an image of shape {original.shape} and its marked copy of shape {marked.shape} differ in size"
        )
    change = marked.astype(np.int16) - original.astype(np.int16)
    return (128 + np.floor_divide(change, 2)).clip(0, 255).astype(np.uint8)


def panels(sample: Sample) -> tuple[RGB, RGB, RGB]:
    """Original, marked and difference of a sample at full size, each (H, W, 3) uint8."""
    return sample.original, sample.marked, difference(sample.original, sample.marked)


def shrunk(pixels: RGB, longest_side: int) -> RGB:
    """The picture with its longest side at most `longest_side` px; a smaller one stays as it is."""
    height, width = pixels.shape[:2]
    factor = longest_side / max(height, width)
    if factor >= 1:
        return pixels
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS), dtype=np.uint8)


def comparison_picture(sample: Sample) -> RGB:
    """Original | marked | difference side by side, each at most 512 px, divided by white bars.

    Args:
        sample: the image and its marked copy.

    Returns:
        (h, 3·w + 16, 3) uint8.

    Raises:
        ImageReadError: original and marked differ in size.
    """
    parts = [shrunk(panel, COMPARISON_SIDE) for panel in panels(sample)]
    bar = np.full((parts[0].shape[0], _GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([parts[0], bar, parts[1], bar, parts[2]], axis=1)


def data_uri(pixels: RGB) -> str:
    """A thumbnail as a JPEG data URI, for a page that needs no other file.

    Args:
        pixels: (H, W, 3) uint8.

    Returns:
        `data:image/jpeg;base64,…` of at most 240 px a side.
    """
    buffer = io.BytesIO()
    Image.fromarray(shrunk(pixels, THUMBNAIL_SIDE)).save(buffer, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
