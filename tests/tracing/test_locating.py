"""Reading marks off leaked images: exact on unaltered copies, right on damaged ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlocker.blending import Logo, Mark, Pixels, Placement, load_logo, lock, prepare_mark
from medlocker.datasets.synthetic import draw_fundus
from medlocker.errors import SettingsError
from medlocker.tracing import attacks
from medlocker.tracing.locating import locate_mark
from medlocker.tracing.reading import read_symbols
from medlocker.tracing.registration import register

LOGO = load_logo()
SIDE = 160


def picture(seed: int, side: int = SIDE) -> Pixels:
    return draw_fundus(np.random.default_rng(seed), seed % 5, side).pixels


def candidates_on(shape: tuple[int, ...], mark: Mark, rng: np.random.Generator, count: int = 8) -> list[Placement]:
    width, height = mark.size
    found: list[Placement] = []
    while len(found) < count:
        x, y = int(rng.integers(shape[1] - width + 1)), int(rng.integers(shape[0] - height + 1))
        if all(abs(x - f.x) >= width // 4 or abs(y - f.y) >= height // 4 for f in found):
            found.append(Placement(int(rng.integers(100, 256)), x, y))
    return found


PICTURES = [picture(n) for n in range(3)]


@st.composite
def marked_pictures(draw: st.DrawFn):
    original = PICTURES[draw(st.integers(0, 2))]
    kind = draw(st.sampled_from(["rgb8", "grey8", "grey16", "rgb16", "rgba8"]))
    if kind.startswith("grey"):
        original = attacks.grey(original)
    if kind.endswith("16"):
        original = original.astype(np.uint16) * 257
    if kind == "rgba8":
        original = np.dstack([original, np.full(original.shape[:2], 7, np.uint8)])
    scale, rule = draw(st.sampled_from([2.5, 4.0])), draw(st.sampled_from(["alpha_channel", "luma_cap"]))
    mark = prepare_mark(LOGO, original.shape, original.dtype, logo_scale=scale, rule=rule)
    x = draw(st.integers(0, original.shape[1] - mark.size[0]))
    y = draw(st.integers(0, original.shape[0] - mark.size[1]))
    return original, mark, Placement(draw(st.integers(100, 255)), x, y), scale, rule


@given(marked_pictures())
@settings(max_examples=25, deadline=None)
def test_place_and_alpha_are_exact_on_unaltered_copies_of_every_kind(case):
    original, mark, placement, scale, rule = case
    marked = lock(original, mark, placement)
    found = locate_mark(marked, LOGO, logo_scale=scale, rule=rule, original=original)
    assert (found.x, found.y) == placement[1:]
    # Several α may give the same pixels (the logo's own opacity caps it): the blend is what must agree.
    assert (lock(original, mark, found.placement) == marked).all()
    assert found.score > 0.999


def test_every_candidate_is_read_perfectly_from_an_unaltered_copy():
    for original in PICTURES:
        mark = prepare_mark(LOGO, original.shape, original.dtype)
        candidates = candidates_on(original.shape, mark, np.random.default_rng(1))
        for n, placement in enumerate(candidates):
            reading = read_symbols(lock(original, mark, placement), original, mark, candidates)
            assert np.abs(np.array(reading.shares) - np.eye(len(candidates))[n]).max() < 0.01
            assert int(np.argmax(reading.log_likelihoods)) == n


ATTACKS = {
    "jpeg 75": lambda p, rng: attacks.jpeg(p, 75),
    "jpeg 50": lambda p, rng: attacks.jpeg(p, 50),
    "webp 60": lambda p, rng: attacks.webp(p, 60),
    "half": lambda p, rng: attacks.resize(p, 0.5),
    "larger": lambda p, rng: attacks.resize(p, 1.7),
    "wider": lambda p, rng: cv2.resize(p, (200, 120), interpolation=cv2.INTER_AREA),
    "crop": lambda p, rng: attacks.crop(p, 0.05, rng),
    "crop, stretched": lambda p, rng: attacks.crop(p, 0.05, rng, stretch=True),
    "crop, half, jpeg 50": lambda p, rng: attacks.jpeg(attacks.resize(attacks.crop(p, 0.05, rng), 0.5), 50),
    "grey, jpeg 75": lambda p, rng: attacks.jpeg(attacks.grey(p), 75),
    "darker": lambda p, rng: (p * 0.8 + 10).astype(np.uint8),
    "16 bit": lambda p, rng: p.astype(np.uint16) * 257,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_right_candidate_is_read_from_damaged_copies(attack):
    rng = np.random.default_rng(2)
    for n, original in enumerate(PICTURES):
        mark = prepare_mark(LOGO, original.shape, original.dtype)
        candidates = candidates_on(original.shape, mark, rng)
        leaked = ATTACKS[attack](lock(original, mark, candidates[n]), rng)
        reading = read_symbols(leaked, original, mark, candidates)
        assert reading.symbol == n
        assert reading.shares[n] > 0.7
        assert sum(reading.shares) - reading.shares[n] < 0.2


@pytest.mark.parametrize("damage", [lambda p: p, lambda p: attacks.jpeg(p, 75)])
def test_the_mean_of_copies_shows_each_ones_share(damage):
    original = PICTURES[0]
    mark = prepare_mark(LOGO, original.shape, original.dtype)
    candidates = candidates_on(original.shape, mark, np.random.default_rng(3))
    copies = [lock(original, mark, candidates[n]) for n in (1, 4, 4)]
    shares = read_symbols(damage(attacks.average(copies)), original, mark, candidates).shares
    assert np.abs(np.array(shares) - np.array([0, 1, 0, 0, 2, 0, 0, 0]) / 3).max() < 0.06


def test_a_crop_that_keeps_the_corner_is_read_like_any_other():
    original = PICTURES[0]
    mark = prepare_mark(LOGO, original.shape, original.dtype)
    candidates = candidates_on(original.shape, mark, np.random.default_rng(8))
    for n, placement in enumerate(candidates):
        leaked = lock(original, mark, placement)[:152, :150]
        assert read_symbols(leaked, original, mark, candidates).symbol == n
        assert locate_mark(leaked, LOGO, original=original)[:2] == placement[1:]


def test_an_unmarked_copy_shows_no_symbol():
    original = PICTURES[1]
    mark = prepare_mark(LOGO, original.shape, original.dtype)
    candidates = candidates_on(original.shape, mark, np.random.default_rng(4))
    for leaked in (original, attacks.jpeg(original, 75)):
        assert read_symbols(leaked, original, mark, candidates).symbol is None


def test_registration_finds_scale_and_crop():
    original = PICTURES[2]
    window = original[9:153, 4:148]
    found = register(cv2.resize(window, (216, 216), interpolation=cv2.INTER_CUBIC), original)
    assert (found.scale_x, found.scale_y) == pytest.approx((1.5, 1.5), rel=0.005)
    assert (found.left, found.top) == pytest.approx((4, 9), abs=0.6)


@pytest.mark.parametrize("damage", [lambda p: p, lambda p: attacks.jpeg(p, 75), attacks.grey])
def test_without_the_original_the_place_is_found_and_alpha_estimated(damage):
    rng = np.random.default_rng(6)
    for original in PICTURES:
        mark = prepare_mark(LOGO, original.shape, original.dtype)
        placement = candidates_on(original.shape, mark, rng, 1)[0]
        found = locate_mark(damage(lock(original, mark, placement)), LOGO)
        assert abs(found.x - placement.x) <= 1
        assert abs(found.y - placement.y) <= 1
        assert abs(found.alpha - placement.alpha) <= 15


def test_a_logo_of_one_colour_is_found_blind_by_its_outline():
    rgba = np.zeros((60, 60, 4), dtype=np.uint8)
    cv2.circle(rgba, (30, 30), 22, (250, 250, 250, 255), -1)
    cv2.circle(rgba, (30, 30), 10, (0, 0, 0, 0), -1)
    original = PICTURES[0]
    mark = prepare_mark(Logo(rgba), original.shape, original.dtype)
    found = locate_mark(lock(original, mark, Placement(200, 57, 44)), Logo(rgba))
    assert (found.x, found.y) == (57, 44)


def test_nothing_to_choose_from_is_refused():
    original = PICTURES[0]
    mark = prepare_mark(LOGO, original.shape, original.dtype)
    with pytest.raises(SettingsError, match="no candidate"):
        read_symbols(original, original, mark, [])
