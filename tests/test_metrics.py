"""Intervals and rates against published and hand-worked values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medlocker.metrics import Proportion, attack_success, mcnemar


def test_the_wilson_interval_is_the_textbook_one():
    """7 of 10 at 95 %: 0.3968 to 0.8922 (Wilson 1927, no continuity correction)."""
    low, high = Proportion(7, 10).interval
    assert (low, high) == (pytest.approx(0.3968, abs=1e-4), pytest.approx(0.8922, abs=1e-4))


def test_an_empty_proportion_has_no_rate():
    assert math.isnan(Proportion(0, 0).rate)
    assert all(map(math.isnan, Proportion(0, 0).interval))
    assert str(Proportion(0, 0)) == "no images"


def test_only_images_read_correctly_before_count():
    labels, clean, marked = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 2]), np.array([1, 1, 1, 0, 2])
    everyone = np.ones(5, dtype=bool)
    assert attack_success(labels, clean, marked, everyone) == Proportion(2, 4)
    assert attack_success(labels, clean, marked, np.array([1, 1, 1, 0, 0], dtype=bool)) == Proportion(1, 2)


@pytest.mark.parametrize(("gained", "lost", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (8, 1, 0.0390625), (3, 3, 1.0)])
def test_mcnemar_is_the_exact_sign_test_on_discordant_images(gained, lost, p):
    first = [True] * gained + [False] * lost + [True] * 4
    second = [False] * gained + [True] * lost + [True] * 4
    assert mcnemar(first, second) == pytest.approx(p)
