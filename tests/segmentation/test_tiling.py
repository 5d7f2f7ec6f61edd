"""Tiles cover an image, and blending them loses nothing."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlocker_zoo.segmentation.description import SegmentationInput
from medlocker_zoo.segmentation.tiling import (
    blend_window,
    image_probabilities,
    resized,
    tile_starts,
    tiled,
    working_size,
)


@given(st.integers(32, 400), st.integers(0, 31))
@settings(max_examples=60, deadline=None)
def test_tiles_cover_every_pixel_and_overlap_as_asked(length: int, overlap: int) -> None:
    starts = tile_starts(length, 32, overlap)
    assert starts[0] == 0
    assert starts[-1] == length - 32
    assert all(0 < b - a <= 32 - overlap for a, b in pairwise(starts))


def test_an_image_of_one_tile_is_not_cut() -> None:
    assert tile_starts(32, 32, 8) == (0,)
    assert tile_starts(20, 32, 8) == (0,)


def test_the_window_falls_to_its_edges_and_never_to_nothing() -> None:
    window = blend_window(8, 2)
    assert window[4, 4] == 1
    assert window[0, 4] == pytest.approx(1 / 3)
    assert window[0, 0] == pytest.approx(1 / 9)
    np.testing.assert_array_equal(window, window[::-1, ::-1].T)


@pytest.mark.parametrize("shape", [(70, 100), (32, 33), (20, 50), (7, 5)])
def test_a_network_that_looks_at_single_pixels_gives_the_same_tiled(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).random((3, *shape)).astype(np.float32)
    found = tiled(lambda tiles: tiles[:, :2] * 0.5, values, 32, 8, batch_size=3)
    np.testing.assert_allclose(found, values[:2] * 0.5, atol=1e-6)


def test_a_tiles_edge_counts_less_than_its_neighbours_middle() -> None:
    """Two tiles that answer 0 and 1: the seam is a slope, not a step."""
    calls = iter([0.0, 1.0])
    found = tiled(
        lambda t: np.full((1, 1, 32, 32), next(calls), np.float32), np.zeros((3, 32, 48), np.float32), 32, 16, 1
    )
    row = found[0, 16]
    assert (row[:16] == 0).all()
    assert (row[32:] == 1).all()
    assert (np.diff(row[16:32]) > 0).all()


def test_the_shorter_side_is_scaled_and_the_answer_comes_back_in_the_images_frame() -> None:
    assert working_size((2848, 4288), 1024) == (1542, 1024)
    pixels = np.zeros((50, 90, 3), dtype=np.uint8)
    pixels[20:30, 40:60] = 255
    settings = SegmentationInput(working_side=100, tile=32, overlap=8, mean=(0, 0, 0), std=(1, 1, 1))
    found = image_probabilities(lambda tiles: tiles[:, :1], pixels, settings)
    assert found.shape == (1, 50, 90)
    assert found[0, 22:28, 42:58].min() > 0.99
    assert found[0, :18].max() < 0.01


def test_an_image_at_working_size_is_not_touched() -> None:
    values = np.random.default_rng(0).random((3, 20, 30)).astype(np.float32)
    assert resized(values, (30, 20)) is values


def test_an_overlap_as_wide_as_the_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        SegmentationInput(tile=64, overlap=64)
