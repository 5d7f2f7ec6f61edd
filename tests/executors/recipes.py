"""Work whose outcome is known, for executors; importable in worker processes, and without PyTorch."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medlocker.errors import DatasetError, ModelError

SECRET = b"a secret of the job, long enough"


@dataclass(frozen=True)
class Squaring:
    """Squares numbers; told to, its worker misbehaves.

    Attributes:
        folder: notes which process did what.
        dies_at: tasks that kill their worker when they are first met.
        always: whether they kill every worker that meets them.
        refuses: task that cannot be done.
        exhausted: task at which memory runs out.
        absent: whether no worker can be made.
        together: workers that must have come before any goes on.
        seconds: that a task takes.
        chunk: as `Recipe`.
    """

    folder: Path
    dies_at: tuple[int, ...] = ()
    always: bool = False
    refuses: int | None = None
    exhausted: int | None = None
    absent: bool = False
    together: int = 1
    seconds: float = 0.0
    chunk: int = 4

    def worker(self, secret: bytes) -> SquaringWorker:
        if self.absent:
            raise ModelError("net.safetensors: no such file", fix="check the path")
        assert secret == SECRET
        return SquaringWorker(self)


@dataclass(frozen=True)
class SquaringWorker:
    recipe: Squaring

    def run(self, tasks: Iterable[int]) -> Iterator[tuple[int, int]]:
        for task in tasks:
            time.sleep(self.recipe.seconds)
            met = self.recipe.folder / f"met-{task}"
            if task in self.recipe.dies_at and (self.recipe.always or not met.exists()):
                met.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if task == self.recipe.refuses:
                raise DatasetError(f"{task}.png: its pixels changed", why="someone edited it", fix="restore the file")
            if task == self.recipe.exhausted:
                raise MemoryError
            (self.recipe.folder / f"by-{os.getpid()}").touch()
            while len(list(self.recipe.folder.glob("by-*"))) < self.recipe.together:
                time.sleep(0.01)
            yield task, task * task
