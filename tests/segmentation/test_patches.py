"""Patches lie around lesions, and images and masks move together."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lesion_data import KINDS, SMALL_INPUT, lesion_dataset

from medlocker.errors import DatasetError
from medlocker_zoo.registry import Augmentation
from medlocker_zoo.segmentation.description import SegmentationInput, SegmentationRecipe
from medlocker_zoo.segmentation.loss import LesionLoss
from medlocker_zoo.segmentation.patches import (
    augment_pair,
    cache_lesions,
    check_lesions,
    draw_batch,
    lesion_centres,
    working_masks,
)

STILL = Augmentation(
    flip_horizontal=False, flip_vertical=False, rotation=0, zoom=0, shift=0, brightness=0, contrast=0, colour=0
)


def test_every_lesion_is_found_once() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[2:5, 3:6] = mask[10:12, 20:24] = True
    mask[5, 6] = True  # touches the first diagonally
    first, second = sorted(map(tuple, lesion_centres(mask).tolist()))
    assert first == (3, 4)
    assert second in {(10, 21), (10, 22), (11, 21), (11, 22)}


def test_patches_show_lesions_when_they_should(tmp_path: Path) -> None:
    cache = cache_lesions(lesion_dataset(tmp_path, 6), KINDS, SMALL_INPUT)
    rng = np.random.default_rng(0)
    recipe = SegmentationRecipe(patch=32, batch_size=64, lesion_share=1.0)
    images, masks = draw_batch(cache, recipe, rng)
    assert images.shape == (64, 3, 32, 32)
    assert masks.shape == (64, 2, 32, 32)
    assert masks.amax(dim=(1, 2, 3)).min() == 1
    anywhere = draw_batch(cache, recipe.model_copy(update={"lesion_share": 0.0}), rng)[1]
    assert anywhere.amax(dim=(1, 2, 3)).min() == 0


def test_a_patch_larger_than_its_image_is_filled_with_black(tmp_path: Path) -> None:
    cache = cache_lesions(lesion_dataset(tmp_path, 2), KINDS, SMALL_INPUT)
    images, _ = draw_batch(cache, SegmentationRecipe(patch=96, batch_size=2), np.random.default_rng(0))
    assert images.shape[-2:] == (96, 96)
    assert images[..., 64:, :].max() == 0


def test_masks_move_with_their_images() -> None:
    images = torch.zeros(8, 3, 32, 32)
    images[:, :, 4:14, 6:12] = 1
    masks = images[:, :1].clone()
    generator = torch.Generator().manual_seed(0)
    moved, followed = augment_pair(
        images, masks, STILL.model_copy(update={"rotation": 180, "zoom": 0.2, "flip_vertical": True}), generator
    )
    assert not torch.equal(moved, images)
    assert torch.equal((moved[:, :1] >= 0.5).float(), followed)


def test_nothing_asked_nothing_changed() -> None:
    images, masks = torch.rand(2, 3, 16, 16), (torch.rand(2, 2, 16, 16) > 0.5).float()
    moved, followed = augment_pair(images, masks, STILL, torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved, images, atol=1e-5, rtol=0)
    assert torch.equal(followed, masks)


def test_masks_keep_their_area_at_working_resolution() -> None:
    mask = np.zeros((1, 100, 200), dtype=bool)
    mask[0, 20:60, 40:120] = True
    smaller = working_masks(mask, 50)
    assert smaller.shape == (1, 50, 100)
    assert smaller.sum() * 4 == mask.sum()


def test_lesion_types_without_a_mask_are_refused(tmp_path: Path) -> None:
    data = lesion_dataset(tmp_path, 2)
    check_lesions(data, KINDS)
    with pytest.raises(DatasetError, match="no mask of SE"):
        check_lesions(data, ("HE", "SE"))


def test_the_loss_prefers_the_truth() -> None:
    loss = LesionLoss(SegmentationRecipe())
    masks = torch.zeros(2, 2, 16, 16)
    masks[:, 0, 4:8, 4:8] = 1
    right, wrong = (masks * 2 - 1) * 6, (1 - masks * 2) * 6
    blank = torch.full_like(masks, -6.0)
    assert loss(right, masks) < loss(blank, masks) < loss(wrong, masks)


def test_masks_at_another_resolution_follow_the_image(tmp_path: Path) -> None:
    cache = cache_lesions(lesion_dataset(tmp_path, 1), KINDS, SegmentationInput(working_side=128, tile=32, overlap=8))
    assert cache.images[0].shape == (3, 128, 128)
    red = (cache.images[0][0] > 170) & (cache.images[0][1] < 80)
    assert (red == cache.masks[0][0]).mean() > 0.99
