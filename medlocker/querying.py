"""Run the searches of many images against the sources at once, with full batches and exact query counts.

Rows of one image follow each other (a hop needs the answer to the one before), rows of different images do not: the
engine keeps a few images in flight and hands batches to several streams at once, so that the sources never wait for a
search. On a CPU a stream is one core, and a batch holds rows of one image. A finished image leaves at once and the next
takes its place, so memory does not grow with the data set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from medlocker.blending import Placement
from medlocker.concurrency import one_core_threads
from medlocker.errors import OutOfMemoryError, is_out_of_memory
from medlocker.fitness import Ensemble, Objective
from medlocker.rendering import PreparedImage
from medlocker.search import Individuals, Scores, Search, SearchSpace

FITNESS_DECIMALS = 6
"""Fitness is rounded before the search sees it, so that float32 noise below this does not steer it."""


def image_generator(seed: int, image_id: str, purpose: str = "search") -> np.random.Generator:
    """Randomness of one image: the same whatever the batch, the worker or the order.

    Args:
        seed: the run's seed, at least 0.
        image_id: the record's id.
        purpose: separates independent uses of the same seed and image.
    """
    words = np.frombuffer(hashlib.sha256(f"{purpose}\0{image_id}".encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words.tolist()])))


@dataclass(frozen=True)
class Scored:
    """A placement and what the sources make of it.

    Attributes:
        placement: α, x, y.
        confidence: mean probability of the class to leave, f_t in 0–1.
        fooled: whether another class has the largest mean probability.
    """

    placement: Placement
    confidence: float
    fooled: bool


@dataclass(frozen=True, eq=False)
class SearchJob:
    """One image to search.

    Attributes:
        id: the record's id.
        image: on the query device.
        space: what the search may choose.
        label: the class to leave.
        rng: this image's own generator.
        search: the search it goes through.
    """

    id: str
    image: PreparedImage
    space: SearchSpace
    label: int
    rng: np.random.Generator
    search: Search[Any]


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found for one image.

    Attributes:
        id: the record's id.
        best: the placement with the lowest objective, in the paper's setting the lowest confidence.
        alternatives: the best distinct placements, best first; the first is `best`.
        queries: marked candidates the sources were asked about; none is asked twice.
        curve: lowest objective after the first population and after each generation.
    """

    id: str
    best: Scored
    alternatives: tuple[Scored, ...]
    queries: int
    curve: tuple[float, ...]


Probabilities = npt.NDArray[np.float64]
"""(n, 2, K), one row a candidate: mean probabilities, and the objective's value for each class."""


@dataclass(eq=False)
class _Running:
    """One image in flight."""

    job: SearchJob
    state: Any
    asked: Individuals = field(default_factory=lambda: np.empty((0, 3), dtype=np.int64))
    waiting: Individuals = field(default_factory=lambda: np.empty((0, 3), dtype=np.int64))
    sent: int = 0
    unanswered: int = 0
    answers: dict[tuple[int, ...], tuple[float, float, bool]] = field(default_factory=dict)
    curve: list[float] = field(default_factory=list)
    lowest: float = float("inf")

    def advance(self, stop_below: float | None) -> bool:
        """Tell and ask until rows wait for the sources; True when the search is over."""
        while not self.waiting[self.sent :].size and not self.unanswered:
            if len(self.asked):
                self._tell()
            if self.state.finished or (stop_below is not None and self.lowest < stop_below):
                return True
            self.asked = self.job.search.ask(self.state, self.job.space, self.job.rng)
            fresh = dict.fromkeys(key for key in map(tuple, self.asked.tolist()) if key not in self.answers)
            self.waiting, self.sent = np.array(list(fresh), dtype=np.int64).reshape(-1, 3), 0
        return False

    def _tell(self) -> None:
        scores: Scores = np.array([self.answers[key][0] for key in map(tuple, self.asked.tolist())])
        before = self.state.generation
        self.state = self.job.search.tell(self.state, self.asked, scores, self.job.rng)
        self.lowest = min(self.lowest, float(scores.min()))
        if self.state.generation > before:
            self.curve.append(self.lowest)

    @property
    def ready(self) -> int:
        """Rows that wait for the sources."""
        return len(self.waiting) - self.sent

    def take(self, room: int) -> Individuals:
        rows = self.waiting[self.sent : self.sent + room]
        self.sent += len(rows)
        self.unanswered += len(rows)
        return rows

    def answer(self, rows: Individuals, probabilities: Probabilities) -> None:
        confidence, fitness = probabilities[:, :, self.job.label].round(FITNESS_DECIMALS).T.tolist()
        fooled = (probabilities[:, 0].argmax(1) != self.job.label).tolist()
        self.answers |= zip(map(tuple, rows.tolist()), zip(fitness, confidence, fooled, strict=True), strict=True)
        self.unanswered -= len(rows)

    def result(self, keep: int) -> SearchResult:
        ranked = sorted(self.answers.items(), key=lambda item: (item[1][0], item[0]))
        scored = (Scored(Placement(*key), confidence, fooled) for key, (_, confidence, fooled) in ranked)
        kept = distinct(scored, self.job.image.mark.size, keep)
        return SearchResult(self.job.id, kept[0], kept, len(self.answers), tuple(self.curve))


