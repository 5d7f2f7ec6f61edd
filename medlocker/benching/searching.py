"""`medlocker bench search`: the whole of a protect job against the bare forward pass of its networks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import torch

from medlocker.benching.comparing import BenchResult, in_turns, result
from medlocker.benching.synthetic import scene
from medlocker.concurrency import one_core_threads
from medlocker.fitness import Ensemble
from medlocker.protecting import ProtectSettings

BATCH_SIZES = (8, 16, 32, 64, 128)
TRIALS = 2
FORWARD_SECONDS = 1.0
"""About how long one measurement of the bare forward pass takes."""


def bench_search(ensemble: Ensemble, seconds: float, *, images: int = 4, side: int = 512) -> BenchResult:
    """Queries a second of `protect`, from the files that are read to the sealed vault, by forward passes a second.

    The forward pass is that of the same networks in the arithmetic the search uses, on inputs that lie ready, at
    the best of five batch sizes, either on all cores at once or on one core a batch.

    Args:
        ensemble: the sources.
        seconds: about how long to measure.
        images: photographs of one job.
        side: px of a photograph.
    """
    fast = ensemble.searching()
    trials = {way: [] for way in _ways(fast)}  # type: dict[tuple[int, int], list[float]]
    for _ in range(TRIALS):
        for (batch_size, streams), rates in trials.items():
            rates.append(forward_rate(fast, batch_size, streams))
    best = max(trials, key=lambda way: statistics.median(trials[way]))
    numbers = count()
    with scene(images, side) as made:

        def search_rate() -> float:
            started = time.perf_counter()
            _, protection = made.protect(ensemble, ProtectSettings(), f"release-{next(numbers)}")
            return sum(i.public.queries for i in protection.images) / (time.perf_counter() - started)

        search_rate()
        rounds = in_turns(search_rate, lambda: forward_rate(fast, *best), seconds)
    return result(
        "search",
        "queries a second of a whole protect job by rows a second of the bare forward pass at its best",
        rounds,
        networks=[m.name for m in ensemble.members],
        runtime=[m.runtime for m in ensemble.members],
        queries_per_second=statistics.median(rounds.first),
        forward_per_second=statistics.median(rounds.second),
        best_forward={"batch_size": best[0], "streams": best[1]},
        images=images,
        image_side=side,
    )


def _ways(ensemble: Ensemble) -> list[tuple[int, int]]:
    """(batch size, streams); one stream uses all cores for each operation."""
    cores = torch.get_num_threads() if ensemble.device.type == "cpu" else 1
    return [(size, streams) for size in BATCH_SIZES for streams in sorted({1, cores})]


def forward_rate(ensemble: Ensemble, batch_size: int, streams: int) -> float:
    """Rows a second through all members, on inputs that lie ready.

    Args:
        ensemble: in the arithmetic to measure.
        batch_size: rows of one forward pass.
        streams: 1 for one pass at a time on all cores; more for so many at once, on one core each.
    """
    inputs = {
        p: torch.randn(batch_size, 3, p.input_size, p.input_size, device=ensemble.device)
        for p in ensemble.preprocessings
    }

    def once() -> None:
        ensemble.probabilities(inputs).cpu()

    if streams == 1:
        return batch_size * _rate(once)
    with one_core_threads(streams) as pool:
        return batch_size * _pooled_rate(once, pool, streams)


def _rate(once: Callable[[], None]) -> float:
    once()
    started, passes = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < FORWARD_SECONDS or not passes:
        once()
        passes += 1
    return passes / elapsed


def _pooled_rate(once: Callable[[], None], pool: ThreadPoolExecutor, streams: int) -> float:
    list(pool.map(lambda _: once(), range(2 * streams)))
    return sum(pool.map(lambda _: _rate(once), range(streams)))
