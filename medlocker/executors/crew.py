"""Hand tasks to workers that may die: who does what, what is done again, and when to give up.

Two ways to have workers share this bookkeeping, processes and Ray actors. Each is a `Hands`: numbered places that a
worker fills, and a stream of events. A place whose worker is lost gets a new one; the tasks it was at go to whoever is
free first, so a lost worker costs no more than those.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from medlocker.errors import MedLockerError, WorkerError
from medlocker.executors.base import Answer

PATIENCE = 60.0
"""Seconds without any worker after which the user is told what is waited for."""
MAX_ATTEMPTS = 5
"""Workers that may die over the same tasks before the job stops."""
MAX_LOSSES = 5
"""Workers a place that may die in a row, none having finished anything, before the job stops."""


@dataclass(frozen=True)
class Ready:
    """A place has a worker that takes tasks."""

    place: int


@dataclass(frozen=True)
class Done:
    """A worker has answered."""

    place: int
    answer: Answer[Any]


@dataclass(frozen=True)
class Failed:
    """A worker cannot be made; the job cannot go on."""

    place: int
    error: MedLockerError


@dataclass(frozen=True)
class Lost:
    """A place lost its worker; another is on its way."""

    place: int
    reason: str


Event = Ready | Done | Failed | Lost


class Hands(Protocol):
    """Places for workers.

    Attributes:
        places: how many.
        chunk: tasks that a worker gets at once.
    """

    places: int
    chunk: int

    def give(self, place: int, tasks: Sequence[Any]) -> None:
        """Give tasks to the worker of a place; it has answered the ones before."""
        ...

    def events(self, timeout: float) -> Sequence[Event]:
        """What happened, at least one event, or none after so many seconds."""
        ...

    def waiting_for(self) -> str:
        """Why there is no worker, in words."""
        ...

    def close(self) -> None:
        """Let every worker go."""
        ...


@dataclass(eq=False)
class _Chunk:
    tasks: tuple[Any, ...]
    attempts: int = 0


@dataclass(eq=False)
class _Crew:
    hands: Hands
    tasks: Iterator[Any]
    say: Callable[[str], None]
    free: deque[int] = field(default_factory=deque)
    at_work: dict[int, _Chunk] = field(default_factory=dict)
    again: deque[_Chunk] = field(default_factory=deque)
    losses: int = 0

    def run(self) -> Iterator[Any]:
        while self._hand_out():
            events = self.hands.events(PATIENCE)
            if not events and not self.at_work:
                self.say(f"waiting for workers: {self.hands.waiting_for()}")
            for event in events:
                yield from self._meet(event)

    def _hand_out(self) -> bool:
        """Give every free worker something; whether anything is left to wait for."""
        while self.free:
            chunk = self._next()
            if chunk is None:
                return bool(self.at_work)
            place = self.free.popleft()
            self.at_work[place] = chunk
            self.hands.give(place, chunk.tasks)
        return True

    def _next(self) -> _Chunk | None:
        if self.again:
            return self.again.popleft()
        tasks = tuple(islice(self.tasks, self.hands.chunk))
        return _Chunk(tasks) if tasks else None

    def _meet(self, event: Event) -> Iterator[Any]:
        match event:
            case Ready(place):
                self.free.append(place)
            case Done(place, given):
                del self.at_work[place]
                self.losses = 0
                self.free.append(place)
                yield from given.results
                if given.error:
                    raise given.error
            case Failed(_, error):
                raise error
            case Lost(place, reason):
                self._lost(place, reason)

    def _lost(self, place: int, reason: str) -> None:
        if place in self.free:
            self.free.remove(place)
        chunk = self.at_work.pop(place, None)
        self.losses += 1
        if chunk is not None:
            chunk.attempts += 1
            self.again.append(chunk)
        if (chunk and chunk.attempts >= MAX_ATTEMPTS) or self.losses >= MAX_LOSSES * self.hands.places:
            raise WorkerError(
                f"workers keep dying, {chunk.attempts if chunk else self.losses} in a row",
                why=reason,
                fix="most often memory ran out: give fewer --workers or a smaller --batch-size to the same command",
            )
        what = f", {len(chunk.tasks)} of the images are done again" if chunk else ""
        self.say(f"a worker was lost and is replaced{what}: {reason}")


def run_crew(hands: Hands, tasks: Iterable[Any], say: Callable[[str], None]) -> Iterator[Any]:
    """Have every task done.

    Args:
        hands: who does it; let go at the end, also after an error.
        tasks: drawn only as workers come free.
        say: told of losses and of waiting.

    Yields:
        Results, as they come.

    Raises:
        MedLockerError: a task's own error; `WorkerError` when workers keep dying.
    """
    with closing(hands):
        yield from _Crew(hands, iter(tasks), say).run()