def distinct(ranked: Iterable[Scored], mark_size: tuple[int, int], keep: int) -> tuple[Scored, ...]:
    """The first of a ranking whose footprints differ by at least a quarter of the mark in x or y.

    Args:
        ranked: best first.
        mark_size: (M', N') px.
        keep: how many at most.

    Returns:
        At most `keep`, at least one when `ranked` has one.
    """
    apart = (max(1, mark_size[0] // 4), max(1, mark_size[1] // 4))
    kept: list[Scored] = []
    for candidate in ranked:
        _, x, y = candidate.placement
        if all(abs(x - k.placement.x) >= apart[0] or abs(y - k.placement.y) >= apart[1] for k in kept):
            kept.append(candidate)
            if len(kept) == keep:
                break
    return tuple(kept)


class QueryEngine:
    """Feeds the sources batches of candidates from the images in flight.

    Args:
        ensemble: the sources.
        batch_size: rows of one forward pass at most. Where memory runs out it is halved, and stays so.
        objective: what the searches minimise; success is the mean probability's business whatever it is.
        stop_below: end an image's search once its objective is under this (READINGS 10); None runs the whole budget.
        keep: how many distinct placements of each image are kept.
        on_batch: told the number of rows answered, for progress.
        mix: whether rows of different images share batches, each padded to full size. On a CPU a row's answer depends
            on its neighbours in the last digits, so that a resumed run would not be byte-identical, and a batch of one
            image's rows is as fast: None mixes on other devices alone.
        streams: batches that are worked on at once; None for one a core on a CPU, and elsewhere for two, so that the
            device has the next batch when it finishes one.
        on_note: told in words when memory ran out.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        *,
        batch_size: int = 16,
        objective: Objective = "mean_probability",
        stop_below: float | None = None,
        keep: int = 8,
        on_batch: Callable[[int], None] | None = None,
        mix: bool | None = None,
        streams: int | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        on_cpu = ensemble.device.type == "cpu"
        self._ensemble, self._batch_size, self._objective = ensemble.searching(), batch_size, objective
        self._stop_below, self._keep, self._on_batch, self._on_note = stop_below, keep, on_batch, on_note
        self._mix = not on_cpu if mix is None else mix
        self._streams = streams or (torch.get_num_threads() if on_cpu else 2)

    def run(self, jobs: Iterable[SearchJob]) -> Iterator[SearchResult]:
        """Search every image.

        Args:
            jobs: drawn only as room comes free.

        Yields:
            One result an image, in the order in which searches end.

        Raises:
            OutOfMemoryError: not even a batch of one row fits.
        """
        source = iter(jobs)
        running: list[_Running] = []
        asked: dict[Future[Probabilities], list[_Part]] = {}
        with one_core_threads(self._streams) as pool:
            while True:
                while self._has_room(running, asked) and (job := next(source, None)):
                    started = _Running(job, job.search.init())
                    started.advance(self._stop_below)
                    running.append(started)
                self._ask(running, asked, pool)
                if not asked:
                    return
                for r in self._answered(asked):
                    if r.advance(self._stop_below):
                        running.remove(r)
                        yield r.result(self._keep)

    def _has_room(self, running: list[_Running], asked: dict[Future[Probabilities], list[_Part]]) -> bool:
        """Whether what is ready does not keep every stream busy, with one batch more for the next that comes free."""
        ready = [r.ready for r in running if r.ready]
        batches = sum(ready) // self._batch_size if self._mix else sum(-(-rows // self._batch_size) for rows in ready)
        return len(asked) + batches <= self._streams

    def _ask(
        self, running: list[_Running], asked: dict[Future[Probabilities], list[_Part]], pool: ThreadPoolExecutor
    ) -> None:
        while len(asked) <= self._streams and (parts := self._next_batch(running)):
            asked[pool.submit(self._score, parts)] = parts

    def _next_batch(self, running: list[_Running]) -> list[_Part]:
        room, parts = self._batch_size, []
        for r in running:
            if not r.ready or not room:
                continue
            # Rows of one image are shared out evenly: 50 rows become 13, 13, 12 and 12, not 16, 16, 16 and 2.
            rows = r.take(room if self._mix else -(-r.ready // -(-r.ready // room)))
            parts.append((r, rows))
            room = room - len(rows) if self._mix else 0
        return parts

    def _answered(self, asked: dict[Future[Probabilities], list[_Part]]) -> list[_Running]:
        """Hand answers that have come to their images; those which now wait for no other."""
        complete = []
        for future in wait(asked, return_when=FIRST_COMPLETED).done:
            probabilities, start = future.result(), 0
            for r, rows in asked.pop(future):
                r.answer(rows, probabilities[start : start + len(rows)])
                start += len(rows)
                if not r.unanswered and not r.ready:
                    complete.append(r)
            if self._on_batch:
                self._on_batch(start)
        return complete

    def _score(self, parts: list[_Part]) -> Probabilities:
        """One forward pass, or several where memory runs out; in a stream's own thread."""
        count = sum(len(rows) for _, rows in parts)
        try:
            return self._forward(parts, self._batch_size - count)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self._back_off(count, error)
        halves = _halved(parts)
        return np.concatenate([self._score(half) for half in halves])

    def _back_off(self, count: int, error: BaseException) -> None:
        if self._ensemble.device.type == "cuda":
            torch.cuda.empty_cache()
        if count == 1:
            raise OutOfMemoryError(
                "memory ran out on a batch of one image",
                why=str(error).splitlines()[0] if str(error) else None,
                fix="use smaller sources, another --device, or close other programs",
            ) from error
        smaller = max(1, min(self._batch_size, count) // 2)
        if smaller < self._batch_size:
            self._batch_size = smaller
            if self._on_note:
                self._on_note(f"memory ran out on {count} candidates at once; going on with {smaller}")

    def _forward(self, parts: list[_Part], padding: int) -> Probabilities:
        inputs = {}
        for preprocessing in self._ensemble.preprocessings:
            rendered = [r.job.image.render(rows, preprocessing) for r, rows in parts]
            if padding > 0 and self._mix:
                rendered.append(rendered[-1][-1:].expand(padding, -1, -1, -1))
            inputs[preprocessing] = torch.cat(rendered) if len(rendered) > 1 else rendered[0]
        probabilities: Probabilities = self._ensemble.answers(inputs, self._objective).double().cpu().numpy()
        return probabilities


_Part = tuple[_Running, Individuals]


def _halved(parts: list[_Part]) -> tuple[list[_Part], list[_Part]]:
    """The same rows in two batches."""
    left, first, second = sum(len(rows) for _, rows in parts) // 2, [], []
    for r, rows in parts:
        first += [(r, rows[:left])] if left > 0 else []
        second += [(r, rows[max(0, left) :])] if len(rows) > left else []
        left -= len(rows)
    return first, second
