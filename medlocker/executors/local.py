"""Work in this process, in one stream or in threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from medlocker.errors import is_out_of_memory
from medlocker.executors.base import Recipe, out_of_memory

T = TypeVar("T")
R = TypeVar("R")


class InProcess:
    """One worker, here; it sees all tasks as one stream and overlaps them as it likes."""

    def run(self, recipe: Recipe[T, R], secret: bytes, tasks: Iterable[T]) -> Iterator[R]:
        """Do every task; see `Executor`."""
        try:
            yield from recipe.worker(secret).run(tasks)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise out_of_memory(error) from error


class Threads:
    """One worker whose tasks run in several threads, for work that is mostly decoding; results keep their order.

    Args:
        workers: threads.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, recipe: Recipe[T, R], secret: bytes, tasks: Iterable[T]) -> Iterator[R]:
        """Do every task; see `Executor`. The worker must not mind being used by several threads at once."""
        worker = recipe.worker(secret)
        with ThreadPoolExecutor(self.workers) as pool:
            for results in pool.map(lambda task: list(worker.run([task])), tasks):
                yield from results
