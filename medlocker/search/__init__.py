"""Searches for a mark's opacity and position: ask and tell, without images, networks or files."""

from medlocker.search.baselines import RandomPlacement
from medlocker.search.evolution import Evolution, Search
from medlocker.search.mutation import BasinHopping, RandomWalk, UniformResample
from medlocker.search.settings import SearchName, SearchSettings, build_search
from medlocker.search.space import Individuals, Positions, Scores, SearchSpace
from medlocker.search.surrogate import SurrogateSearch

__all__ = [
    "BasinHopping",
    "Evolution",
    "Individuals",
    "Positions",
    "RandomPlacement",
    "RandomWalk",
    "Scores",
    "Search",
    "SearchName",
    "SearchSettings",
    "SearchSpace",
    "SurrogateSearch",
    "UniformResample",
    "build_search",
]
