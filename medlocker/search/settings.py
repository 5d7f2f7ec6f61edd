"""The searches by name, and the settings they share."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medlocker.search.baselines import RandomPlacement
from medlocker.search.evolution import Evolution, Search
from medlocker.search.mutation import BasinHopping, RandomWalk, UniformResample
from medlocker.search.surrogate import SurrogateSearch

SearchName = Literal["basin_hopping", "random_mutation", "random_walk", "random", "surrogate"]
SEARCH_NAMES: tuple[SearchName, ...] = get_args(SearchName)
BUDGETED: tuple[SearchName, ...] = ("random", "surrogate")
"""Searches whose number of queries is chosen directly."""
SURROGATE_BUDGET = 200


class SearchSettings(BaseModel):
    """Settings of a search; the defaults are the paper's (READINGS, paper settings).

    Attributes:
        name: which search.
        population: N_p.
        generations: N_g.
        crossover_rate: CR.
        iterations: N_iter, hops of one mutation.
        step: s.
        temperature: of the Metropolis criterion (READINGS 8).
        budget: individuals of `random` (None for as many as basin hopping asks for with the same settings) or of
            `surrogate` (None for 200); the other searches take none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: SearchName = "basin_hopping"
    population: Annotated[int, Field(ge=1, le=100_000)] = 50
    generations: Annotated[int, Field(ge=0, le=10_000)] = 3
    crossover_rate: Annotated[float, Field(ge=0, le=1)] = 0.9
    iterations: Annotated[int, Field(ge=1, le=1000)] = 3
    step: Annotated[float, Field(gt=0, le=1000)] = 10.0
    temperature: Annotated[float, Field(gt=0)] = 1.0
    budget: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _budget_is_read(self) -> SearchSettings:
        if self.budget is not None and self.name not in BUDGETED:
            raise ValueError(f"{self.name} takes no budget: population, generations and iterations decide its queries")
        return self


def build_search(settings: SearchSettings) -> Search[Any]:
    """The search a user named.

    Args:
        settings: name and parameters.

    Returns:
        A search ready for `init`.
    """

    def evolution(mutation: BasinHopping | UniformResample | RandomWalk) -> Evolution:
        return Evolution(mutation, settings.population, settings.generations, settings.crossover_rate)

    hopping = evolution(BasinHopping(settings.iterations, settings.step, settings.temperature))
    match settings.name:
        case "basin_hopping":
            return hopping
        case "random_mutation":
            return evolution(UniformResample())
        case "random_walk":
            return evolution(RandomWalk(settings.iterations, settings.step))
        case "random":
            return RandomPlacement(settings.budget or hopping.max_queries, settings.population)
        case "surrogate":
            return SurrogateSearch(settings.budget or SURROGATE_BUDGET)
