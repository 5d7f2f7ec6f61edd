"""Placement without a search: the bar that a search has to clear at equal queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medlocker.search.space import Individuals, Scores, SearchSpace


@dataclass(frozen=True)
class RandomState:
    """How many batches have been scored.

    Attributes:
        generation: batches scored, −1 before the first.
        remaining: individuals still to ask for.
    """

    generation: int
    remaining: int

    @property
    def finished(self) -> bool:
        """Whether the budget is spent."""
        return self.remaining <= 0


@dataclass(frozen=True)
class RandomPlacement:
    """The best of `budget` individuals drawn uniformly from the feasible set.

    Attributes:
        budget: individuals drawn.
        batch: individuals asked for at a time.
    """

    budget: int = 650
    batch: int = 50

    @property
    def max_queries(self) -> int:
        """The budget."""
        return self.budget

    def init(self) -> RandomState:
        """Nothing drawn yet."""
        return RandomState(-1, self.budget)

    def ask(self, state: RandomState, space: SearchSpace, rng: np.random.Generator) -> Individuals:
        """The next draws."""
        return space.sample(rng, min(self.batch, state.remaining))

    def tell(self, state: RandomState, asked: Individuals, scores: Scores, rng: np.random.Generator) -> RandomState:
        """Count them."""
        return RandomState(state.generation + 1, state.remaining - len(asked))
