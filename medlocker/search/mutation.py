"""How offspring are mutated: basin hopping (Eq. 4) and the two random baselines (READINGS 21)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from medlocker.search.space import Individuals, Scores, SearchSpace


@dataclass(frozen=True, eq=False)
class Walk:
    """Where the hops of one generation stand.

    Attributes:
        current: (n, 3) accepted points.
        current_score: (n,) their fitness.
        best: (n, 3) best points seen, the start included.
        best_score: (n,) their fitness.
        hops: hops scored so far.
    """

    current: Individuals
    current_score: Scores
    best: Individuals
    best_score: Scores
    hops: int = 0

    @classmethod
    def start(cls, individuals: Individuals, scores: Scores) -> Walk:
        """A walk that has not hopped yet."""
        return cls(individuals, scores, individuals, scores)


class Mutation(Protocol):
    """A mutation operator; `scored_hops` says how many of its moves the sources are asked about."""

    @property
    def scored_hops(self) -> int: ...

    def move(self, individuals: Individuals, space: SearchSpace, rng: np.random.Generator) -> Individuals:
        """The next points to look at, (n, 3), from the current ones."""
        ...

    def accept(self, walk: Walk, moved: Individuals, scores: Scores, rng: np.random.Generator) -> Walk:
        """The walk after the moved points were scored."""
        ...


@dataclass(frozen=True)
class BasinHopping:
    """Metropolis hops; the mutated individual is the best point seen.

    Source: Eq. 4, READINGS 8: N_iter hops at an explicit temperature, no local minimiser (with whole-number genes the
    gradient that SciPy's default minimiser estimates is zero).

    Attributes:
        iterations: the paper's N_iter.
        step: the paper's s.
        temperature: of the Metropolis criterion, in units of fitness (a probability).
    """

    iterations: int = 3
    step: float = 10.0
    temperature: float = 1.0

    @property
    def scored_hops(self) -> int:
        """Every hop is a query."""
        return self.iterations

    def move(self, individuals: Individuals, space: SearchSpace, rng: np.random.Generator) -> Individuals:
        """One step of size s."""
        return space.step(individuals, rng, self.step)

    def accept(self, walk: Walk, moved: Individuals, scores: Scores, rng: np.random.Generator) -> Walk:
        """Accept a worse point with probability exp(−Δf / T); remember the best."""
        rise = np.maximum(scores - walk.current_score, 0.0)
        accepted = rng.random(len(scores)) < np.exp(-rise / self.temperature)
        better = scores < walk.best_score
        return Walk(
            np.where(accepted[:, None], moved, walk.current),
            np.where(accepted, scores, walk.current_score),
            np.where(better[:, None], moved, walk.best),
            np.where(better, scores, walk.best_score),
            walk.hops + 1,
        )


class _Unscored:
    """A mutation that asks nothing of the sources."""

    scored_hops = 0

    def accept(self, walk: Walk, moved: Individuals, scores: Scores, rng: np.random.Generator) -> Walk:
        """Never needed: nothing is scored."""
        return replace(walk, current=moved, current_score=scores)


@dataclass(frozen=True)
class UniformResample(_Unscored):
    """Baseline: the mutated individual is drawn anew, uniform over the feasible set."""

    def move(self, individuals: Individuals, space: SearchSpace, rng: np.random.Generator) -> Individuals:
        """Fresh individuals, one for each."""
        return space.sample(rng, len(individuals))


@dataclass(frozen=True)
class RandomWalk(_Unscored):
    """Baseline: as many steps of the same size as basin hopping takes, none of them scored.

    Attributes:
        iterations: steps.
        step: the paper's s.
    """

    iterations: int = 3
    step: float = 10.0

    def move(self, individuals: Individuals, space: SearchSpace, rng: np.random.Generator) -> Individuals:
        """The end of the walk."""
        for _ in range(self.iterations):
            individuals = space.step(individuals, rng, self.step)
        return individuals
