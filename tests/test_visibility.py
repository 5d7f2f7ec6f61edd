"""How visible a mark is, against scikit-image on the whole image and against areas counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import uniform_filter
from skimage.metrics import structural_similarity

from medlocker.blending import Logo, Placement, colour_channels, footprint, lock, prepare_mark
from medlocker.regions import Box
from medlocker.visibility import FEWEST_FOR_ALPHA, Visibility, mean_interval, ssim_map, visibility, visibility_metrics

RNG = np.random.default_rng(5)
HALF_LOGO = Logo(
    np.dstack([np.full((8, 8, 3), 250, np.uint8), np.repeat([[255] * 4 + [0] * 4], 8, 0).astype(np.uint8)])
)
"""Its left half is opaque, its right half transparent."""


def picture(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    smooth = uniform_filter(RNG.random((*shape[:2], 3)), (7, 7, 1))
    peak = np.iinfo(dtype).max
    pixels = (smooth * peak).astype(dtype)
    if len(shape) == 2:
        return pixels[..., 0]
    alpha = np.full((*shape[:2], 1), peak // 2, dtype)
    return np.concatenate([pixels, alpha], 2) if shape[2] == 4 else pixels


@pytest.mark.parametrize(
    ("shape", "dtype", "place"),
    [
        ((64, 80, 3), np.uint8, (200, 0, 0)),
        ((64, 80, 3), np.uint8, (120, 31, 22)),
        ((64, 80), np.uint8, (255, 64, 48)),
        ((64, 80, 4), np.uint8, (180, 60, 3)),
        ((50, 50, 3), np.uint16, (180, 20, 20)),
        ((12, 11, 3), np.uint8, (255, 0, 9)),
    ],
)
def test_similarity_is_scikit_images_own_on_the_whole_image(shape, dtype, place):
    original, placement = picture(shape, dtype), Placement(*place)
    mark = prepare_mark(HALF_LOGO, shape, dtype)
    marked = lock(original, mark, placement)
    _, whole = structural_similarity(
        colour_channels(original),
        colour_channels(marked),
        data_range=np.iinfo(dtype).max,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    found = ssim_map(original, marked, footprint(mark, placement, shape))
    np.testing.assert_allclose(found, whole.mean(2), atol=1e-9)
    assert found.mean() < 1


def test_an_unchanged_image_has_similarity_one_and_a_tiny_one_none():
    original = picture((40, 40, 3))
    assert (ssim_map(original, original, (slice(0, 9), slice(0, 9))) == 1).all()
    assert np.isnan(ssim_map(original[:10], original[:10], (slice(0, 2), slice(0, 2)))).all()


def test_areas_are_those_counted_by_hand():
    original = picture((40, 40, 3))
    mark = prepare_mark(HALF_LOGO, original.shape, original.dtype)  # 10 x 10 px, of which the left 5 columns are seen
    place = Placement(255, 20, 10)
    seen = (mark.opacity(255) > 0).sum()
    lesion = np.zeros((40, 40), bool)
    lesion[10:20, 16:24] = True  # 80 px, of which columns 20 to 23 lie under the mark
    found = visibility("a", original, lock(original, mark, place), mark, place, [lesion], [Box(18, 10, 4, 20)])
    assert found.mark_area == seen / 1600
    assert found.lesion_covered == 40 / 80
    assert found.lesion_boxes_covered == 20 / 80  # columns 20 and 21 of 18 to 21, the upper half of the rows
    assert found.ssim_mark < found.ssim_lesions < 1
    assert found.ssim_mark < found.ssim < 1


def test_without_lesions_nothing_is_said_of_them():
    original = picture((40, 40))
    mark, place = prepare_mark(HALF_LOGO, original.shape, original.dtype), Placement(255, 0, 0)
    for lesions in ([], [np.zeros((40, 40), bool)]):
        found = visibility("a", original, lock(original, mark, place), mark, place, lesions)
        assert math.isnan(found.lesion_covered)
        assert math.isnan(found.lesion_boxes_covered)
        assert not {name for name in visibility_metrics([found]) if "lesion" in name}


def image(number: int, ssim: float = 0.9, covered: float = math.nan) -> Visibility:
    return Visibility(str(number), ssim, 0.5, math.nan, 0.06, covered, math.nan, 100 + number)


def test_means_come_with_their_interval():
    found = visibility_metrics([image(0, 0.8, 0.0), image(1, 0.9, 0.5), image(2, 1.0)])
    assert found["visible/ssim_mean"] == pytest.approx(0.9)
    # By hand: s = 0.1, t(0.975, 2) = 4.3027, 4.3027 * 0.1 / sqrt(3) = 0.24841; the upper end is cut at 1.
    assert found["visible/ssim_mean/lo"] == pytest.approx(0.9 - 0.24841, abs=1e-5)
    assert found["visible/ssim_mean/hi"] == 1.0
    assert (found["visible/lesion_covered"], found["visible/lesion_covered/n"]) == (0.25, 2)
    assert found["visible/lesion_covered_max"] == 0.5
    assert "visible/ssim_mean/lo" not in visibility_metrics([image(0)])
    assert all(math.isnan(v) for v in mean_interval([1.0]))


def test_alpha_is_told_of_many_images_only():
    few = [image(number) for number in range(FEWEST_FOR_ALPHA - 1)]
    assert not {name for name in visibility_metrics(few) if "alpha" in name}
    many = visibility_metrics([*few, image(9)])
    assert many["visible/alpha_mean"] == 104.5
    assert many["visible/alpha_median"] == 104.5
    assert many["visible/alpha_p10"] == pytest.approx(100.9)
