"""Random changes of training images, a whole batch at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from medlocker_zoo.registry import Augmentation


def _between(bound: float, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound


def _sign(active: bool, count: int, generator: torch.Generator) -> torch.Tensor:
    # Drawn even when inactive, so that switching one change off leaves the draws of the others alone.
    flips = torch.randint(0, 2, (count,), generator=generator) * 2 - 1
    return flips if active else torch.ones(count)


def draw_affine(settings: Augmentation, count: int, generator: torch.Generator) -> torch.Tensor:
    """Random flips, rotations, scales and shifts.

    Args:
        settings: bounds.
        count: number of images B.
        generator: on the CPU.

    Returns:
        (B, 2, 3) float32, from output to input coordinates in −1 … 1, as `affine_grid` takes them.
    """
    angle = _between(math.radians(settings.rotation), (count,), generator)
    scale = 1 + _between(settings.zoom, (count,), generator)
    mirror = _sign(settings.flip_horizontal, count, generator), _sign(settings.flip_vertical, count, generator)
    shift = _between(2 * settings.shift, (count, 2), generator)
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    first = torch.stack([cosine * mirror[0], -sine * mirror[1], shift[:, 0]], dim=1)
    second = torch.stack([sine * mirror[0], cosine * mirror[1], shift[:, 1]], dim=1)
    return torch.stack([first, second], dim=1)


@dataclass(frozen=True, eq=False)
class Colour:
    """Drawn changes of colour for B images: (B, 3, 1, 1) gain of each channel, (B, 1, 1, 1) contrast."""

    gain: torch.Tensor
    contrast: torch.Tensor


def draw_colour(settings: Augmentation, count: int, generator: torch.Generator) -> Colour:
    """Random brightness, contrast and tint; `generator` is on the CPU."""
    gain = 1 + _between(settings.brightness, (count, 1, 1, 1), generator)
    colour = 1 + _between(settings.colour, (count, 3, 1, 1), generator)
    return Colour(gain * colour, 1 + _between(settings.contrast, (count, 1, 1, 1), generator))


def recolour(images: torch.Tensor, colour: Colour) -> torch.Tensor:
    """(B, 3, H, W) images in [0, 1] with drawn changes of colour."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    stretched = (images - mean) * colour.contrast.to(images.device) + mean
    return (stretched * colour.gain.to(images.device)).clamp(0, 1)


def augment(images: torch.Tensor, settings: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Change a batch.

    Args:
        images: (B, 3, S, S) float32 in [0, 1].
        settings: bounds of the changes.
        generator: on the CPU; the result does not depend on the images' device.

    Returns:
        Same shape, in [0, 1]; black where the geometry reaches beyond the image.
    """
    affine = draw_affine(settings, len(images), generator)
    colour = draw_colour(settings, len(images), generator)
    grid = F.affine_grid(affine.to(images.device), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return recolour(moved, colour)
