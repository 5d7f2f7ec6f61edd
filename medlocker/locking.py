"""One worker's part of a protect job: load an image, search, mark, write, and seal its record."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from medlocker.blending import Logo, pixel_sha256
from medlocker.concurrency import mapped_ahead, one_core_threads
from medlocker.datasets import Record
from medlocker.errors import DatasetError
from medlocker.fitness import Ensemble, Objective
from medlocker.imageio import StoredImage, read_image
from medlocker.planning import MarkSettings, plan_image
from medlocker.querying import QueryEngine, SearchJob, SearchResult, image_generator
from medlocker.release import ReleaseImage
from medlocker.rendering import PreparedImage
from medlocker.saving import LoadedImage, rounded, save_marked
from medlocker.search import SearchSettings, build_search
from medlocker.workspace import InfeasibleImage, Workspace


class ProtectSettings(BaseModel):
    """Everything that decides a release besides data, logo and networks.

    Attributes:
        mark: size, opacity and place.
        search: which search, and its parameters.
        objective: how the sources' answers become the number that it minimises.
        seed: of the run; each image's randomness follows from it and the image's id.
        stop_below: end an image's search once its objective is under this (READINGS 10).
        keep: distinct placements kept for each image, from which editions can be drawn.
        batch_size: candidates in one forward pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mark: MarkSettings = MarkSettings()
    search: SearchSettings = SearchSettings()
    objective: Objective = "mean_probability"
    seed: Annotated[int, Field(ge=0)] = 0
    stop_below: Annotated[float, Field(gt=0, lt=1)] | None = None
    keep: Annotated[int, Field(ge=1, le=256)] = 8
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 16


THREADS_BESIDE = 2
"""Threads that decode, hash, encode and write while the sources are asked."""
IMAGES_AHEAD = 3
"""Images that are loaded before their search begins, or may wait to be saved after it."""


@dataclass(frozen=True)
class LockedImage:
    """What a worker hands back: nothing in the clear that is not in the manifest.

    Attributes:
        id: the record's id.
        public: its line in the manifest; None where no placement was feasible.
        sealed: its record, for the owner's folder.
        queries: candidates that were not told of while the search went on.
        notes: what a user should know of the work since the image before.
    """

    id: str
    public: ReleaseImage | None
    sealed: bytes
    queries: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GivenEnsemble:
    """Sources that are there already; workers elsewhere get a copy."""

    ensemble: Ensemble

    def __call__(self) -> Ensemble:
        """The sources."""
        return self.ensemble


@dataclass(frozen=True, eq=False)
class Locking:
    """Makes workers that lock images.

    Attributes:
        sources: gives the networks to mislead, where the worker is.
        logo: the mark.
        settings: how to search and where the mark may lie.
        workspace: of this release; travels without its secret and without the list of the data set.
        on_queries: told the number of candidates just answered; only by a worker in this process.
        chunk: images that share a GPU's batches.
    """

    sources: Callable[[], Ensemble]
    logo: Logo
    settings: ProtectSettings
    workspace: Workspace
    on_queries: Callable[[int], None] | None = None
    chunk: int = 16

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: no callback, and a workspace that can be shown to anyone."""
        return {**self.__dict__, "on_queries": None, "workspace": self.workspace.for_worker(b"")}

    def worker(self, secret: bytes) -> LockingWorker:
        """A worker; `secret` is the release's."""
        return LockingWorker(self, self.sources(), self.workspace.for_worker(secret))


@dataclass(eq=False)
class LockingWorker:
    """Locks images, as many at once as the query engine takes."""

    recipe: Locking
    ensemble: Ensemble
    workspace: Workspace
    in_flight: dict[str, LoadedImage] = field(default_factory=dict)
    notes: deque[str] = field(default_factory=deque)

    def run(self, tasks: Iterable[Record]) -> Iterator[LockedImage]:
        """Lock images.

        Yields:
            Each once its file is written.

        Raises:
            DatasetError: an image changed since it was listed.
            InfeasiblePlacementError: an image admits no placement and the settings say stop.
            ReleaseError: a file cannot be written.
        """
        settings = self.recipe.settings
        engine = QueryEngine(
            self.ensemble,
            batch_size=settings.batch_size,
            objective=settings.objective,
            stop_below=settings.stop_below,
            keep=settings.keep,
            on_batch=self.recipe.on_queries,
            on_note=self.notes.append,
        )
        saving: deque[Future[LockedImage]] = deque()
        with one_core_threads(THREADS_BESIDE) as beside:
            for result in engine.run(self._jobs(beside, tasks, saving)):
                saving.append(beside.submit(self._save, self.in_flight.pop(result.id), result))
                yield from _done(saving, leave=IMAGES_AHEAD)
            yield from _done(saving, leave=0)

    def _jobs(
        self, beside: ThreadPoolExecutor, records: Iterable[Record], saving: deque[Future[LockedImage]]
    ) -> Iterator[SearchJob]:
        search = build_search(self.recipe.settings.search)
        for record, found in mapped_ahead(beside, lambda r: (r, self._load(r)), records, IMAGES_AHEAD):
            if found is None:
                saving.append(beside.submit(self._leave_out, record))
                continue
            loaded, prepared = found
            self.in_flight[record.id] = loaded
            rng = image_generator(self.recipe.settings.seed, record.id)
            yield SearchJob(record.id, prepared, loaded.plan.space, loaded.label, rng, search)

    def _load(self, record: Record) -> tuple[LoadedImage, PreparedImage] | None:
        image = load_unchanged(record)
        plan = plan_image(record, image.pixels, self.recipe.logo, self.recipe.settings.mark)
        if plan is None:
            return None
        clean = self.ensemble.read(image.pixels).numpy()
        prediction = int(clean.argmax())
        label = prediction if record.label is None else record.label
        prepared = PreparedImage(image.pixels, plan.mark, self.ensemble.preprocessings, self.ensemble.device)
        return LoadedImage(record, image, plan, label, prediction, rounded(clean[label])), prepared

    def _save(self, loaded: LoadedImage, result: SearchResult) -> LockedImage:
        finished = save_marked(loaded, result, self.workspace, self.ensemble)
        untold = 0 if self.recipe.on_queries else result.queries
        notes = tuple(self.notes.popleft() for _ in range(len(self.notes)))
        return LockedImage(result.id, finished.public, self.workspace.sealed(result.id, finished), untold, notes)

    def _leave_out(self, record: Record) -> LockedImage:
        return LockedImage(record.id, None, self.workspace.sealed(record.id, InfeasibleImage(id=record.id)), 0)


def _done(saving: deque[Future[LockedImage]], leave: int) -> Iterator[LockedImage]:
    """Images that are saved, in the order in which their searches ended; waits until at most `leave` are not."""
    while saving and (len(saving) > leave or saving[0].done()):
        yield saving.popleft().result()


def load_unchanged(record: Record) -> StoredImage:
    """Read a record's image and make sure that it is the one that was listed.

    Raises:
        DatasetError: its pixels changed since.
        ImageReadError: it cannot be read.
    """
    image = read_image(record.path)
    if pixel_sha256(image.pixels) != record.pixel_sha256:
        raise DatasetError(
            f"{record.path}: its pixels changed while the job was running",
            fix="restore the file, or start again with another --out",
        )
    return image
