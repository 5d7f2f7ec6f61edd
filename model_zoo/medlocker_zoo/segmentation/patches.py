"""Images and lesion masks ready for training, and the patches drawn from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from medlocker.datasets import Dataset, Record, read_mask
from medlocker.errors import DatasetError
from medlocker.imageio import read_image
from medlocker_zoo.augmentation import draw_affine, draw_colour, recolour
from medlocker_zoo.registry import Augmentation
from medlocker_zoo.segmentation.description import SegmentationInput, SegmentationRecipe
from medlocker_zoo.segmentation.tiling import working_image, working_size

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LesionCache:
    """A data set decoded once, at working resolution.

    Attributes:
        images: one (3, H, W) uint8 an image.
        masks: one (K, H, W) bool an image.
        centres: type → image → (n, 2) rows and columns, one a connected lesion; images without that type left out.
    """

    images: tuple[npt.NDArray[np.uint8], ...]
    masks: tuple[Bools, ...]
    centres: tuple[dict[int, npt.NDArray[np.int64]], ...]


def check_lesions(dataset: Dataset, lesions: Sequence[str]) -> None:
    """Make sure that a data set has masks of every lesion type.

    Raises:
        DatasetError: no image has a mask of one of the types.
    """
    known = {kind for record in dataset.records for kind in record.lesion_masks}
    missing = [lesion for lesion in lesions if lesion not in known]
    if missing:
        raise DatasetError(
            f"{dataset.root}: no mask of {', '.join(missing)}",
            why=f"masks were found for {', '.join(sorted(known)) or 'no type'}",
            fix="name the masks with --masks, or the types with --lesions",
        )


def record_masks(record: Record, lesions: Sequence[str], shape: tuple[int, ...]) -> Bools:
    """(K, H, W) bool in the image's frame; a type without a file is a type the image does not show."""
    masks = np.zeros((len(lesions), *shape[:2]), dtype=np.bool_)
    for index, lesion in enumerate(lesions):
        if lesion in record.lesion_masks:
            masks[index] = read_mask(record.lesion_masks[lesion], (shape[0], shape[1]))
    return masks


def working_masks(masks: Bools, working_side: int) -> Bools:
    """Masks at working resolution; a pixel is lesion where at least half of it is."""
    size = working_size(masks.shape[1:], working_side)
    if size == (masks.shape[2], masks.shape[1]):
        return masks
    shrinks = size[0] < masks.shape[2]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.stack([cv2.resize(mask.astype(np.float32), size, interpolation=method) >= 0.5 for mask in masks])


def cache_lesions(
    dataset: Dataset,
    lesions: Sequence[str],
    settings: SegmentationInput,
    progress: Callable[[int, int], None] | None = None,
) -> LesionCache:
    """Decode images and masks, and find every single lesion.

    Args:
        dataset: images with masks.
        lesions: types, in the order of the network's outputs.
        settings: working resolution.
        progress: called with images done and images in all.

    Raises:
        DatasetError: a mask does not fit its image.
    """
    images, masks = [], []
    for index, record in enumerate(dataset.records):
        pixels = read_image(record.path).pixels
        images.append((working_image(pixels, settings) * 255).round().astype(np.uint8))
        masks.append(working_masks(record_masks(record, lesions, pixels.shape), settings.working_side))
        if progress:
            progress(index + 1, len(dataset.records))
    centres = tuple(
        {index: lesion_centres(mask[kind]) for index, mask in enumerate(masks) if mask[kind].any()}
        for kind in range(len(lesions))
    )
    return LesionCache(tuple(images), tuple(masks), centres)


def lesion_centres(mask: Bools) -> npt.NDArray[np.int64]:
    """(n, 2) row and column of the centroid of every 8-connected region."""
    _, _, _, centroids = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    return np.asarray(centroids[1:, ::-1].round(), dtype=np.int64)


def draw_corner(cache: LesionCache, recipe: SegmentationRecipe, rng: np.random.Generator) -> tuple[int, int, int]:
    """Where one patch lies.

    Args:
        cache: images and lesions.
        recipe: `patch` and `lesion_share`.
        rng: of the draw.

    Returns:
        Image, top row and left column; the patch may reach beyond a small image's right and lower edge.
    """
    kinds = [kind for kind, images in enumerate(cache.centres) if images]
    if kinds and rng.random() < recipe.lesion_share:
        images = cache.centres[rng.choice(kinds)]
        image = int(rng.choice(list(images)))
        centre = images[image][rng.integers(len(images[image]))]
        wanted = centre - rng.integers(0, recipe.patch, 2)
    else:
        image = int(rng.integers(len(cache.images)))
        wanted = rng.integers(0, cache.images[image].shape[1:])
    top, left = (
        int(np.clip(value, 0, max(0, side - recipe.patch)))
        for value, side in zip(wanted, cache.images[image].shape[1:], strict=True)
    )
    return image, top, left


def draw_batch(
    cache: LesionCache, recipe: SegmentationRecipe, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 3, P, P) float32 in [0, 1] and (B, K, P, P) float32, 1 on the lesion; not yet augmented."""
    images, masks = [], []
    for _ in range(recipe.batch_size):
        image, top, left = draw_corner(cache, recipe, rng)
        images.append(_patch(cache.images[image], top, left, recipe.patch))
        masks.append(_patch(cache.masks[image], top, left, recipe.patch))
    return torch.from_numpy(np.stack(images)).float() / 255, torch.from_numpy(np.stack(masks)).float()


def _patch(values: npt.NDArray[np.generic], top: int, left: int, side: int) -> npt.NDArray[np.generic]:
    part = values[:, top : top + side, left : left + side]
    missing = side - part.shape[1], side - part.shape[2]
    return np.pad(part, ((0, 0), (0, missing[0]), (0, missing[1])))


def augment_pair(
    images: torch.Tensor, masks: torch.Tensor, settings: Augmentation, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move images and masks alike; change the colours of the images.

    Args:
        images: (B, 3, P, P) float32 in [0, 1].
        masks: (B, K, P, P) float32, 0 or 1.
        settings: bounds.
        generator: on the CPU.

    Returns:
        The same shapes; masks hold 0 and 1 again, and both are 0 where the geometry reaches beyond the patch.
    """
    affine = draw_affine(settings, len(images), generator).to(images.device)
    colour = draw_colour(settings, len(images), generator)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    moved = F.grid_sample(torch.cat([images, masks], 1), grid, "bilinear", "zeros", align_corners=False)
    return recolour(moved[:, :3], colour), (moved[:, 3:] >= 0.5).float()
