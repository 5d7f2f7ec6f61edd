"""Scale a logo, blend it into an image, and invert the blend (Eq. 1, 2 and 9) on stored integer pixels.

All arithmetic is exact integer arithmetic, so that every implementation of the blend (this one, and the batched one in
`medlocker.rendering`) yields the same stored values and a key restores them on any machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from medlocker.errors import LogoError, SettingsError

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""Stored pixels: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA; uint8 or uint16."""

AlphaRule = Literal["alpha_channel", "luma_cap"]
"""How the per-pixel opacity follows from the scalar gene α (READINGS 4)."""

MAX_LOGO_SIDE = 8192


class Placement(NamedTuple):
    """One mark's parameters, the individual [α, x, y] of the search.

    Attributes:
        alpha: opacity, 0–255.
        x: px, left edge of the footprint, 0 … W − M'.
        y: px, top edge of the footprint, 0 … H − N'.
    """

    alpha: int
    x: int
    y: int


@dataclass(frozen=True, eq=False)
class Logo:
    """A visible logo.

    Attributes:
        rgba: (N, M, 4) uint8; the fourth channel is the logo's own opacity.
    """

    rgba: npt.NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        """(M, N): width and height in px."""
        return self.rgba.shape[1], self.rgba.shape[0]

    @property
    def sha256(self) -> str:
        """Digest of size and pixels, hexadecimal."""
        header = f"logo/{self.rgba.shape[1]}x{self.rgba.shape[0]}/".encode()
        return hashlib.sha256(header + np.ascontiguousarray(self.rgba).tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Mark:
    """A logo made ready for one image geometry: scaled by Eq. 2 and expressed in the image's own value range.

    Attributes:
        colour: (N', M', C) int64, logo values in 0 … `peak`; C is 1 for grey images, else 3.
        cap: (N', M') uint8, the opacity no pixel may exceed: the logo's alpha channel or its luma.
        peak: 255 or 65535, the largest stored value.
    """

    colour: npt.NDArray[np.int64]
    cap: npt.NDArray[np.uint8]
    peak: int

    @property
    def size(self) -> tuple[int, int]:
        """(M', N'): width and height of the footprint in px."""
        return self.cap.shape[1], self.cap.shape[0]

    def opacity(self, alpha: int) -> npt.NDArray[np.int64]:
        """Per-pixel opacity α_p = min(α, cap), the paper's list L.

        Args:
            alpha: 0–255.

        Returns:
            (N', M') int64 in 0–255.

        Raises:
            SettingsError: α is outside 0–255.
        """
        if not 0 <= alpha <= 255:
            raise SettingsError(f"alpha is {alpha}", why="it must lie in 0 to 255")
        return np.minimum(self.cap, alpha).astype(np.int64)


def load_logo(path: Path | None = None) -> Logo:
    """Read a logo file, or the one that ships with the package.

    Args:
        path: a PNG (or any still raster file), with or without alpha; None for the default logo.

    Returns:
        The logo; opaque where the file has no alpha.

    Raises:
        LogoError: the file is missing, unreadable, too large or wholly transparent.
    """
    if path is None:
        with resources.as_file(resources.files("medlocker") / "assets" / "logo.png") as default:
            return load_logo(default)
    try:
        with Image.open(path) as image:
            if max(image.size) > MAX_LOGO_SIDE:
                raise LogoError(
                    f"{path}: the logo is {image.width} x {image.height} px", fix="use one of at most 8192 px"
                )
            rgba = np.asarray(image.convert("RGBA"), dtype=np.uint8)
    except FileNotFoundError as error:
        raise LogoError(f"{path}: no such file", fix="give --logo the path of a PNG file") from error
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise LogoError(f"{path}: cannot be read as an image", why=str(error), fix="give --logo a PNG file") from error
    if not rgba[..., 3].any():
        raise LogoError(f"{path}: every pixel of the logo is transparent", fix="use a logo with visible pixels")
    return Logo(rgba)


def scaled_size(image_size: tuple[int, int], logo_size: tuple[int, int], logo_scale: float) -> tuple[int, int]:
    """Size of the logo on an image.

    Source: Eq. 2, with READINGS 3: factor = min(W / (sl·M), H / (sl·N)), sizes floored, at least 1 px.

    Args:
        image_size: (W, H) px.
        logo_size: (M, N) px.
        logo_scale: the paper's sl, at least 1.

    Returns:
        (M', N') px.

    Raises:
        SettingsError: `logo_scale` is below 1.
    """
    if logo_scale < 1:
        raise SettingsError(f"logo_scale is {logo_scale:g}", why="below 1 the logo would not fit into the image")
    factor = min(image_size[0] / (logo_scale * logo_size[0]), image_size[1] / (logo_scale * logo_size[1]))
    # A width that is whole in exact arithmetic may come out as 55.999…; 1e-9 px repairs that and nothing else.
    return max(1, int(logo_size[0] * factor + 1e-9)), max(1, int(logo_size[1] * factor + 1e-9))


@lru_cache(maxsize=64)
def _scaled(logo: Logo, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    if size == logo.size:
        return logo.rgba
    return np.asarray(Image.fromarray(logo.rgba, "RGBA").resize(size, Image.Resampling.LANCZOS), dtype=np.uint8)


def prepare_mark(
    logo: Logo,
    image_shape: tuple[int, ...],
    dtype: np.dtype[np.generic] | type[np.generic],
    *,
    logo_scale: float = 4.0,
    rule: AlphaRule = "alpha_channel",
) -> Mark:
    """Scale a logo for one image geometry and express it in the image's value range.

    Source: Eq. 2; opacity rule READINGS 4. Scaling is Pillow's LANCZOS on premultiplied RGBA.

    Args:
        logo: the logo.
        image_shape: (H, W), (H, W, 3) or (H, W, 4) px.
        dtype: uint8 or uint16, the image's stored type; 16-bit logos are the 8-bit values times 257.
        logo_scale: the paper's sl.
        rule: `alpha_channel` caps α by the logo's own opacity, `luma_cap` by its luma (as the Adv-watermark code).

    Returns:
        The mark; blending it needs no further choice than α, x and y.

    Raises:
        SettingsError: dtype or `logo_scale` is not supported.
    """
    if np.dtype(dtype) not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise SettingsError(
            f"pixels of type {np.dtype(dtype)}", why="only 8-bit and 16-bit unsigned images can be marked"
        )
    peak = 255 if np.dtype(dtype) == np.uint8 else 65535
    scaled = _scaled(logo, scaled_size((image_shape[1], image_shape[0]), logo.size, logo_scale))
    rgb = scaled[..., :3].astype(np.int64)
    # ITU-R 601 luma in integers, as Pillow's "L" conversion.
    luma = (rgb @ np.array([19595, 38470, 7471]) + 0x8000) >> 16
    cap = scaled[..., 3] if rule == "alpha_channel" else luma.astype(np.uint8)
    colour = luma[..., None] if len(image_shape) == 2 else rgb
    return Mark(colour * (peak // 255), cap, peak)


def footprint(mark: Mark, placement: Placement, image_shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns a mark covers: the half-open box [y, y + N') × [x, x + M') (READINGS 1).

    Raises:
        SettingsError: the box does not lie inside the image.
    """
    width, height = mark.size
    _, x, y = placement
    if not (0 <= x <= image_shape[1] - width and 0 <= y <= image_shape[0] - height):
        raise SettingsError(
            f"a {width} x {height} px mark at ({x}, {y}) leaves the {image_shape[1]} x {image_shape[0]} px image"
        )
    return slice(y, y + height), slice(x, x + width)


def colour_channels(patch: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """The channels a mark changes, as (h, w, C) int64: grey gives C = 1, RGB and RGBA give C = 3."""
    return (patch[..., None] if patch.ndim == 2 else patch[..., :3]).astype(np.int64)


def blend_values(
    original: npt.NDArray[np.int64], colour: npt.NDArray[np.int64], opacity: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Eq. 1 on integers, rounded half up: ((255 − α)·I + α·L + 127) // 255; never outside the stored range."""
    return ((255 - opacity) * original + opacity * colour + 127) // 255


def lock(pixels: Pixels, mark: Mark, placement: Placement) -> Pixels:
    """Blend a mark into an image.

    Source: Eq. 1. An RGBA image keeps its own alpha channel.

    Args:
        pixels: the original image; not changed.
        mark: from `prepare_mark` with this image's shape and dtype.
        placement: α, x, y.

    Returns:
        The marked image, same shape and dtype; equal to `pixels` outside the footprint.

    Raises:
        SettingsError: the footprint leaves the image, or α is outside 0–255.
    """
    rows, columns = footprint(mark, placement, pixels.shape)
    blended = blend_values(
        colour_channels(pixels[rows, columns]), mark.colour, mark.opacity(placement.alpha)[..., None]
    )
    return _with_patch(pixels, rows, columns, blended)


def estimate_original(pixels: Pixels, mark: Mark, placement: Placement) -> Pixels:
    """Undo the blend as far as the formula goes; rounding in `lock` makes this an estimate.

    Source: Eq. 9, rounded and clipped to the stored range. Where α_p is 255 the formula is undefined (the original is
    gone from the marked pixel) and the mean of the image outside the footprint stands in.

    Args:
        pixels: the marked image; not changed.
        mark: the mark that was blended in.
        placement: α, x, y it was blended with.

    Returns:
        The estimate, same shape and dtype.
    """
    rows, columns = footprint(mark, placement, pixels.shape)
    marked, opacity = colour_channels(pixels[rows, columns]), mark.opacity(placement.alpha)[..., None]
    remaining = np.maximum(255 - opacity, 1)
    estimate = np.floor_divide(2 * (255 * marked - opacity * mark.colour) + remaining, 2 * remaining)
    estimate = np.clip(estimate, 0, mark.peak)
    outside = np.ones(pixels.shape[:2], dtype=bool)
    outside[rows, columns] = False
    fill = colour_channels(pixels)[outside].mean(axis=0).round() if outside.any() else mark.peak // 2
    return _with_patch(pixels, rows, columns, np.where(opacity == 255, fill, estimate).astype(np.int64))


def preimage_bounds(
    marked: npt.NDArray[np.int64], mark: Mark, alpha: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The smallest and largest original value that Eq. 1 maps to each marked value.

    Args:
        marked: (N', M', C) int64, marked values inside the footprint.
        mark: the mark that was blended in.
        alpha: 0–255.

    Returns:
        (low, high), each (N', M', C) int64 with 0 ≤ low ≤ high ≤ peak for values `lock` can produce;
        low > high marks a value that it cannot have produced.
    """
    opacity = mark.opacity(alpha)[..., None]
    remaining = 255 - opacity
    # v = floor(t / 255) with t = remaining·I + opacity·L + 127, so 255·v ≤ t ≤ 255·v + 254.
    offset = opacity * mark.colour + 127
    divisor = np.maximum(remaining, 1)
    low = -((offset - 255 * marked) // divisor)
    high = (255 * marked + 254 - offset) // divisor
    opaque_match = (remaining == 0) & (marked == mark.colour)
    low = np.where(remaining == 0, np.where(opaque_match, 0, 1), np.maximum(low, 0))
    high = np.where(remaining == 0, np.where(opaque_match, mark.peak, 0), np.minimum(high, mark.peak))
    return low, high


def with_colour_patch(pixels: Pixels, mark: Mark, placement: Placement, values: npt.NDArray[np.int64]) -> Pixels:
    """A copy of `pixels` whose colour channels inside the footprint are `values`, (N', M', C) int64."""
    rows, columns = footprint(mark, placement, pixels.shape)
    return _with_patch(pixels, rows, columns, values)


def _with_patch(pixels: Pixels, rows: slice, columns: slice, values: npt.NDArray[np.int64]) -> Pixels:
    result = pixels.copy()
    if pixels.ndim == 2:
        result[rows, columns] = values[..., 0].astype(pixels.dtype)
    else:
        result[rows, columns, :3] = values.astype(pixels.dtype)
    return result


def pixel_sha256(pixels: Pixels) -> str:
    """Digest of decoded pixels: type, shape and values, in row-major little-endian order.

    Args:
        pixels: (H, W) or (H, W, C), uint8 or uint16.

    Returns:
        64 hexadecimal digits; equal for equal pixels whatever file format held them.
    """
    little_endian = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    header = f"{pixels.dtype.name}/{'x'.join(map(str, pixels.shape))}/".encode()
    return hashlib.sha256(header + little_endian.tobytes()).hexdigest()
