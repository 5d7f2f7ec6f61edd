"""Measure two rates in turns, so that whatever else a machine does falls on both."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict

import medlocker

MIN_ROUNDS = 5
MAX_ROUNDS = 200


class BenchResult(BaseModel):
    """One benchmark, as it is printed.

    Attributes:
        benchmark: its name.
        ratio: median over rounds of one side's rate by the other's, or what `meaning` says.
        meaning: what is divided by what.
        n: rounds.
        spread: smallest, lower quartile, upper quartile and largest ratio of a round.
        details: medians of both sides with units, and the setting.
        environment: versions and hardware.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    ratio: float
    meaning: str
    n: int
    spread: tuple[float, float, float, float]
    details: dict[str, object]
    environment: dict[str, object]


@dataclass(frozen=True)
class Rounds:
    """What was measured, one value a round.

    Attributes:
        first: rates of the side that is judged.
        second: rates of the side it is judged by.
    """

    first: tuple[float, ...]
    second: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """First by second, round by round."""
        return [one / two for one, two in zip(self.first, self.second, strict=True)]


def in_turns(first: Callable[[], float], second: Callable[[], float], seconds: float) -> Rounds:
    """Measure two rates in turns, each going first every other time.

    Args:
        first: measures once, returns a rate.
        second: the other.
        seconds: stop after this long, but not before five rounds.
    """
    started = time.perf_counter()
    rates: tuple[list[float], list[float]] = ([], [])
    while len(rates[0]) < MIN_ROUNDS or (time.perf_counter() - started < seconds and len(rates[0]) < MAX_ROUNDS):
        order = (0, 1) if len(rates[0]) % 2 == 0 else (1, 0)
        for side in order:
            rates[side].append((first, second)[side]())
    return Rounds(tuple(rates[0]), tuple(rates[1]))


def spread(ratios: list[float]) -> tuple[float, float, float, float]:
    """Smallest, lower quartile, upper quartile, largest."""
    lower, _, upper = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else [ratios[0]] * 3
    return min(ratios), lower, upper, max(ratios)


def result(name: str, meaning: str, rounds: Rounds, **details: object) -> BenchResult:
    """What is printed of a comparison in rounds."""
    return BenchResult(
        benchmark=name,
        ratio=statistics.median(rounds.ratios),
        meaning=meaning,
        n=len(rounds.ratios),
        spread=spread(rounds.ratios),
        details=details,
        environment=environment(),
    )


def environment() -> dict[str, object]:
    """Versions and hardware that a figure depends on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "medlocker": medlocker.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": device,
        "system": platform.system(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - no Path of the user's
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
