"""A whole image through a network that sees tiles of it: cut with overlap, blended back."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import cv2
import numpy as np
import numpy.typing as npt
import torch

from medlocker.blending import Pixels
from medlocker.preprocessing import unit_channels
from medlocker_zoo.segmentation.description import SegmentationInput

Floats = npt.NDArray[np.float32]
Run = Callable[[Floats], Floats]
"""(B, 3, T, T) normalised tiles to (B, K, T, T) probabilities."""


def tile_starts(length: int, tile: int, overlap: int) -> tuple[int, ...]:
    """Where tiles begin along one axis.

    Args:
        length: px, at least `tile`.
        tile: px.
        overlap: px by which neighbours overlap at least.

    Returns:
        The fewest starts, evenly spread from 0 to `length − tile`.
    """
    count = 1 + ceil((length - tile) / (tile - overlap)) if length > tile else 1
    return tuple(round(start) for start in np.linspace(0, length - tile, count))


def blend_window(tile: int, overlap: int) -> Floats:
    """(T, T) weights of one tile: 1 in the middle, falling linearly over `overlap` px towards its edges, never 0."""
    ramp = np.minimum(np.arange(tile) + 1, np.arange(tile, 0, -1)) / (overlap + 1)
    side = np.minimum(ramp, 1).astype(np.float32)
    return np.asarray(np.outer(side, side), dtype=np.float32)


def tiled(run: Run, values: Floats, tile: int, overlap: int, batch_size: int = 4) -> Floats:
    """Run a network over an image tile by tile.

    Args:
        run: the network.
        values: (3, H, W) normalised image; a side shorter than a tile is mirrored up to one.
        tile: px.
        overlap: px.
        batch_size: tiles of one call.

    Returns:
        (K, H, W) float32: at each pixel the mean of all tiles that hold it, weighted by `blend_window`.
    """
    height, width = values.shape[1:]
    missing = max(0, tile - height), max(0, tile - width)
    padded = np.pad(values, ((0, 0), (0, missing[0]), (0, missing[1])), mode="symmetric")
    starts = [
        (y, x) for y in tile_starts(padded.shape[1], tile, overlap) for x in tile_starts(padded.shape[2], tile, overlap)
    ]
    window = blend_window(tile, overlap)
    total: Floats | None = None
    weight = np.zeros(padded.shape[1:], dtype=np.float32)
    for first in range(0, len(starts), batch_size):
        chosen = starts[first : first + batch_size]
        found = run(np.stack([padded[:, y : y + tile, x : x + tile] for y, x in chosen]))
        if total is None:
            total = np.zeros((found.shape[1], *padded.shape[1:]), dtype=np.float32)
        for (y, x), part in zip(chosen, found, strict=True):
            total[:, y : y + tile, x : x + tile] += part * window
            weight[y : y + tile, x : x + tile] += window
    assert total is not None  # an image has at least one tile
    return (total / weight)[:, :height, :width]


def working_size(shape: tuple[int, ...], working_side: int) -> tuple[int, int]:
    """(W, H) px of an image scaled so that its shorter side is `working_side`."""
    scale = working_side / min(shape[:2])
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def resized(values: Floats, size: tuple[int, int]) -> Floats:
    """(C, H, W) values at another (W, H): area averages where it shrinks, linear where it grows."""
    if size == (values.shape[2], values.shape[1]):
        return values
    method = cv2.INTER_AREA if size[0] < values.shape[2] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(channel, size, interpolation=method) for channel in values]).astype(np.float32)


def working_image(pixels: Pixels, settings: SegmentationInput) -> Floats:
    """Stored pixels as (3, H, W) float32 in [0, 1] at working resolution."""
    values = unit_channels(pixels).numpy()
    return resized(values, working_size(pixels.shape, settings.working_side))


def normalised(values: Floats, settings: SegmentationInput) -> Floats:
    """(v − mean) / std per channel on (…, 3, H, W) values."""
    mean, std = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (settings.mean, settings.std))
    return np.asarray((values - mean) / std, dtype=np.float32)


def image_probabilities(run: Run, pixels: Pixels, settings: SegmentationInput) -> Floats:
    """Lesion probabilities of a whole stored image, in its own frame.

    Args:
        run: the network.
        pixels: (H, W), (H, W, 3) or (H, W, 4).
        settings: resolution, tiles and normalisation.

    Returns:
        (K, H, W) float32 in 0–1.
    """
    image = normalised(working_image(pixels, settings), settings)
    found = tiled(run, image, settings.tile, settings.overlap)
    return np.clip(resized(found, (pixels.shape[1], pixels.shape[0])), 0, 1)


def torch_run(network: torch.nn.Module, device: torch.device) -> Run:
    """A PyTorch network that gives logits, as `Run`."""

    @torch.inference_mode()
    def run(tiles: Floats) -> Floats:
        inputs = torch.from_numpy(tiles).to(device).contiguous(memory_format=torch.channels_last)
        return np.asarray(torch.sigmoid(network(inputs).float()).cpu().numpy())

    return run
