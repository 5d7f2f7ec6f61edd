from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow_store import Store

from medlocker.errors import SettingsError, TrackingError
from medlocker.metrics import mcnemar
from medlocker.transfer import Network, Readings
from medlocker_mlflow.comparing import RunFacts, as_document, compare_runs, sentences
from medlocker_mlflow.comparison_page import outcome_text, render_comparison
from medlocker_mlflow.history import History, best_first, parse_condition, satisfies
from medlocker_mlflow.paired import difference_interval, holm

RUN = RunFacts("0" * 32, "run", "e", "protect", "FINISHED", datetime(2026, 1, 2, tzinfo=UTC), {}, {}, {})


@pytest.fixture
def store(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The artifacts of the Default experiment lie where its schema was made; those of a new one lie in the store."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "past")
    return store


def readings(marked: str, *, clean: str | None = None, ids: str | None = None, fingerprint: str = "f") -> Readings:
    """One network on images of class 0; a digit is the class it reads on one image."""
    names = tuple(ids or "abcdefghijklmnopqrstuvwxyz"[: len(marked)])
    return Readings(
        ids=names,
        labels=(0,) * len(names),
        networks=(Network(name="net", role="target", runtime="r", fingerprint=fingerprint),),
        methods=("searched",),
        predictions={"net": {"clean": tuple(map(int, clean or "0" * len(names))), "searched": tuple(map(int, marked))}},
        source_network="net",
    )


def run(name: str, read: Readings | None, **settings: str) -> RunFacts:
    return replace(RUN, name=name, run_id=f"{name:0<32}", readings=read, settings=settings)


def test_only_images_of_both_runs_that_were_read_correctly_count() -> None:
    first = run("first", readings("1100", ids="abcx", clean="0000"))
    second = run("second", readings("01011", ids="abcyz", clean="01000"))
    (test,) = compare_runs([first, second]).tests
    # In common are a, b, c; b was misread before marking in the second run.
    assert (test.other.n, test.reference.k, test.other.k) == (2, 1, 0)
    assert (test.only_first, test.only_second) == (1, 0)


def test_images_whose_labels_differ_are_not_the_same() -> None:
    other = readings("11").model_copy(update={"labels": (0, 1)})
    (test,) = compare_runs([run("a", readings("11")), run("b", other)]).tests
    assert test.other.n == 1


def test_a_clear_difference_is_significant_and_a_small_one_is_not() -> None:
    base, strong, slight = run("base", readings("0" * 20)), run("strong", readings("1" * 20)), readings("11" + "0" * 18)
    comparison = compare_runs([base, strong, run("slight", slight)])
    clear, small = comparison.tests
    assert clear.p_value == pytest.approx(2 * 0.5**20)
    assert clear.adjusted == pytest.approx(2 * clear.p_value)  # two tests
    assert clear.significant
    assert small.p_value == pytest.approx(0.5)
    assert not small.significant
    first, second = sentences(comparison)
    assert first.startswith("strong misleads net more often than base: 100.0% against 0.0% of 20 common images")
    assert second.startswith("No significant difference between slight and base on net")


@pytest.mark.parametrize(
    ("other", "note"),
    [
        (run("b", None), "b logged no readings"),
        (run("b", readings("1", fingerprint="g")), "different weights"),
        (run("b", readings("1", ids="z")), "no image of both runs"),
    ],
)
def test_what_cannot_be_tested_is_said(other: RunFacts, note: str) -> None:
    comparison = compare_runs([run("a", readings("1")), other])
    assert comparison.tests == ()
    assert len(comparison.notes) == 1
    assert note in comparison.notes[0]


def test_runs_of_the_same_name_are_told_apart() -> None:
    twins = [replace(run("twin", readings("1")), run_id=digit * 32) for digit in "ab"]
    (sentence,) = sentences(compare_runs(twins))
    assert "twin (bbbbbbbb) and twin (aaaaaaaa)" in sentence


def test_a_network_may_be_called_like_a_part_of_a_metric() -> None:
    facts = replace(RUN, metrics={"asr/source/n": 0.5, "asr/source/n/n": 4.0, "asr/source/hi": 1.0})
    assert facts.headline_metrics == {"asr/source/n": 0.5, "asr/source/hi": 1.0}


def test_other_data_is_said() -> None:
    runs = [run(name, readings("10"), dataset_digest=name) for name in "ab"]
    comparison = compare_runs(runs)
    assert "read different data" in comparison.notes[0]
    assert len(comparison.tests) == 1


def test_settings_that_differ_and_outcomes_with_their_intervals() -> None:
    metrics = {"asr/source/n": 0.5, "asr/source/n/lo": 0.4, "asr/source/n/hi": 0.6, "asr/source/n/n": 90.0}
    first = replace(run("a", None, seed="1", logo="x"), metrics={**metrics, "system/cpu": 3.0, "cost/seconds": 2.5})
    second = replace(run("b", None, seed="2", logo="x", extra=""), metrics={"asr/source/n": math.nan})
    comparison = compare_runs([first, second])
    assert comparison.settings == {"extra": (None, ""), "seed": ("1", "2")}
    assert list(comparison.outcomes) == ["asr/source/n", "cost/seconds"]
    texts = [[outcome_text(name, v) for v in row] for name, row in comparison.outcomes.items()]
    assert texts == [["50.0% of 90, 40.0%–60.0%", "not measured"], ["2.5", "not measured"]]
    page = render_comparison(comparison)
    assert {"not logged", "not set", "No paired test was possible."} <= {
        t.strip() for t in page.replace("<", ">").split(">")
    }
    assert as_document(comparison)["outcomes"]["cost/seconds"] == [
        {"value": 2.5, "low": None, "high": None, "n": None},
        None,
    ]


def test_the_page_escapes_what_runs_are_called() -> None:
    page = render_comparison(compare_runs([run("<script>", readings("1")), run("b", readings("0"))]))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_interval_is_newcombe_s_worked_example() -> None:
    """Newcombe 1998, table III: 36 both, 12 only the first, 2 only the second, none neither."""
    first = np.array([True] * 48 + [False] * 2)
    second = np.array([True] * 36 + [False] * 12 + [True] * 2)
    assert difference_interval(first, second) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_the_interval_holds_the_difference_and_turns_with_it(pairs) -> None:
    first, second = (np.array(flags) for flags in zip(*pairs, strict=True))
    low, high = difference_interval(first, second)
    difference = first.mean() - second.mean()
    assert -1 - 1e-9 <= low <= difference + 1e-9
    assert difference - 1e-9 <= high <= 1 + 1e-9
    assert difference_interval(second, first) == pytest.approx((-high, -low))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("search.name=random", True),
        ("search.name!=random", False),
        ("lr=1e-3", True),
        ("cost/seconds<60", True),
        ("cost/seconds >= 60", False),
        ("verb=protect", True),
        ("medlocker.release_id=abc", True),
        ("unknown=1", False),
        ("unknown!=1", False),
        ("note=a=b", True),
    ],
)
def test_conditions_by_hand(text: str, expected: bool) -> None:
    facts = replace(
        RUN,
        settings={"search.name": "random", "lr": "0.001", "note": "a=b"},
        metrics={"cost/seconds": 59.0},
        tags={"medlocker.release_id": "abc"},
    )
    assert satisfies(facts, parse_condition(text)) is expected


