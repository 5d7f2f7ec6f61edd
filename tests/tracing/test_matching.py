"""Leaked files without a name are told apart by what they show."""

from __future__ import annotations

import numpy as np
import pytest

from medlocker.blending import Pixels, Placement, load_logo, lock, prepare_mark
from medlocker.datasets.synthetic import draw_fundus
from medlocker.tracing import attacks, build_index, identify

RELEASE = {f"eye {n}": draw_fundus(np.random.default_rng(n), n % 5, 96).pixels for n in range(8)}
STRANGER = draw_fundus(np.random.default_rng(99), 0, 96).pixels


def marked(original: Pixels) -> Pixels:
    return lock(original, prepare_mark(load_logo(), original.shape, original.dtype), Placement(200, 30, 50))


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: p,
        lambda p: attacks.jpeg(p, 50),
        lambda p: attacks.resize(p, 0.5),
        lambda p: attacks.crop(p, 0.05, np.random.default_rng(0), stretch=True),
    ],
)
def test_a_damaged_copy_is_recognised(damage):
    index = build_index(RELEASE.items())
    for image_id in ("eye 1", "eye 6"):
        found = identify(damage(marked(RELEASE[image_id])), index, RELEASE.__getitem__)
        assert found is not None
        assert found.image_id == image_id


def test_a_strange_image_is_none_of_them():
    assert identify(marked(STRANGER), build_index(RELEASE.items()), RELEASE.__getitem__) is None


def test_an_empty_release_holds_nothing():
    assert identify(STRANGER, build_index([]), RELEASE.__getitem__) is None
