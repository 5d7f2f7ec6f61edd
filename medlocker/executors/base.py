"""The interface between a job and whatever does its work.

A job describes its work as a `Recipe`, which can be pickled and holds no secret. A worker is made from it wherever the
work is done, once, and keeps the networks it loads. Tasks are images, results come in any order and name their image.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from medlocker.errors import MedLockerError, WorkerError, is_out_of_memory

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Worker(Protocol[T_contra, R_co]):
    """Does tasks, in one process."""

    def run(self, tasks: Iterable[T_contra]) -> Iterator[R_co]:
        """Do tasks, drawn only as there is room for them.

        Yields:
            One result a task, as each is done. A task done twice gives the same result and the same files.

        Raises:
            MedLockerError: a task cannot be done.
        """
        ...


class Recipe(Protocol[T_contra, R_co]):
    """What a worker is made from. It is pickled and may be logged: it holds no secret.

    Attributes:
        chunk: tasks given to a worker at once where it runs on a GPU; on a CPU it gets one.
    """

    @property
    def chunk(self) -> int: ...

    def worker(self, secret: bytes) -> Worker[T_contra, R_co]:
        """Make a worker.

        Args:
            secret: what it needs besides; kept in memory only. Empty for work that needs none.

        Raises:
            MedLockerError: it cannot work here, e.g. a network is missing.
        """
        ...


class Executor(Protocol):
    """Has the tasks of a job done."""

    def run(self, recipe: Recipe[T, R], secret: bytes, tasks: Iterable[T]) -> Iterator[R]:
        """Do every task.

        Args:
            recipe: what workers are made from.
            secret: handed to each worker, in memory only.
            tasks: drawn only as there is room for them.

        Yields:
            One result a task, in any order; each is yielded before an error that followed it is raised.

        Raises:
            MedLockerError: a task cannot be done, or workers cannot be had.
        """
        ...


class Answer(NamedTuple, Generic[R]):
    """What came of some tasks.

    Attributes:
        results: of those that were done.
        error: what stopped the others.
    """

    results: tuple[R, ...]
    error: MedLockerError | None = None


def answer(worker: Worker[T, R], tasks: Sequence[T]) -> Answer[R]:
    """Do some tasks; an error a user can act on becomes part of the answer, with the results before it."""
    results: list[R] = []
    try:
        results.extend(worker.run(tasks))
    except MedLockerError as error:
        return Answer(tuple(results), error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return Answer(tuple(results), out_of_memory(error))
    return Answer(tuple(results))


def out_of_memory(error: BaseException) -> WorkerError:
    """The error for a worker whose memory ran out."""
    reason = str(error).splitlines()[0] if str(error) else None
    return WorkerError(
        "memory ran out", why=reason,
        fix="give a smaller --batch-size or fewer --workers; the same command with the other --workers goes on",
    )  # fmt: skip


def pin_threads(threads: int) -> None:
    """Keep numerical libraries of this process to so many threads: workers side by side must not compete."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
