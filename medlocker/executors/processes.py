"""Workers in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from medlocker.errors import MedLockerError
from medlocker.executors.base import Answer, Recipe, Worker, answer, pin_threads
from medlocker.executors.crew import Done, Event, Failed, Lost, Ready, run_crew

T = TypeVar("T")
R = TypeVar("R")

SECONDS_TO_LEAVE = 2.0
"""How long a process may take to end on its own."""


class Processes:
    """Several worker processes, kept from one part of a job to the next; each holds the networks itself.

    Args:
        workers: how many.
        threads: of numerical libraries, in each.
        say: told of lost workers.
    """

    def __init__(self, workers: int, threads: int, say: Callable[[str], None]) -> None:
        self.workers, self.threads, self._say = workers, threads, say
        self._kept: dict[int, _Process] = {}

    def run(self, recipe: Recipe[T, R], secret: bytes, tasks: Iterable[T]) -> Iterator[R]:
        """Do every task; see `Executor`."""
        pool = _Pool(self.workers, self._kept, (recipe, secret, self.threads))
        yield from run_crew(pool, tasks, self._say)

    def close(self) -> None:
        """End the processes."""
        for process in self._kept.values():
            process.end()
        self._kept.clear()


@dataclass(eq=False)
class _Process:
    """A worker process and our end of the pipe to it."""

    process: SpawnProcess
    pipe: Connection
    busy: bool = False

    @classmethod
    def start(cls) -> _Process:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def send(self, *message: Any) -> None:
        self.busy = True
        try:
            self.pipe.send(message)
        except OSError:
            # It has died; the end of its pipe is met as an event.
            return

    def end(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join(SECONDS_TO_LEAVE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class _Pool:
    """Processes behind pipes. The secret goes through a pipe, never through a file or the command line.

    Args:
        places: how many processes.
        kept: those that run already; new ones are added.
        start_with: recipe, secret and threads.
    """

    chunk = 1

    def __init__(self, places: int, kept: dict[int, _Process], start_with: tuple[Any, ...]) -> None:
        self.places = places
        self._processes, self._start_with = kept, start_with
        self._making = set(range(places))
        for place in range(places):
            if place not in kept:
                kept[place] = _Process.start()
            kept[place].send("make", *start_with)

    def give(self, place: int, tasks: Sequence[Any]) -> None:
        self._processes[place].send("work", tuple(tasks))

    def events(self, timeout: float) -> Sequence[Event]:
        places = {process.pipe: place for place, process in self._processes.items()}
        return [self._event(places[pipe]) for pipe in wait(list(places), timeout) if isinstance(pipe, Connection)]

    def _event(self, place: int) -> Event:
        process = self._processes[place]
        try:
            message = process.pipe.recv()
        except (EOFError, OSError):
            return self._replaced(place)
        process.busy = False
        if isinstance(message, MedLockerError):
            return Failed(place, message)
        if place in self._making:
            self._making.remove(place)
            return Ready(place)
        return Done(place, Answer(*message))

    def _replaced(self, place: int) -> Lost:
        dead = self._processes[place]
        dead.process.join(SECONDS_TO_LEAVE)
        dead.end()
        self._making.add(place)
        self._processes[place] = _Process.start()
        self._processes[place].send("make", *self._start_with)
        return Lost(place, _cause(dead.process.exitcode))

    def waiting_for(self) -> str:
        return f"{len(self._making)} processes are starting"

    def close(self) -> None:
        for place, process in list(self._processes.items()):
            if process.busy:
                process.end()
                del self._processes[place]


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        killed = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{killed}"
    return f"its process ended with code {exit_code}"


def _serve(pipe: Connection) -> None:
    """A worker process: make a worker, answer tasks, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers.
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    worker: Worker[Any, Any] | None = None
    try:
        while True:
            what, *rest = pipe.recv()
            if what == "work" and worker is not None:
                pipe.send(tuple(answer(worker, rest[0])))
            else:
                worker = _made(pipe, *rest)
    except (EOFError, OSError):
        return


def _made(pipe: Connection, recipe: Recipe[Any, Any], secret: bytes, threads: int) -> Worker[Any, Any] | None:
    pin_threads(threads)
    try:
        worker = recipe.worker(secret)
    except MedLockerError as error:
        pipe.send(error)
        return None
    pipe.send(None)
    return worker


def _leave_with_parent() -> None:
    """End with the parent, however it ends: a killed job leaves nothing running."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
