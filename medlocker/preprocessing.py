"""From stored pixels to network input, as a separable linear map.

An antialiased resize is linear along each axis, so it is one matrix per axis: input = A_y · image · A_xᵀ. Holding the
matrices makes the change a mark causes computable from the footprint alone (`medlocker.rendering`).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from medlocker.blending import Pixels
from medlocker.classifiers import Preprocessing


@lru_cache(maxsize=512)
def axis_matrix(stored: int, other: int, preprocessing: Preprocessing) -> torch.Tensor | None:
    """The resize along one axis.

    Args:
        stored: px, the image's length along this axis.
        other: px, its length along the other axis (decides the crop).
        preprocessing: input size, filter and fit.

    Returns:
        (S, stored) float32 on the CPU, rows summing to 1; None where the axis is not changed at all.
    """
    side = preprocessing.input_size
    if preprocessing.fit == "squash":
        resized = side
    else:
        shorter = round(side / preprocessing.crop_fraction)
        resized = max(side, round(stored * shorter / min(stored, other)))
    if resized == stored == side:
        return None
    identity = torch.eye(stored, dtype=torch.float64)[None, None]
    weights = F.interpolate(
        identity, size=(resized, stored), mode=preprocessing.interpolation, antialias=True, align_corners=False
    )[0, 0]
    start = (resized - side) // 2
    return weights[start : start + side].to(torch.float32).contiguous()


def axis_matrices(
    shape: tuple[int, ...], preprocessing: Preprocessing
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """(A_y, A_x) for an image of the given (H, W, …) shape; see `axis_matrix`."""
    height, width = shape[0], shape[1]
    return axis_matrix(height, width, preprocessing), axis_matrix(width, height, preprocessing)


def unit_channels(pixels: Pixels) -> torch.Tensor:
    """Stored pixels as (3, H, W) float32 in [0, 1]: grey is repeated, an alpha channel is left out."""
    colour = pixels[..., None].repeat(3, axis=2) if pixels.ndim == 2 else pixels[..., :3]
    values = torch.from_numpy(np.ascontiguousarray(colour.transpose(2, 0, 1)).astype(np.float32))
    return values / float(np.iinfo(pixels.dtype).max)


def resize_unit(values: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Resize (3, H, W) [0, 1] values to (3, S, S); not normalised."""
    down, across = axis_matrices(values.shape[1:], preprocessing)
    if down is not None:
        values = torch.matmul(down.to(values.device), values)
    if across is not None:
        values = torch.matmul(values, across.to(values.device).T)
    return values


def normalise(values: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """(v − mean) / std per channel on (…, 3, S, S) values."""
    mean = torch.tensor(preprocessing.mean, device=values.device)[:, None, None]
    std = torch.tensor(preprocessing.std, device=values.device)[:, None, None]
    return (values - mean) / std


def network_input(pixels: Pixels, preprocessing: Preprocessing) -> torch.Tensor:
    """One image as a network sees it.

    Args:
        pixels: (H, W), (H, W, 3) or (H, W, 4) stored pixels.
        preprocessing: the network's.

    Returns:
        (3, S, S) float32 on the CPU. The reference that every faster path is tested against.
    """
    return normalise(resize_unit(unit_channels(pixels), preprocessing), preprocessing)
