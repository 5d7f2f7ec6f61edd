"""The evolution strategy of the paper (Eq. 4–6), as ask and tell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from medlocker.errors import SettingsError
from medlocker.search.mutation import Mutation, Walk
from medlocker.search.space import Individuals, Scores, SearchSpace


class SearchState(Protocol):
    """What every search can say of itself."""

    @property
    def generation(self) -> int: ...
    @property
    def finished(self) -> bool: ...


S = TypeVar("S", bound=SearchState)


class Search(Protocol[S]):
    """A search: it asks for individuals, is told their fitness, and never sees an image or a network."""

    @property
    def max_queries(self) -> int:
        """Individuals asked for in a whole run."""
        ...

    def init(self) -> S:
        """The state before the first question."""
        ...

    def ask(self, state: S, space: SearchSpace, rng: np.random.Generator) -> Individuals:
        """The next individuals to score, (n, 3)."""
        ...

    def tell(self, state: S, asked: Individuals, scores: Scores, rng: np.random.Generator) -> S:
        """The state after their fitness is known; `state` is not changed."""
        ...


@dataclass(frozen=True, eq=False)
class EvolutionState:
    """Where an evolution stands.

    Attributes:
        generation: generations completed; −1 before the first population is scored.
        total: generations to run.
        parents: (N_p, 3) X.
        fitness: (N_p,) f(X).
        walk: the hops of the running generation.
    """

    generation: int
    total: int
    parents: Individuals
    fitness: Scores
    walk: Walk

    @property
    def finished(self) -> bool:
        """Whether every generation has been selected."""
        return self.generation >= self.total


@dataclass(frozen=True)
class Evolution:
    """Population search: mutate (Eq. 4), cross over (Eq. 5), select each child against its parent (Eq. 6).

    Attributes:
        mutation: basin hopping in the paper; a random one in its baselines.
        population: the paper's N_p.
        generations: the paper's N_g.
        crossover_rate: the paper's CR.
    """

    mutation: Mutation
    population: int = 50
    generations: int = 3
    crossover_rate: float = 0.9

    def __post_init__(self) -> None:
        if self.population < 1 or self.generations < 0 or not 0 <= self.crossover_rate <= 1:
            raise SettingsError(
                f"population {self.population}, generations {self.generations}, crossover rate {self.crossover_rate}",
                why="a population has at least one member, and the crossover rate lies in 0 to 1",
            )

    @property
    def max_queries(self) -> int:
        """N_p + N_g · (N_p · N_iter + N_p); 650 with the paper's settings."""
        return self.population * (1 + self.generations * (self.mutation.scored_hops + 1))

    def init(self) -> EvolutionState:
        """No population yet."""
        nobody, nothing = np.empty((0, 3), dtype=np.int64), np.empty(0)
        return EvolutionState(-1, self.generations, nobody, nothing, Walk.start(nobody, nothing))

    def ask(self, state: EvolutionState, space: SearchSpace, rng: np.random.Generator) -> Individuals:
        """The first population, the next hop, or the children."""
        if state.generation < 0:
            return space.sample(rng, self.population)
        if state.walk.hops < self.mutation.scored_hops:
            return self.mutation.move(state.walk.current, space, rng)
        mutated = state.walk.best if self.mutation.scored_hops else self.mutation.move(state.parents, space, rng)
        return space.crossover(state.parents, mutated, self.crossover_rate, rng)

    def tell(
        self, state: EvolutionState, asked: Individuals, scores: Scores, rng: np.random.Generator
    ) -> EvolutionState:
        """Take the first population, accept or refuse a hop, or select."""
        if state.generation < 0:
            return EvolutionState(0, self.generations, asked, scores, Walk.start(asked, scores))
        if state.walk.hops < self.mutation.scored_hops:
            return replace(state, walk=self.mutation.accept(state.walk, asked, scores, rng))
        selected = scores <= state.fitness
        parents = np.where(selected[:, None], asked, state.parents)
        fitness = np.where(selected, scores, state.fitness)
        return EvolutionState(state.generation + 1, self.generations, parents, fitness, Walk.start(parents, fitness))
