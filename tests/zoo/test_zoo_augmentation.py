import torch

from medlocker_zoo.augmentation import augment, draw_affine
from medlocker_zoo.registry import Augmentation

STILL = Augmentation(
    flip_horizontal=False, flip_vertical=False, rotation=0, zoom=0, shift=0, brightness=0, contrast=0, colour=0
)


def pictures(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_no_change_leaves_images_alone() -> None:
    assert torch.allclose(augment(pictures(), STILL, torch.Generator()), pictures(), atol=1e-5)


def test_flips_give_mirrored_pictures_and_nothing_else() -> None:
    settings = STILL.model_copy(update={"flip_horizontal": True})
    images = pictures(16)
    changed = augment(images, settings, torch.Generator().manual_seed(3))
    mirrored = images.flip(3)
    matches = [
        (torch.allclose(new, old, atol=1e-5), torch.allclose(new, other, atol=1e-5))
        for new, old, other in zip(changed, images, mirrored, strict=True)
    ]
    assert all(a != b for a, b in matches)
    assert len(set(matches)) == 2


def test_a_rotation_keeps_angles_and_lengths() -> None:
    affine = draw_affine(STILL.model_copy(update={"rotation": 180.0}), 8, torch.Generator().manual_seed(1))
    linear = affine[:, :, :2]
    assert torch.allclose(linear @ linear.transpose(1, 2), torch.eye(2).expand(8, 2, 2), atol=1e-5)
    assert linear[:, 0, 0].std() > 0.3


def test_the_same_generator_gives_the_same_batch() -> None:
    first, second = (augment(pictures(), Augmentation(), torch.Generator().manual_seed(9)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, augment(pictures(), Augmentation(), torch.Generator().manual_seed(10)))


def test_values_stay_in_range() -> None:
    changed = augment(pictures(64), Augmentation(brightness=0.9, contrast=0.9, colour=0.9), torch.Generator())
    assert changed.min() >= 0
    assert changed.max() <= 1
