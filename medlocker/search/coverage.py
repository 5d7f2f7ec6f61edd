"""Positions spread evenly over a feasible set of any shape."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medlocker.search.space import Positions

POOL = 2048
"""Positions drawn to stand for the whole set."""
ROUNDS = 4
"""Rounds of Lloyd's algorithm; later ones move the centres by less than a pixel or two."""


def spread(positions: Positions, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Place n positions so that every feasible one is near one of them.

    Source: farthest-first traversal (Gonzalez 1985) of a uniform sample, evened out by Lloyd's algorithm; then the
    sampled position nearest to each centre. Low-discrepancy sequences fill squares; this fills whatever set is left
    between lesion boxes, and needs nothing but samples of it.

    Args:
        positions: the feasible set.
        n: how many, at least 1.
        rng: source of randomness.

    Returns:
        (m, 2) int64, feasible and distinct, m ≤ n: fewer only where the sample holds fewer distinct positions.
    """
    pool = np.unique(positions.sample(rng, POOL), axis=0)
    if len(pool) <= n:
        return pool
    centres = _farthest_first(pool, n, int(rng.integers(len(pool))))
    for _ in range(ROUNDS):
        nearest = squared_distances(pool, centres).argmin(1)
        counts = np.bincount(nearest, minlength=n)
        sums = np.stack([np.bincount(nearest, pool[:, axis], minlength=n) for axis in (0, 1)], axis=1)
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
    return np.unique(pool[squared_distances(pool, centres).argmin(0)], axis=0)


def _farthest_first(pool: npt.NDArray[np.int64], n: int, first: int) -> npt.NDArray[np.float64]:
    """(n, 2) of the pool: each the one farthest from those before it."""
    chosen, distance = [first], np.full(len(pool), np.inf)
    while len(chosen) < n:
        distance = np.minimum(distance, squared_distances(pool, pool[chosen[-1:]])[:, 0])
        chosen.append(int(distance.argmax()))
    return pool[chosen].astype(np.float64)


def squared_distances(first: npt.NDArray[np.generic], second: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """(n, m) squared Euclidean distances between the rows of (n, 2) and (m, 2)."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    return np.asarray((a[:, None, 0] - b[None, :, 0]) ** 2 + (a[:, None, 1] - b[None, :, 1]) ** 2)
