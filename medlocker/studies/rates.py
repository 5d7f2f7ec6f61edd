"""Rates over several seeds, with intervals that do not take the same image twice for two images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medlocker.metrics import Basis, Condition, Method, Proportion, mcnemar
from medlocker.studies.results import CellReadings
from medlocker.transfer import Readings, restriction

RESAMPLES = 4000


@dataclass(frozen=True)
class Rate:
    """A rate with its 95 % interval; NaN where nothing counts.

    Attributes:
        k: images that were misread, over all seeds.
        n: images that count, over all seeds.
        images: different images among them.
        seeds: releases.
        low: Wilson's bound for one seed, else a percentile of the bootstrap over images (Wilson's for the number of
            images where all of them agree).
        high: likewise.
    """

    k: int
    n: int
    images: int
    seeds: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """k / n."""
        return self.k / self.n if self.n else float("nan")

    def __str__(self) -> str:
        if not self.n:
            return "no images"
        return f"{self.value:.1%} ({self.k}/{self.n}, {self.low:.1%}–{self.high:.1%})"


@dataclass(frozen=True)
class Difference:
    """A rate minus another on the same images and seeds.

    Attributes:
        value: mean of the paired differences.
        low: of the 95 % bootstrap over images.
        high: likewise.
        n: pairs.
        p_values: exact McNemar test, one a seed.
    """

    value: float
    low: float
    high: float
    n: int
    p_values: tuple[float, ...]

    def __str__(self) -> str:
        if not self.n:
            return "no images"
        p = ", ".join(f"{value:.2g}" for value in self.p_values)
        return f"{100 * self.value:+.1f} points ({100 * self.low:+.1f} to {100 * self.high:+.1f}; McNemar p = {p})"


Outcomes = dict[str, list[bool]]
"""Image → whether it was misread, one entry a seed in which it counts."""


def outcomes(readings: Readings, network: str, method: Method, basis: Basis, condition: Condition) -> dict[str, bool]:
    """Image → misread, for the images that count."""
    truth = readings.truth
    counted = restriction(readings, basis, condition) & (readings.of(network, "clean") == truth)
    misread = readings.of(network, method) != truth
    return {readings.ids[i]: bool(misread[i]) for i in np.flatnonzero(counted)}


def pooled(found: Iterable[dict[str, bool]]) -> Rate:
    """The rate over seeds.

    Args:
        found: from `outcomes`, one a seed.
    """
    seeds = list(found)
    merged: Outcomes = {}
    for seed in seeds:
        for image, misread in seed.items():
            merged.setdefault(image, []).append(misread)
    hits = np.array([sum(values) for values in merged.values()], dtype=np.int64)
    tries = np.array([len(values) for values in merged.values()], dtype=np.int64)
    k, n = int(hits.sum()), int(tries.sum())
    low, high = Proportion(k, n).interval if len(seeds) == 1 or not n else _seeds_interval(hits, tries)
    return Rate(k, n, len(merged), len(seeds), low, high)


def _seeds_interval(hits: npt.NDArray[np.int64], tries: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Where all images agree a bootstrap has no spread; Wilson's interval for so many images then stands in."""
    if not hits.any() or (hits == tries).all():
        return Proportion(len(hits) if hits.any() else 0, len(hits)).interval
    return _bootstrap(hits, tries)


def network_rate(
    cells: Sequence[CellReadings], network: str, method: Method, basis: Basis, condition: Condition
) -> Rate:
    """The attack success of one network over the seeds of a cell.

    Args:
        cells: one a seed.
        network: name; a source's name means the whole that was queried.
        method: how marks were placed.
        basis: which images count.
        condition: whether only those that fooled the source do.
    """
    return pooled(outcomes(cell.readings, network, method, basis, condition) for cell in cells)


def _bootstrap(hits: npt.NDArray[np.int64], tries: npt.NDArray[np.int64]) -> tuple[float, float]:
    weights = _weights(len(hits))
    with np.errstate(invalid="ignore"):
        rates = (weights @ hits) / (weights @ tries)
    low, high = np.nanpercentile(rates, (2.5, 97.5))
    return float(low), float(high)


def _weights(images: int) -> npt.NDArray[np.int64]:
    picks = np.random.default_rng(0).integers(0, images, (RESAMPLES, images))
    return np.stack([np.bincount(pick, minlength=images) for pick in picks])


def difference(first: Sequence[dict[str, bool]], second: Sequence[dict[str, bool]]) -> Difference:
    """Paired difference of two methods.

    Args:
        first: from `outcomes`, one a seed.
        second: the other method, the same seeds in the same order.

    Returns:
        Over the images that count in both; NaN where there are none.
    """
    pairs: dict[str, list[int]] = {}
    p_values = []
    for a, b in zip(first, second, strict=True):
        both = sorted(a.keys() & b.keys())
        p_values.append(mcnemar([a[i] for i in both], [b[i] for i in both]))
        for image in both:
            pairs.setdefault(image, []).append(int(a[image]) - int(b[image]))
    gains = np.array([sum(values) for values in pairs.values()], dtype=np.int64)
    tries = np.array([len(values) for values in pairs.values()], dtype=np.int64)
    if not len(gains):
        return Difference(float("nan"), float("nan"), float("nan"), 0, tuple(p_values))
    low, high = _bootstrap(gains, tries)
    return Difference(float(gains.sum() / tries.sum()), low, high, int(tries.sum()), tuple(p_values))
