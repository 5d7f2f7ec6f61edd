"""What a search may choose: an opacity range and a set of feasible positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Individuals = npt.NDArray[np.int64]
"""(n, 3) int64 rows [α, x, y]."""
Scores = npt.NDArray[np.float64]
"""(n,) float64 fitness, lower is better."""


class Positions(Protocol):
    """A finite set of top-left positions (`medlocker.placement` has the real ones)."""

    @property
    def count(self) -> int: ...

    def sample(self, rng: np.random.Generator, n: int) -> npt.NDArray[np.int64]:
        """(n, 2) int64 positions [x, y], uniform over the set."""
        ...

    def contains(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """(n,) whether each position belongs to the set."""
        ...

    def reflect(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(n, 2) positions brought into the set: reflected at the edges, then moved to the nearest member."""
        ...


def reflect_interval(values: npt.NDArray[np.int64], low: int, high: int) -> npt.NDArray[np.int64]:
    """Reflect whole numbers at both ends of [low, high], however far out they are.

    Args:
        values: int64, any shape.
        low: smallest allowed value.
        high: largest allowed value, at least `low`.

    Returns:
        Same shape; −1 becomes 1 for low = 0, high + 1 becomes high − 1.
    """
    span = high - low
    if span == 0:
        return np.full_like(values, low)
    offset = np.mod(values - low, 2 * span)
    reflected: npt.NDArray[np.int64] = low + np.minimum(offset, 2 * span - offset)
    return reflected


@dataclass(frozen=True)
class SearchSpace:
    """The feasible individuals of one image.

    Attributes:
        positions: feasible top-left positions.
        alpha_range: smallest and largest α, 0–255.
        image_size: (W, H) px, the unit of the mutation step.
    """

    positions: Positions
    alpha_range: tuple[int, int]
    image_size: tuple[int, int]

    def sample(self, rng: np.random.Generator, n: int) -> Individuals:
        """n individuals, uniform over opacities and feasible positions."""
        low, high = self.alpha_range
        return np.column_stack([rng.integers(low, high + 1, n), self.positions.sample(rng, n)])

    def step(self, individuals: Individuals, rng: np.random.Generator, size: float) -> Individuals:
        """One mutation step.

        Source: the step s of Eq. 4, READINGS 9: α ± 2s, x ± 5s · W/224, y ± 5s · H/224, uniform on whole numbers;
        bounds by reflection.

        Args:
            individuals: (n, 3) feasible individuals.
            rng: source of randomness.
            size: the paper's s.

        Returns:
            (n, 3) feasible individuals.
        """
        reach = np.array([2 * size, 5 * size * self.image_size[0] / 224, 5 * size * self.image_size[1] / 224])
        limit = np.maximum(np.rint(reach).astype(np.int64), 1)
        return self.bring_inside(individuals + rng.integers(-limit, limit + 1, individuals.shape))

    def bring_inside(self, individuals: Individuals) -> Individuals:
        """Reflect opacities at their range and positions into the feasible set."""
        alpha = reflect_interval(individuals[:, 0], *self.alpha_range)
        return np.column_stack([alpha, self.positions.reflect(individuals[:, 1:])])

    def crossover(
        self, parents: Individuals, mutated: Individuals, rate: float, rng: np.random.Generator
    ) -> Individuals:
        """Take each gene from the mutated individual with probability `rate`, else from its parent.

        Source: Eq. 5. Where x of one and y of the other make an infeasible position, the position is the mutated
        one's, so that every gene still comes from one of the two (ours; the paper has no constraint at this point).

        Args:
            parents: (n, 3) X.
            mutated: (n, 3) M.
            rate: the paper's CR, 0–1.
            rng: source of randomness.

        Returns:
            (n, 3) C, feasible.
        """
        children = np.where(rng.random(parents.shape) <= rate, mutated, parents)
        feasible = self.positions.contains(children[:, 1:])
        children[~feasible, 1:] = mutated[~feasible, 1:]
        return children
