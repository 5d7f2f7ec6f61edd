"""Lesion boxes: dilation, small-region removal, merging."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlocker.errors import SettingsError
from medlocker.regions import (
    NATIVE_SIZE,
    Box,
    RegionSettings,
    dilate,
    dilation_reach,
    lesion_boxes,
    merge_boxes,
    pairwise_iou,
    structure_boxes,
    union_box,
    union_mask,
)

EXACT = RegionSettings(kernel_size=1, iterations=1, min_area_fraction=0)
small_boxes = st.builds(Box, st.integers(0, 12), st.integers(0, 12), st.integers(1, 9), st.integers(1, 9))


def blank(width: int, height: int, *boxes: Box) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    for x, y, w, h in boxes:
        mask[y : y + h, x : x + w] = True
    return mask


@pytest.mark.parametrize(("kernel_size", "iterations"), [(10, 10), (10, 1), (9, 3), (2, 4), (1, 5), (3, 1)])
def test_one_dilation_equals_the_iterated_one(kernel_size: int, iterations: int) -> None:
    chosen = RegionSettings(kernel_size=kernel_size, iterations=iterations)
    mask = np.random.default_rng(0).random((300, 260)) < 2e-4
    mask[0, 0] = mask[-1, -1] = True
    kernel = np.ones((kernel_size, kernel_size), np.uint8)
    expected = cv2.dilate(mask.astype(np.uint8), kernel, iterations=iterations).astype(bool)
    assert not expected.all()
    np.testing.assert_array_equal(dilate(mask, dilation_reach(NATIVE_SIZE, chosen)), expected)


@pytest.mark.parametrize(
    ("image_size", "expected"),
    [
        (NATIVE_SIZE, (40, 50)),
        ((NATIVE_SIZE[1], NATIVE_SIZE[0]), (40, 50)),  # a rotated image: only the pixel count matters
        ((2144, 1424), (20, 25)),
        ((1542, 1024), (14, 18)),  # 40 · 0.35958 = 14.38, 50 · 0.35958 = 17.98
        ((8576, 5696), (80, 100)),
        ((10, 10), (1, 1)),
    ],
)
def test_dilation_scales_with_the_root_of_the_pixel_count(
    image_size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert dilation_reach(image_size, RegionSettings()) == expected


def test_a_kernel_of_one_pixel_dilates_nothing_at_any_size() -> None:
    assert dilation_reach((10, 10), RegionSettings(kernel_size=1)) == (0, 0)


def test_a_pixel_of_the_paper_profile_at_native_size() -> None:
    # One lesion pixel becomes 91 x 91 = 8281 px: under λ = 50000. A 200 x 200 lesion becomes 290 x 290 = 84100 px.
    mask = blank(*NATIVE_SIZE, Box(3000, 100, 1, 1), Box(1000, 1000, 200, 200))
    assert lesion_boxes([mask]) == (Box(960, 960, 290, 290),)


@pytest.mark.parametrize(("area", "kept"), [(49_999, False), (50_000, False), (50_001, True)])
def test_a_region_of_exactly_the_minimum_area_is_dropped(area: int, kept: bool) -> None:
    # 100 columns of 500 rows are the paper's λ; one more or one fewer pixel lies beside or inside them.
    mask = blank(*NATIVE_SIZE, Box(10, 10, 100, 500))
    mask[10, 110], mask[10, 10] = area > 50_000, area >= 50_000
    assert np.count_nonzero(mask) == area
    native = RegionSettings(kernel_size=1, iterations=1)
    assert bool(lesion_boxes([mask], native)) is kept


def test_the_area_is_compared_after_dilation() -> None:
    # 8 x 8 px grow by 4 + 5 px to 17 x 17 = 289 px, over the limit that 64 px alone would miss.
    chosen = RegionSettings(kernel_size=10, iterations=1, min_area_fraction=200 / (NATIVE_SIZE[0] * NATIVE_SIZE[1]))
    assert lesion_boxes([blank(*NATIVE_SIZE, Box(50, 60, 8, 8))], chosen) == (Box(46, 56, 17, 17),)


def test_lesions_of_different_masks_join_into_one_region() -> None:
    left, right = blank(40, 20, Box(2, 3, 4, 4)), blank(40, 20, Box(6, 7, 4, 4))
    assert lesion_boxes([left, right], EXACT) == (Box(2, 3, 8, 8),)  # they touch at a corner only
    assert lesion_boxes([left], EXACT) == (Box(2, 3, 4, 4),)


def test_a_healthy_eye_has_no_boxes() -> None:
    assert lesion_boxes([]) == ()
    assert lesion_boxes([blank(30, 20), blank(30, 20)]) == ()


def test_structures_keep_their_tight_box() -> None:
    assert structure_boxes([blank(400, 300, Box(7, 9, 3, 2), Box(50, 60, 20, 20))]) == (
        Box(7, 9, 3, 2),
        Box(50, 60, 20, 20),
    )


def test_union_box_holds_both_where_equation_seven_would_not() -> None:
    first, second = Box(0, 0, 10, 10), Box(8, 2, 10, 4)
    # Eq. 7 as printed gives (0, 0, 10, 10), which leaves columns 10 to 17 of the second box unprotected.
    assert union_box(first, second) == Box(0, 0, 18, 10)


def test_iou_by_hand() -> None:
    # 10 x 10 and 10 x 10 moved by 5: 50 shared of 150.
    iou = pairwise_iou([Box(0, 0, 10, 10), Box(5, 0, 10, 10), Box(40, 0, 1, 1)])
    np.testing.assert_allclose(iou, [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]])


def test_an_overlap_of_exactly_gamma_is_not_merged() -> None:
    half = (Box(0, 0, 10, 5), Box(0, 0, 10, 10))
    assert merge_boxes(half, 0.5) == half
    assert merge_boxes(half, 0.49) == (Box(0, 0, 10, 10),)


def test_merging_goes_on_with_the_merged_box() -> None:
    # The last box holds the others, at overlaps of 160/360 and 150/360; only their union (200/360) is over half of it.
    first, second, large = Box(0, 0, 10, 16), Box(0, 5, 10, 15), Box(0, 0, 18, 20)
    assert merge_boxes([first, large], 0.5) == (first, large)
    assert merge_boxes([large, second], 0.5) == (large, second)
    assert merge_boxes([first, second], 0.5) == (Box(0, 0, 10, 20),)  # 110/200
    assert merge_boxes([first, second, large], 0.5) == (large,)


@given(st.lists(small_boxes, max_size=8), st.sampled_from([0.0, 0.2, 0.5, 0.9]), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_merging_reaches_a_fixpoint_whatever_the_order(boxes: list[Box], merge_iou: float, shuffler: object) -> None:
    merged = merge_boxes(boxes, merge_iou)
    assert merge_boxes(merged, merge_iou) == merged
    overlap = np.triu(pairwise_iou(merged), 1)
    assert not (overlap > merge_iou).any()
    assert all(any(union_box(box, big) == big for big in merged) for box in boxes)
    shuffled = list(boxes)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merge_boxes(shuffled, merge_iou) == merged


@given(st.lists(small_boxes, min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_every_lesion_pixel_lies_in_a_box_when_nothing_is_dropped(lesions: list[Box]) -> None:
    mask = blank(24, 24, *lesions)
    assert not (mask & ~blank(24, 24, *lesion_boxes([mask], RegionSettings(min_area_fraction=0)))).any()


@pytest.mark.parametrize(
    "masks",
    [
        [np.zeros((4, 5), np.uint8)],
        [np.zeros((4, 5, 3), bool)],
        [np.zeros((4, 5), bool), np.zeros((5, 4), bool)],
    ],
)
def test_masks_of_another_form_are_refused(masks: list[np.ndarray]) -> None:
    with pytest.raises(SettingsError, match="lesion mask"):
        union_mask(masks)
