"""Search with a memory: cover the feasible set, then ask where past answers promise most, then refine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medlocker.errors import SettingsError
from medlocker.search.coverage import spread
from medlocker.search.gaussian_process import GaussianProcess
from medlocker.search.space import Individuals, Scores, SearchSpace

POSITION_LENGTHS = (0.05, 0.1, 0.2)
"""Length scales to choose from, as shares of the image's side."""
ALPHA_LENGTHS = (0.35, 1.0)
"""Likewise, as shares of the range of α."""
NOISE = 1e-3
"""What the kernel need not explain, as a share of the variance of the log-odds."""
FARTHEST = 1e-6
"""Probabilities are clipped to this far from 0 and 1 before their log-odds are taken."""


@dataclass(frozen=True, eq=False)
class SurrogateState:
    """Every answer so far.

    Attributes:
        generation: batches answered, −1 before the first.
        remaining: individuals still to ask for.
        asked: (n, 3) individuals.
        scores: (n,) their fitness.
    """

    generation: int
    remaining: int
    asked: Individuals
    scores: Scores

    @property
    def finished(self) -> bool:
        """Whether the budget is spent."""
        return self.remaining <= 0


@dataclass(frozen=True)
class SurrogateSearch:
    """Coverage, then a Gaussian process over the log-odds of past answers.

    The first batch covers the feasible set evenly at the strongest α. Each later one is drawn from fresh individuals
    and neighbours of the best ones, by the lowest expected log-odds less a bonus for the unknown; the bonus fades, so
    that the last batches refine the best basins. Not the paper's: an answer to its finding no better places than plain
    random placement at equal queries (docs/results/search.md).

    Attributes:
        budget: individuals asked for.
        coverage: share of them in the first batch.
        batch: individuals of a later batch.
        caution: weight of the bonus in the second batch; it falls linearly to 0.
        pool: individuals each batch is chosen from.
    """

    budget: int = 200
    coverage: float = 0.4
    batch: int = 16
    caution: float = 2.0
    pool: int = 600

    def __post_init__(self) -> None:
        if not 0 < self.coverage <= 1 or self.budget < 1 or self.batch < 1:
            raise SettingsError(
                f"budget {self.budget}, coverage {self.coverage}, batch {self.batch}",
                why="a budget and a batch hold at least one individual, and the covering batch is a share above 0",
            )

    @property
    def max_queries(self) -> int:
        """The budget."""
        return self.budget

    def init(self) -> SurrogateState:
        """Nothing asked yet."""
        return SurrogateState(-1, self.budget, np.empty((0, 3), dtype=np.int64), np.empty(0))

    def ask(self, state: SurrogateState, space: SearchSpace, rng: np.random.Generator) -> Individuals:
        """The covering batch, or the most promising individuals."""
        if state.generation < 0:
            places = spread(space.positions, self._covering, rng)
            return np.column_stack([np.full(len(places), space.alpha_range[1]), places])
        candidates, wanted = self._candidates(state, space, rng), min(self.batch, state.remaining)
        if len(candidates) < wanted:
            return space.sample(rng, wanted)  # nearly everything is known; asking again costs nothing
        unit = _units(space)
        process = GaussianProcess.most_likely(state.asked / unit, _log_odds(state.scores), _length_choices(), NOISE)
        return candidates[process.choose(candidates / unit, wanted, self._caution(state), NOISE)]

    def tell(
        self, state: SurrogateState, asked: Individuals, scores: Scores, rng: np.random.Generator
    ) -> SurrogateState:
        """Remember the answers."""
        return SurrogateState(
            state.generation + 1,
            state.remaining - len(asked),
            np.concatenate([state.asked, asked]),
            np.concatenate([state.scores, scores]),
        )

    @property
    def _covering(self) -> int:
        return max(1, round(self.coverage * self.budget))

    def _caution(self, state: SurrogateState) -> float:
        """Weight of the bonus: full after the covering batch, 0 in the last one."""
        later = self.budget - self._covering - self.batch
        return self.caution * max(0.0, (state.remaining - self.batch) / later) if later > 0 else 0.0

    def _candidates(self, state: SurrogateState, space: SearchSpace, rng: np.random.Generator) -> Individuals:
        """Fresh individuals, half of them at the strongest α, and near and far neighbours of the best ones."""
        fresh = space.sample(rng, self.pool // 2)
        fresh[::2, 0] = space.alpha_range[1]
        best = state.asked[np.argsort(state.scores, kind="stable")[:10]]
        around = np.repeat(best, -(-self.pool // 4 // len(best)), axis=0)
        moved = [space.step(around, rng, size) for size in (4.0, 1.0)]
        moved[0][::2, 0] = around[::2, 0]
        together = np.unique(np.concatenate([fresh, *moved]), axis=0)
        known = {tuple(row) for row in state.asked.tolist()}
        return together[[tuple(row) not in known for row in together.tolist()]]


def _units(space: SearchSpace) -> npt.NDArray[np.float64]:
    """What one unit of each gene is: the range of α, the image's sides."""
    low, high = space.alpha_range
    return np.array([max(1, high - low), *space.image_size], dtype=np.float64)


def _log_odds(scores: Scores) -> npt.NDArray[np.float64]:
    clipped = np.clip(scores, FARTHEST, 1 - FARTHEST)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _length_choices() -> list[npt.NDArray[np.float64]]:
    return [np.array([alpha, place, place]) for place in POSITION_LENGTHS for alpha in ALPHA_LENGTHS]
