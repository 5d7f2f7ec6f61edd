"""One worker's part of a measurement: what networks read of an image, and how visible its mark is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from medlocker.blending import Logo, Placement, pixel_sha256
from medlocker.datasets import Record
from medlocker.errors import AlteredImageError, ReleaseError
from medlocker.imageio import read_image
from medlocker.jobs.networks import JobNetworks
from medlocker.metrics import Method
from medlocker.planning import plan_image, read_lesions
from medlocker.protecting import ProtectSettings, load_unchanged
from medlocker.regions import lesion_boxes
from medlocker.transfer import MeasuredImage, PartReadings, best_random, read_part
from medlocker.visibility import Visibility, visibility
from medlocker.workspace import FinishedImage, Workspace


class ReleasedRecord(NamedTuple):
    """An image of a finished release.

    Attributes:
        record: the original.
        sealed: what its search left, sealed under the release secret.
    """

    record: Record
    sealed: bytes


@dataclass(frozen=True, eq=False)
class ReleaseReader:
    """Reads images of a release together with their originals.

    Attributes:
        workspace: of the release; its owner's folder is not read.
        logo: the mark.
        settings: those of the release.
    """

    workspace: Workspace
    logo: Logo
    settings: ProtectSettings

    def image(self, task: ReleasedRecord) -> MeasuredImage:
        """One image as measurement needs it.

        Raises:
            AlteredImageError: the marked file does not hold what was released.
            DatasetError: the original changed.
            ReleaseError: the release was made with other settings.
        """
        record, finished = task.record, self.workspace.opened(task.record.id, task.sealed)
        if not isinstance(finished, FinishedImage):
            raise ReleaseError(f"{record.id}: is not in the release")
        original = load_unchanged(record).pixels
        marked = read_image(self.workspace.release / finished.public.file).pixels
        if pixel_sha256(marked) != finished.public.marked_sha256:
            raise AlteredImageError(f"{finished.public.file}: not the image that was released")
        plan = plan_image(record, original, self.logo, self.settings.mark)
        if plan is None:
            raise ReleaseError(f"{record.id}: was released, but no placement is feasible now")
        placement, queries = finished.vault.placement, finished.public.queries
        return MeasuredImage(record.id, original, marked, finished.label, plan.mark, plan.space, placement, queries)

    def visibility(self, image: MeasuredImage, record: Record) -> Visibility:
        """How visible one image's mark is, with its lesions where the data set has masks."""
        lesions = read_lesions(record, (image.original.shape[0], image.original.shape[1]), self.settings.mark)
        boxes = lesion_boxes(lesions, self.settings.mark.regions)
        return visibility(image.id, image.original, image.marked, image.mark, image.placement, lesions, boxes)


@dataclass(frozen=True, eq=False)
class _Recipe:
    """What workers of a measurement are made from.

    Attributes:
        networks: that read.
        workspace: of the release; travels without its secret and without the list of the data set.
        logo: the mark.
        settings: those of the release.
        chunk: see `Recipe`.
    """

    networks: JobNetworks
    workspace: Workspace
    logo: Logo
    settings: ProtectSettings
    chunk: int = 4

    def __getstate__(self) -> dict[str, Any]:
        """A workspace that can be shown to anyone."""
        return {**self.__dict__, "workspace": self.workspace.for_worker(b"")}

    def reader(self, secret: bytes) -> ReleaseReader:
        """Where the worker is; `secret` is the release's."""
        return ReleaseReader(self.workspace.for_worker(secret), self.logo, self.settings)


@dataclass(frozen=True, eq=False)
class RandomSearching(_Recipe):
    """Makes workers that find each image's best random placement; tasks are `ReleasedRecord`s."""

    def worker(self, secret: bytes) -> _RandomSearcher:
        """A worker; it gives (image id, placement)."""
        return _RandomSearcher(self, self.reader(secret))


@dataclass(frozen=True, eq=False)
class _RandomSearcher:
    recipe: RandomSearching
    reader: ReleaseReader

    def run(self, tasks: Iterable[ReleasedRecord]) -> Iterator[tuple[str, Placement]]:
        settings, ensemble = self.recipe.settings, self.recipe.networks.ensemble()
        return best_random((self.reader.image(task) for task in tasks), ensemble, settings.seed, settings.batch_size)


class Part(NamedTuple):
    """Images that are read together: which ones decides the batches, so it must not depend on who reads them.

    Attributes:
        number: of the part.
        images: some.
        best: image → its best random placement, where that is measured.
    """

    number: int
    images: tuple[ReleasedRecord, ...]
    best: Mapping[str, Placement]


class MeasuredPart(NamedTuple):
    """What came of a part."""

    readings: PartReadings
    visible: tuple[Visibility, ...]


@dataclass(frozen=True, eq=False)
class Measuring(_Recipe):
    """Makes workers that read images with every network; tasks are `Part`s.

    Attributes:
        methods: baselines to measure beside `searched`.
    """

    methods: tuple[Method, ...] = ()

    def worker(self, secret: bytes) -> _Measurer:
        """A worker; it gives a `MeasuredPart` a part."""
        return _Measurer(self, self.reader(secret))


@dataclass(frozen=True, eq=False)
class _Measurer:
    recipe: Measuring
    reader: ReleaseReader

    def run(self, tasks: Iterable[Part]) -> Iterator[MeasuredPart]:
        networks, methods, seed = self.recipe.networks, self.recipe.methods, self.recipe.settings.seed
        for part in tasks:
            images = [self.reader.image(task) for task in part.images]
            ensemble, targets, mixtures = networks.ensemble(), networks.targets(), networks.mixtures
            readings = read_part(part.number, images, ensemble, targets, methods, seed, part.best, mixtures)
            pairs = zip(images, part.images, strict=True)
            yield MeasuredPart(readings, tuple(self.reader.visibility(image, task.record) for image, task in pairs))


def released(workspace: Workspace, records: Iterable[Record]) -> Iterator[ReleasedRecord]:
    """Those records that are in the release, in order."""
    for record in records:
        sealed = workspace.sealed_record(record.id)
        if sealed is not None and isinstance(workspace.load(record.id), FinishedImage):
            yield ReleasedRecord(record, sealed)
