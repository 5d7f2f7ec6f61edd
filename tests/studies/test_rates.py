"""Rates and differences over seeds, by hand."""

import pytest
from study_kit import read_cell

from medlocker.metrics import Proportion
from medlocker.studies.rates import difference, network_rate, outcomes, pooled

LABELS = (0, 0, 1, 1)
SOURCE = {"clean": (0, 0, 1, 0), "searched": (1, 0, 0, 0), "box": (0, 0, 0, 0)}
TARGET = {"clean": (0, 1, 1, 1), "searched": (1, 1, 1, 0), "box": (0, 1, 1, 1)}


def test_bases_and_conditions_by_hand() -> None:
    cell = read_cell(LABELS, {"s": SOURCE, "t": TARGET})
    # The target reads 0, 2 and 3 correctly when clean, and misreads 0 and 3 when marked.
    assert outcomes(cell.readings, "t", "searched", "per_model", "unconditional") == {
        "i0": True,
        "i2": False,
        "i3": True,
    }
    # Both networks read 0 and 2; the source was fooled on both.
    assert outcomes(cell.readings, "t", "searched", "common", "unconditional") == {"i0": True, "i2": False}
    assert outcomes(cell.readings, "t", "searched", "per_model", "source_fooled") == {"i0": True, "i2": False}


def test_one_seed_has_wilsons_interval() -> None:
    cell = read_cell(LABELS, {"s": SOURCE, "t": TARGET})
    rate = network_rate([cell], "s", "searched", "per_model", "unconditional")
    assert (rate.k, rate.n, rate.images, rate.seeds) == (2, 3, 3, 1)
    assert (rate.low, rate.high) == Proportion(2, 3).interval


def test_equal_seeds_do_not_narrow_the_interval() -> None:
    found = {f"i{n}": n % 3 == 0 for n in range(30)}
    once, thrice = pooled([found, found]), pooled([found] * 6)
    assert (once.k, once.n, once.images) == (20, 60, 30)
    assert thrice.n == 180
    assert thrice.value == once.value
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    assert 0.1 < once.low < once.value < once.high < 0.6


def test_where_all_images_agree_the_interval_is_that_of_so_many_images() -> None:
    never = pooled([{"a": False, "b": False}] * 3)
    assert (never.low, never.high) == Proportion(0, 2).interval
    always = pooled([{"a": True, "b": True}] * 3)
    assert (always.low, always.high) == Proportion(2, 2).interval


def test_nothing_counts() -> None:
    rate = pooled([{}])
    assert str(rate) == "no images"
    assert str(difference([{}], [{}])) == "no images"


def test_differences_are_paired() -> None:
    first = {f"i{n}": n < 8 for n in range(20)}
    second = {f"i{n}": n < 2 for n in range(20)} | {"other": True}
    found = difference([first], [second])
    assert (found.value, found.n) == (pytest.approx(0.3), 20)
    assert 0.05 < found.low < 0.3 < found.high < 0.6
    assert found.p_values == (pytest.approx(2 * 0.5**6),)


def test_a_method_against_itself_differs_nowhere() -> None:
    same = {f"i{n}": n % 2 == 0 for n in range(9)}
    found = difference([same, same], [same, same])
    assert (found.value, found.low, found.high) == (0, 0, 0)
    assert found.p_values == (1.0, 1.0)
