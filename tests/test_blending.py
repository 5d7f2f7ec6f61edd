"""Eq. 1, 2 and 9 against worked examples and properties."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medlocker.blending import (
    Logo,
    Placement,
    blend_values,
    colour_channels,
    estimate_original,
    footprint,
    load_logo,
    lock,
    pixel_sha256,
    preimage_bounds,
    prepare_mark,
    scaled_size,
)
from medlocker.errors import LogoError, SettingsError


def solid_logo(width: int, height: int, rgba: tuple[int, int, int, int]) -> Logo:
    return Logo(np.full((height, width, 4), rgba, dtype=np.uint8))


@st.composite
def locked_images(draw: st.DrawFn):
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    height, width = draw(st.integers(4, 24)), draw(st.integers(4, 24))
    shape = draw(st.sampled_from([(height, width), (height, width, 3), (height, width, 4)]))
    pixels = draw(hnp.arrays(dtype, shape))
    logo = Logo(draw(hnp.arrays(np.uint8, (draw(st.integers(1, 9)), draw(st.integers(1, 9)), 4))))
    rule = draw(st.sampled_from(["alpha_channel", "luma_cap"]))
    mark = prepare_mark(logo, shape, dtype, logo_scale=draw(st.sampled_from([1.0, 1.7, 4.0])), rule=rule)
    x = draw(st.integers(0, width - mark.size[0]))
    y = draw(st.integers(0, height - mark.size[1]))
    return pixels, mark, Placement(draw(st.integers(0, 255)), x, y)


@pytest.mark.parametrize(
    ("original", "logo", "alpha", "expected"),
    [(100, 200, 0, 100), (100, 200, 255, 200), (100, 200, 128, 150), (0, 255, 1, 1), (10, 0, 100, 6)],
)
def test_blend_is_equation_1_rounded(original, logo, alpha, expected):
    pixels = np.full((8, 8, 3), original, dtype=np.uint8)
    mark = prepare_mark(solid_logo(4, 4, (logo, logo, logo, 255)), pixels.shape, np.uint8, logo_scale=2)
    marked = lock(pixels, mark, Placement(alpha, 2, 3))
    assert (marked[3:7, 2:6] == expected).all()
    assert round((1 - alpha / 255) * original + alpha / 255 * logo) == expected


@pytest.mark.parametrize(
    ("image", "logo", "scale", "expected"),
    [
        ((224, 224), (512, 512), 4, (56, 56)),
        ((1542, 1024), (512, 512), 4, (256, 256)),
        ((100, 50), (10, 40), 4, (3, 12)),
        ((224, 224), (3, 1), 4, (56, 18)),
        ((5, 5), (100, 1), 4, (1, 1)),
    ],
)
def test_equation_2_floors_and_keeps_one_pixel(image, logo, scale, expected):
    assert scaled_size(image, logo, scale) == expected


@given(locked_images())
@settings(max_examples=150, deadline=None)
def test_pixels_outside_the_footprint_never_change(case):
    pixels, mark, placement = case
    marked = lock(pixels, mark, placement)
    rows, columns = footprint(mark, placement, pixels.shape)
    outside = np.ones(pixels.shape[:2], dtype=bool)
    outside[rows, columns] = False
    assert marked.dtype == pixels.dtype
    assert (marked[outside] == pixels[outside]).all()
    if pixels.shape[2:] == (4,):
        assert (marked[..., 3] == pixels[..., 3]).all()


@given(locked_images())
@settings(max_examples=150, deadline=None)
def test_the_original_lies_in_the_preimage_and_its_ends_blend_to_the_same_value(case):
    pixels, mark, placement = case
    rows, columns = footprint(mark, placement, pixels.shape)
    original = colour_channels(pixels[rows, columns])
    marked = colour_channels(lock(pixels, mark, placement)[rows, columns])
    low, high = preimage_bounds(marked, mark, placement.alpha)
    assert ((low <= original) & (original <= high)).all()
    opacity = mark.opacity(placement.alpha)[..., None]
    for end in (low, high):
        assert (blend_values(end, mark.colour, opacity) == marked).all()
    beyond = [low - 1, high + 1]
    for end, inside in zip(beyond, [beyond[0] >= 0, beyond[1] <= mark.peak], strict=True):
        assert not ((blend_values(end, mark.colour, opacity) == marked) & inside).any()


@given(locked_images())
@settings(max_examples=100, deadline=None)
def test_equation_9_lands_inside_the_preimage_where_it_is_defined(case):
    pixels, mark, placement = case
    marked = lock(pixels, mark, placement)
    rows, columns = footprint(mark, placement, pixels.shape)
    low, high = preimage_bounds(colour_channels(marked[rows, columns]), mark, placement.alpha)
    estimate = colour_channels(estimate_original(marked, mark, placement)[rows, columns])
    defined = np.broadcast_to(mark.opacity(placement.alpha)[..., None] < 255, estimate.shape)
    assert ((low - 1 <= estimate) & (estimate <= high + 1))[defined].all()


def test_opacity_is_the_smaller_of_alpha_and_the_logos_own():
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, 3] = [0, 90, 255]
    rgba[0, :, :3] = [[255] * 3, [0] * 3, [80] * 3]
    mark = prepare_mark(Logo(rgba), (1, 3, 3), np.uint8, logo_scale=1)
    assert mark.opacity(120).tolist() == [[0, 90, 120]]
    capped = prepare_mark(Logo(rgba), (1, 3, 3), np.uint8, logo_scale=1, rule="luma_cap")
    assert capped.opacity(120).tolist() == [[120, 0, 80]]


def test_the_default_logo_marks_most_of_its_square():
    logo = load_logo()
    assert logo.size[0] >= 256
    assert (logo.rgba[..., 3] > 127).mean() > 0.6


def test_bad_logos_are_named(tmp_path):
    clear, text = tmp_path / "clear.png", tmp_path / "text.png"
    Image.new("RGBA", (5, 5)).save(clear)
    text.write_text("no image")
    for path, reason in [(clear, "transparent"), (text, "cannot be read"), (tmp_path / "none.png", "no such file")]:
        with pytest.raises(LogoError, match=reason) as error:
            load_logo(path)
        assert path.name in str(error.value)


def test_a_footprint_outside_the_image_is_refused():
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    mark = prepare_mark(solid_logo(4, 4, (1, 2, 3, 255)), pixels.shape, np.uint8, logo_scale=2)
    for x, y in [(-1, 0), (5, 0), (0, 5)]:
        with pytest.raises(SettingsError, match="leaves"):
            lock(pixels, mark, Placement(100, x, y))


def test_the_pixel_digest_sees_type_shape_and_value():
    base = np.arange(12, dtype=np.uint8).reshape(3, 4)
    others = [base.reshape(4, 3), base.astype(np.uint16), base + np.uint8(1), base.reshape(2, 2, 3)]
    assert len({pixel_sha256(p) for p in [base, *others]}) == 5
    assert pixel_sha256(np.asfortranarray(base)) == pixel_sha256(base)
