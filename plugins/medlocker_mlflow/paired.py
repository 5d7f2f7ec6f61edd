"""Statistics of two methods on the same images, beyond the test itself (`medlocker.metrics.mcnemar`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medlocker.metrics import Proportion

Flags = npt.NDArray[np.bool_]


def difference_interval(first: Flags, second: Flags) -> tuple[float, float]:
    """95 % interval of the difference of two paired proportions, first minus second.

    Source: Newcombe, Statistics in Medicine 17 (1998) 2635, method 10: Wilson intervals of both, squared and added,
    with the correlation of the pairs.

    Args:
        first: (n,) bool, n at least 1.
        second: (n,) bool, of the same images.

    Returns:
        (low, high) in −1 … 1.
    """
    one, two = (Proportion(int(flags.sum()), len(flags)) for flags in (first, second))
    below_one, above_one = one.rate - one.interval[0], one.interval[1] - one.rate
    below_two, above_two = two.rate - two.interval[0], two.interval[1] - two.rate
    correlation, gap = _correlation(first, second), one.rate - two.rate
    down = below_one**2 - 2 * correlation * below_one * above_two + above_two**2
    up = above_one**2 - 2 * correlation * above_one * below_two + below_two**2
    return gap - math.sqrt(max(down, 0.0)), gap + math.sqrt(max(up, 0.0))


def _correlation(first: Flags, second: Flags) -> float:
    """Phi of the 2 × 2 table, a positive one with Newcombe's continuity correction; 0 where it is not defined."""
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_one, only_two = int((first & ~second).sum()), int((~first & second).sum())
    margins = (both + only_one) * (only_two + neither) * (both + only_two) * (only_one + neither)
    if not margins:
        return 0.0
    numerator = float(both * neither - only_one * only_two)
    if numerator > 0:
        numerator = max(numerator - len(first) / 2, 0.0)
    return numerator / math.sqrt(margins)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: the chance of any false alarm among all tests stays below the level.

    Args:
        p_values: of all tests that are looked at together.

    Returns:
        Adjusted values in the same order, at most 1.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
