"""Which settings protect better, at what cost, and how sure that is: runs side by side, no tracking store in sight."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from medlocker.metrics import Proportion, mcnemar
from medlocker.transfer import Readings
from medlocker_mlflow.paired import difference_interval, holm

SIGNIFICANT = 0.05
"""Largest adjusted p value that counts as a difference."""
SHOWN = (
    "asr/source/",
    "asr/transfer/",
    "asr/baseline/",
    "accuracy/",
    "visible/",
    "confidence/",
    "cost/",
    "packet/",
    "images/",
    "unlock/",
)
"""Metrics that a comparison shows, in this order; docs/mlflow.md says what they mean."""
_PARTS = ("/lo", "/hi", "/n")


@dataclass(frozen=True, eq=False)
class RunFacts:
    """What a run says about itself.

    Attributes:
        run_id: in its tracking store.
        name: the run's name.
        experiment: the experiment's name.
        verb: the command that ran; empty for a foreign run.
        status: FINISHED, FAILED, KILLED or RUNNING.
        started: when, UTC.
        settings: the resolved settings, without `cfg/`.
        metrics: last value of each.
        tags: MedLocker's own.
        readings: what every network read; None where the run logged none.
    """

    run_id: str
    name: str
    experiment: str
    verb: str
    status: str
    started: datetime
    settings: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    readings: Readings | None = None

    @property
    def short_id(self) -> str:
        """The first eight digits of the id, which `medlocker runs` takes for the whole."""
        return self.run_id[:8]

    @property
    def headline_metrics(self) -> dict[str, float]:
        """Metrics without the ends of their intervals and the numbers of images; NaN counts as not measured."""
        # A network may be called `n`: only what has its own metric beside it is a part of one.
        parts = {name + part for name in self.metrics for part in _PARTS}
        return {name: v for name, v in self.metrics.items() if name not in parts and not math.isnan(v)}


@dataclass(frozen=True)
class Value:
    """A metric of one run.

    Attributes:
        value: last value.
        low: lower end of its 95 % interval, None where it has none.
        high: upper end.
        n: images that count, None where that is not known.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class PairedTest:
    """The searched marks of two runs on one network, on the images that count in both.

    Attributes:
        network: its name.
        role: `source` or `target`.
        first: index of the reference run.
        second: index of the run compared with it.
        reference: misread under the first run's marks.
        other: misread under the second run's.
        only_first: images only the first run's marks changed.
        only_second: images only the second run's marks changed.
        interval: 95 % interval of the difference of the rates, second minus first.
        p_value: exact McNemar test, two-sided.
        adjusted: the same after Holm's correction for all tests of the comparison.
    """

    network: str
    role: str
    first: int
    second: int
    reference: Proportion
    other: Proportion
    only_first: int
    only_second: int
    interval: tuple[float, float]
    p_value: float
    adjusted: float

    @property
    def difference(self) -> float:
        """Rate of the second run minus rate of the first."""
        return self.other.rate - self.reference.rate

    @property
    def significant(self) -> bool:
        """Whether the adjusted p value is at most `SIGNIFICANT`."""
        return self.adjusted <= SIGNIFICANT


@dataclass(frozen=True, eq=False)
class RunComparison:
    """Runs side by side.

    Attributes:
        runs: the first is the reference.
        settings: name → value per run (None: not logged), for settings that differ.
        outcomes: metric → value per run (None: not logged).
        tests: of every other run against the reference.
        notes: what the tests leave out or take for granted, in words.
    """

    runs: tuple[RunFacts, ...]
    settings: Mapping[str, tuple[str | None, ...]]
    outcomes: Mapping[str, tuple[Value | None, ...]]
    tests: tuple[PairedTest, ...]
    notes: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """What each run is called here; see `run_labels`."""
        return run_labels(self.runs)


def run_labels(runs: Sequence[RunFacts]) -> tuple[str, ...]:
    """The runs' names, with the beginning of the id where a name is not the only one of its kind."""
    times = Counter(run.name for run in runs)
    return tuple(run.name if times[run.name] == 1 else f"{run.name} ({run.short_id})" for run in runs)


def compare_runs(runs: Sequence[RunFacts]) -> RunComparison:
    """Compare runs with the first of them.

    Args:
        runs: two or more.

    Returns:
        Settings that differ, outcomes, and a paired test for every network that read both runs' images.
    """
    tests: list[PairedTest] = []
    notes: list[str] = []
    for second in range(1, len(runs)):
        found, remarks = _paired_tests(runs, second)
        tests += found
        notes += remarks
    adjusted = holm([test.p_value for test in tests])
    final = tuple(replace(test, adjusted=p) for test, p in zip(tests, adjusted, strict=True))
    return RunComparison(tuple(runs), differing_settings(runs), outcomes(runs), final, tuple(notes))


def differing_settings(runs: Sequence[RunFacts]) -> dict[str, tuple[str | None, ...]]:
    """Settings that are not the same in all runs; None where a run did not log one."""
    names = sorted({name for run in runs for name in run.settings})
    rows = {name: tuple(run.settings.get(name) for run in runs) for name in names}
    return {name: row for name, row in rows.items() if len(set(row)) > 1}


