"""What a thief may do to marked copies before leaking them; for measurements and tests."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from medlocker.blending import Pixels


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Compress and decompress 8-bit pixels; chroma is subsampled, as encoders do by default."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return _decoded(buffer)


def webp(pixels: Pixels, quality: int) -> Pixels:
    """Compress and decompress 8-bit pixels as WebP."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality)
    return _decoded(buffer)


def resize(pixels: Pixels, factor: float) -> Pixels:
    """Scale 8-bit pixels by a factor, with Lanczos."""
    size = max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def crop(pixels: Pixels, share: float, rng: np.random.Generator, *, stretch: bool = False) -> Pixels:
    """Cut a share of width and height off, split between the sides at random.

    Args:
        pixels: 8-bit.
        share: 0–1.
        rng: where the cut falls.
        stretch: whether the rest is scaled back to the full size.
    """
    height, width = pixels.shape[:2]
    rows, columns = round(height * (1 - share)), round(width * (1 - share))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    window: Pixels = pixels[top : top + rows, left : left + columns].copy()
    if not stretch:
        return window
    return np.asarray(Image.fromarray(window).resize((width, height), Image.Resampling.BICUBIC))


def grey(pixels: Pixels) -> Pixels:
    """8-bit luma."""
    return np.asarray(Image.fromarray(pixels).convert("L"))


def average(copies: Sequence[Pixels]) -> Pixels:
    """The pixel-wise mean of several copies of one image, rounded."""
    mean = np.mean(np.stack([c.astype(np.float64) for c in copies]), axis=0)
    rounded: Pixels = np.rint(mean).astype(copies[0].dtype)
    return rounded


def mix_symbols(words: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Take each image from one of the copies at random.

    Args:
        words: (c, n) the conspirators' symbols.
        rng: chooses.

    Returns:
        (n,) the leak's symbols.
    """
    mixed: npt.NDArray[np.int64] = words[rng.integers(0, len(words), words.shape[1]), np.arange(words.shape[1])]
    return mixed


def vote_symbols(
    words: npt.NDArray[np.int64], rng: np.random.Generator, *, rarest: bool = False
) -> npt.NDArray[np.int64]:
    """At each image the symbol that most conspirators hold, or the fewest; ties at random.

    Args:
        words: (c, n).
        rng: breaks ties.
        rarest: whether the minority wins.

    Returns:
        (n,).
    """
    counts = (words[:, :, None] == words.T[None]).sum(0).astype(np.float64) + rng.random(
        (words.shape[1], len(words))
    ) / 2
    chosen = counts.argmin(1) if rarest else counts.argmax(1)
    voted: npt.NDArray[np.int64] = words[chosen, np.arange(words.shape[1])]
    return voted


def _decoded(buffer: io.BytesIO) -> Pixels:
    with Image.open(buffer) as image:
        return np.asarray(image)
