"""A Gaussian process over past answers: what a place not yet asked about is likely to give, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular

Array = npt.NDArray[np.float64]


def matern(first: Array, second: Array) -> Array:
    """Matérn 5/2 kernel between the rows of (n, d) and (m, d), lengths already divided by the length scale."""
    squared = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    distance = np.sqrt(5 * np.maximum(squared, 0.0))
    return np.asarray((1 + distance + distance**2 / 3) * np.exp(-distance))


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """Posterior after some answers.

    Attributes:
        inputs: (n, d) points asked about, in units of the length scales.
        factor: (n, n) lower Cholesky factor of kernel plus noise.
        whitened: (n,) the factor's solution of the centred answers.
        mean: of the answers.
        variance: of the process.
        lengths: (d,) length scales.
        likelihood: log marginal likelihood, up to a constant.
    """

    inputs: Array
    factor: Array
    whitened: Array
    mean: float
    variance: float
    lengths: Array
    likelihood: float

    @classmethod
    def fit(cls, points: Array, answers: Array, lengths: Array, noise: float) -> GaussianProcess:
        """Condition on answers; mean and variance are the most likely ones for these length scales.

        Args:
            points: (n, d).
            answers: (n,).
            lengths: (d,) length scales.
            noise: variance of an answer beyond what the kernel explains, relative to the process's.
        """
        inputs = points / lengths
        factor = cholesky(matern(inputs, inputs) + noise * np.eye(len(inputs)), lower=True)
        ones = solve_triangular(factor, np.ones(len(inputs)), lower=True)
        plain = solve_triangular(factor, answers, lower=True)
        mean = float(ones @ plain / (ones @ ones))
        whitened = plain - mean * ones
        variance = max(float(whitened @ whitened) / len(inputs), 1e-12)
        likelihood = -0.5 * len(inputs) * np.log(variance) - float(np.log(np.diag(factor)).sum())
        return cls(inputs, factor, whitened, mean, variance, lengths, likelihood)

    @classmethod
    def most_likely(cls, points: Array, answers: Array, choices: Iterable[Array], noise: float) -> GaussianProcess:
        """The fit whose length scales explain the answers best; of equal ones the first."""
        return max((cls.fit(points, answers, lengths, noise) for lengths in choices), key=lambda p: p.likelihood)

    def predict(self, points: Array) -> tuple[Array, Array, Array]:
        """Posterior at new points.

        Args:
            points: (m, d).

        Returns:
            mean (m,); variance (m,) in units of the process's; and (n, m) the whitened kernel, from which `Batch`
            updates the variance.
        """
        cross = solve_triangular(self.factor, matern(self.inputs, points / self.lengths), lower=True)
        spread = np.maximum(1 - (cross**2).sum(0), 1e-12)
        return self.mean + cross.T @ self.whitened, spread, cross

    def choose(self, points: Array, n: int, caution: float, noise: float) -> list[int]:
        """Pick points one after the other by the lowest mean − caution · deviation.

        After each pick the deviations shrink as if it had been answered, so that a batch does not crowd in one place
        (Gaussian process batch upper confidence bound: Desautels, Krause and Burdick 2014).

        Args:
            points: (m, d) to choose from.
            n: how many, at most m.
            caution: 0 goes by the mean alone.
            noise: as in `fit`.

        Returns:
            Distinct indices.
        """
        mean, spread, cross = self.predict(points)
        scaled, bonus, chosen = points / self.lengths, caution * float(np.sqrt(self.variance)), list[int]()
        known, n = len(self.inputs), min(n, len(points))
        cross = np.concatenate([cross, np.empty((n, len(points)))])
        for rank in range(known, known + n):
            pick = int((mean - bonus * np.sqrt(spread)).argmin())
            chosen.append(pick)
            covariance = matern(scaled[[pick]], scaled)[0] - cross[:rank, pick] @ cross[:rank]
            cross[rank] = covariance / np.sqrt(spread[pick] + noise)
            spread = np.maximum(spread - cross[rank] ** 2, 1e-12)
            mean[pick] = np.inf
        return chosen