def outcomes(runs: Sequence[RunFacts]) -> dict[str, tuple[Value | None, ...]]:
    """Every metric of `SHOWN` that a run has, with its interval."""
    names = {name for run in runs for name in run.headline_metrics if name.startswith(SHOWN)}

    def order(name: str) -> tuple[int, str]:
        return next(place for place, prefix in enumerate(SHOWN) if name.startswith(prefix)), name

    return {name: tuple(metric_value(run, name) for run in runs) for name in sorted(names, key=order)}


def metric_value(run: RunFacts, name: str) -> Value | None:
    """A metric with its interval; None where the run has none of that name, or NaN."""
    if math.isnan(run.metrics.get(name, math.nan)):
        return None
    low, high, n = (run.metrics.get(name + part) for part in _PARTS)
    return Value(run.metrics[name], low, high, None if n is None else int(n))


def _paired_tests(runs: Sequence[RunFacts], second: int) -> tuple[list[PairedTest], list[str]]:
    reference, other = runs[0], runs[second]
    names = run_labels(runs)[0], run_labels(runs)[second]
    missing = [name for name, run in zip(names, (reference, other), strict=True) if run.readings is None]
    if reference.readings is None or other.readings is None:
        return [], [f"No test of {names[1]} against {names[0]}: {' and '.join(missing)} logged no readings."]
    notes = []
    if reference.settings.get("dataset_digest") != other.settings.get("dataset_digest"):
        notes.append(f"{names[0]} and {names[1]} read different data; their images are matched by id.")
    tests = []
    fingerprints = {network.name: network.fingerprint for network in other.readings.networks}
    for network in reference.readings.networks:
        if network.name not in fingerprints:
            notes.append(f"No test on {network.name}: {names[1]} did not measure it.")
        elif fingerprints[network.name] != network.fingerprint:
            notes.append(f"No test on {network.name}: {names[0]} and {names[1]} used different weights of it.")
        elif test := _paired_test(reference.readings, other.readings, network.name, second):
            tests.append(replace(test, role=network.role))
        else:
            notes.append(f"No test on {network.name}: no image of both runs was read correctly before marking.")
    return tests, notes


def _paired_test(reference: Readings, other: Readings, network: str, second: int) -> PairedTest | None:
    before, after = _misread(reference, network), _misread(other, network)
    common = sorted(before.keys() & after.keys())
    if not common:
        return None
    first_hits = np.array([before[key] for key in common], dtype=bool)
    second_hits = np.array([after[key] for key in common], dtype=bool)
    return PairedTest(
        network,
        "",
        0,
        second,
        Proportion(int(first_hits.sum()), len(common)),
        Proportion(int(second_hits.sum()), len(common)),
        int((first_hits & ~second_hits).sum()),
        int((~first_hits & second_hits).sum()),
        difference_interval(second_hits, first_hits),
        mcnemar(first_hits.tolist(), second_hits.tolist()),
        math.nan,
    )


def _misread(readings: Readings, network: str) -> dict[tuple[str, int], bool]:
    """(id, label) → misread under the searched mark, for images the network read correctly before."""
    truth, clean, marked = readings.truth, readings.of(network, "clean"), readings.of(network, "searched")
    rows = zip(readings.ids, truth.tolist(), clean.tolist(), marked.tolist(), strict=True)
    return {(name, label): after != label for name, label, before, after in rows if before == label}


def sentences(comparison: RunComparison) -> Iterator[str]:
    """What the tests say, one sentence a test."""
    for test in comparison.tests:
        reference, other = comparison.labels[test.first], comparison.labels[test.second]
        low, high = test.interval
        verdict = "more often" if test.difference > 0 else "less often"
        claim = f"{other} misleads {test.network} {verdict} than {reference}"
        if not test.significant:
            claim = f"No significant difference between {other} and {reference} on {test.network}"
        yield (
            f"{claim}: {test.other.rate:.1%} against {test.reference.rate:.1%} of {test.other.n} common images "
            f"({100 * test.difference:+.1f} points, 95% interval {100 * low:+.1f} to {100 * high:+.1f}; "
            f"McNemar p = {test.p_value:.2g}, adjusted {test.adjusted:.2g})."
        )


def as_document(comparison: RunComparison) -> dict[str, object]:
    """The comparison as plain values, for scripts."""
    return {
        "runs": [
            {"run_id": r.run_id, "name": r.name, "experiment": r.experiment, "verb": r.verb, "status": r.status}
            for r in comparison.runs
        ],
        "settings": {name: list(row) for name, row in comparison.settings.items()},
        "outcomes": {
            name: [None if v is None else {"value": v.value, "low": v.low, "high": v.high, "n": v.n} for v in row]
            for name, row in comparison.outcomes.items()
        },
        "tests": [_test_document(comparison, test) for test in comparison.tests],
        "notes": list(comparison.notes),
    }


def _test_document(comparison: RunComparison, test: PairedTest) -> dict[str, object]:
    return {
        "network": test.network,
        "role": test.role,
        "reference": comparison.runs[test.first].run_id,
        "other": comparison.runs[test.second].run_id,
        "images": test.other.n,
        "asr_reference": test.reference.rate,
        "asr_other": test.other.rate,
        "only_reference": test.only_first,
        "only_other": test.only_second,
        "difference": test.difference,
        "low": test.interval[0],
        "high": test.interval[1],
        "mcnemar_p": test.p_value,
        "adjusted_p": test.adjusted,
        "significant": test.significant,
    }
