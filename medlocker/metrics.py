"""Attack success rates with their intervals, and how visible a mark is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

Method = Literal["searched", "random_single", "random_best", "box"]
"""Where the mark went: found by the search; one uniform random placement; the best of equally many random placements; a
box of the image's mean colour in the searched place."""
Basis = Literal["per_model", "common"]
"""Which images count: those this network reads correctly when clean, or those every network does (the paper's)."""
Condition = Literal["unconditional", "source_fooled"]
"""All such images, or only those whose mark fooled the sources (the paper's Table 2)."""


@dataclass(frozen=True)
class Proportion:
    """k of n with its 95 % Wilson interval; rate and bounds are NaN when n is 0."""

    k: int
    n: int

    @property
    def rate(self) -> float:
        """k / n."""
        return self.k / self.n if self.n else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson score interval without continuity correction, 95 %."""
        if not self.n:
            return float("nan"), float("nan")
        bounds = stats.binomtest(self.k, self.n).proportion_ci(0.95, method="wilson")
        return float(bounds.low), float(bounds.high)

    def __str__(self) -> str:
        if not self.n:
            return "no images"
        low, high = self.interval
        return f"{self.rate:.1%} ({self.k}/{self.n}, {low:.1%}–{high:.1%})"


@dataclass(frozen=True)
class AttackSuccess:
    """One cell of an attack success table.

    Attributes:
        network: the network that read the images.
        role: whether the search queried it.
        method: how marks were placed.
        basis: which images count.
        condition: whether only images that fooled the sources count.
        proportion: misread images among those that count.
    """

    network: str
    role: Literal["source", "target"]
    method: Method
    basis: Basis
    condition: Condition
    proportion: Proportion


@dataclass(frozen=True)
class GradeSuccess:
    """Attack success of one network on the images of one class (`searched` marks, per-model basis)."""

    network: str
    grade: str
    proportion: Proportion


def attack_success(
    labels: npt.NDArray[np.int64],
    clean: npt.NDArray[np.int64],
    marked: npt.NDArray[np.int64],
    among: npt.NDArray[np.bool_],
) -> Proportion:
    """Attack success rate: misread after marking, among images read correctly before.

    Source: the paper's definition of ASR (READINGS 13).

    Args:
        labels: (n,) true class.
        clean: (n,) predicted class of the clean image.
        marked: (n,) predicted class of the marked image.
        among: (n,) further restriction of the images that count.

    Returns:
        k misread of n counted.
    """
    counted = (clean == labels) & among
    return Proportion(int((counted & (marked != labels)).sum()), int(counted.sum()))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Exact two-sided McNemar test of two methods on the same images.

    Args:
        first: success of the first method, per image.
        second: success of the second method, per image, in the same order.

    Returns:
        p value; 1.0 where the methods never differ.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    gained, lost = int((a & ~b).sum()), int((~a & b).sum())
    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