def test_a_text_has_no_order() -> None:
    with pytest.raises(SettingsError, match="not two numbers"):
        satisfies(RUN, parse_condition("verb<3"))


def test_the_best_comes_first_and_nan_is_not_measured() -> None:
    runs = [replace(RUN, name=n, metrics={"m": v}) for n, v in (("a", 0.1), ("b", math.nan), ("c", 0.7))]
    assert [r.name for r in best_first(runs, "m")] == ["c", "a"]
    assert [r.name for r in best_first(runs, "m", lowest=True)] == ["a", "c"]
    with pytest.raises(SettingsError, match=r"none of 3 runs has it\. they have m"):
        best_first(runs, "x")


def test_runs_are_read_back_from_the_store(store: Store) -> None:
    wanted = {}
    for name, marked in (("one", "110"), ("two", "100"), ("two", "000")):
        with mlflow.start_run(run_name=name) as active:
            mlflow.log_params({"cfg/seed": len(wanted), "raw": 1})
            mlflow.log_metric("asr/source/net", 0.5)
            mlflow.log_text(readings(marked).model_dump_json(), "release/readings.json")
            wanted[active.info.run_id] = readings(marked)
    history = History(None)
    assert [r.run_id for r in history.runs(None)] == list(reversed(wanted))
    assert [r.settings for r in history.runs("past", [parse_condition("seed>=1")])] == [{"seed": "2"}, {"seed": "1"}]
    first = next(iter(wanted))
    for reference in (first, first[:8], "one"):
        found = history.run(reference)
        assert (found.run_id, found.readings) == (first, wanted[first])
    for reference in ("two", "three", "", first[:3]):
        with pytest.raises(SettingsError, match="runs of that name or id"):
            history.run(reference)
    with pytest.raises(SettingsError, match="seeds: no run has"):
        history.runs(None, [parse_condition("seeds=1")])


def test_readings_that_cannot_be_read_are_an_error_and_not_silence(store: Store, tmp_path: Path) -> None:
    with mlflow.start_run(run_name="broken"):
        mlflow.log_text('{"schema_version": "medlocker.readings/9"}', "release/readings.json")
    with pytest.raises(TrackingError, match="the run broken has readings that cannot be read"):
        History(None).run("broken")


def test_the_test_is_the_library_s() -> None:
    first, second = readings("1101001100"), readings("0111011111")
    (test,) = compare_runs([run("a", first), run("b", second)]).tests
    flags = [[value == 1 for value in r.predictions["net"]["searched"]] for r in (first, second)]
    assert test.p_value == mcnemar(*flags)
