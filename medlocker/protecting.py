"""Data set in, release out: the one place where planning, search, saving and sealing meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

import medlocker
from medlocker.blending import Logo, pixel_sha256
from medlocker.datasets import Dataset, Record, dataset_digest
from medlocker.errors import DatasetError
from medlocker.fitness import Ensemble
from medlocker.imageio import (
    StoredImage,
    read_image,
    release_name,
    write_atomic,
)
from medlocker.keys import Identity, VaultDocument, encode_logo, write_vault
from medlocker.planning import MarkSettings, plan_image
from medlocker.querying import QueryEngine, SearchJob, image_generator
from medlocker.release import MANIFEST_NAME, ReleaseImage, ReleaseManifest, SourceModel, check_relative_file
from medlocker.rendering import PreparedImage
from medlocker.saving import LoadedImage, rounded, save_marked
from medlocker.search import SearchSettings, build_search
from medlocker.workspace import FinishedImage, InfeasibleImage, Workspace


class ProtectSettings(BaseModel):
    """Everything that decides a release besides data, logo and networks.

    Attributes:
        mark: size, opacity and place.
        search: which search, and its parameters.
        seed: of the run; each image's randomness follows from it and the image's id.
        stop_below: end an image's search once its confidence is under this (READINGS 10).
        keep: distinct placements kept for each image, from which editions can be drawn.
        batch_size: candidates in one forward pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mark: MarkSettings = MarkSettings()
    search: SearchSettings = SearchSettings()
    seed: Annotated[int, Field(ge=0)] = 0
    stop_below: Annotated[float, Field(gt=0, lt=1)] | None = None
    keep: Annotated[int, Field(ge=1, le=256)] = 8
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32


@dataclass(frozen=True)
class Observer:
    """Who is told of progress; every callback may be None.

    Attributes:
        on_image: told of each finished image: done so far, total, its public line (None for an infeasible image).
        on_queries: told the number of candidates just answered.
    """

    on_image: Callable[[int, int, ReleaseImage | None], None] | None = None
    on_queries: Callable[[int], None] | None = None


@dataclass(frozen=True, eq=False)
class Protection:
    """A finished release.

    Attributes:
        manifest: as saved.
        images: one per released image, in manifest order.
        infeasible: ids left out because no position was feasible.
        resumed: images that an earlier run had finished.
    """

    manifest: ReleaseManifest
    images: tuple[FinishedImage, ...]
    infeasible: tuple[str, ...]
    resumed: int


def decisive_settings(dataset: Dataset, ensemble: Ensemble, logo: Logo, settings: ProtectSettings) -> dict[str, object]:
    """Everything that decides a release, as flat names to plain values; a resumed job must agree on all of it."""
    flat: dict[str, object] = {
        "dataset_digest": dataset_digest(dataset),
        "logo_sha256": logo.sha256,
        "sources": [m.name for m in ensemble.members],
        "source_fingerprints": [m.fingerprint for m in ensemble.members],
        "source_weights": [round(w, 9) for w in ensemble.weights],
    }
    return flat | {f"{k}": v for k, v in flatten(settings.model_dump(mode="json"))}


def flatten(values: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested settings as dotted names."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def protect(
    dataset: Dataset,
    ensemble: Ensemble,
    logo: Logo,
    settings: ProtectSettings,
    workspace: Workspace,
    owner: Identity,
    observer: Observer | None = None,
) -> Protection:
    """Mark every image of a data set and write the release; a killed run goes on where it stopped.

    Each image is written atomically, then its sealed record; manifest and vault come last. The result is byte for byte
    the same however often the run was interrupted.

    Args:
        dataset: what to mark.
        ensemble: the sources to mislead.
        logo: the mark.
        settings: how to search and where the mark may lie.
        workspace: of this release, from `Workspace.start_or_resume`.
        owner: whose vault the parameters are sealed into.
        observer: told of progress.

    Returns:
        The finished release.

    Raises:
        DatasetError: an image changed since it was listed, or a label is not a class of the sources.
        InfeasiblePlacementError: an image admits no placement and the settings say stop.
        ReleaseError: a file cannot be written.
    """
    _check_labels(dataset, ensemble)
    _check_names(dataset)
    job = _Job(dataset, ensemble, logo, settings, workspace, observer or Observer())
    job.run()
    return job.finish(owner)


def _check_labels(dataset: Dataset, ensemble: Ensemble) -> None:
    worst = max((r for r in dataset.records if r.label is not None), key=lambda r: r.label or 0, default=None)
    if worst is not None and worst.label is not None and worst.label >= ensemble.num_classes:
        raise DatasetError(
            f"{worst.path}: its class {dataset.class_names[worst.label]!r} is number {worst.label}, "
            f"but {ensemble.members[0].name} knows {ensemble.num_classes} classes",
            fix="use sources trained on these classes",
        )


def _check_names(dataset: Dataset) -> None:
    """Two images must not share a file of the release, on systems that ignore case either."""
    taken: dict[str, Record] = {}
    for record in dataset.records:
        name = release_name(record.relative_path).as_posix()
        try:
            check_relative_file(name)
        except ValueError as error:
            raise DatasetError(f"{record.path}: its name cannot be used in a release", why=str(error)) from None
        other = taken.setdefault(name.casefold(), record)
        if other is not record:
            raise DatasetError(
                f"{record.path} and {other.path} would both become {name}",
                why="marked images are saved as PNG, and some systems ignore case",
                fix="rename one of them",
            )


class _Job:
    def __init__(
        self,
        dataset: Dataset,
        ensemble: Ensemble,
        logo: Logo,
        settings: ProtectSettings,
        workspace: Workspace,
        observer: Observer,
    ) -> None:
        self.dataset, self.ensemble, self.logo = dataset, ensemble, logo
        self.settings, self.workspace, self.observer = settings, workspace, observer
        self.search = build_search(settings.search)
        self.in_flight: dict[str, LoadedImage] = {}
        self.done = 0
        self.resumed = 0

    def run(self) -> None:
        engine = QueryEngine(
            self.ensemble,
            batch_size=self.settings.batch_size,
            stop_below=self.settings.stop_below,
            keep=self.settings.keep,
            on_batch=self.observer.on_queries,
        )
        for result in engine.run(self._jobs()):
            saved = save_marked(self.in_flight.pop(result.id), result, self.workspace, self.ensemble)
            self._told(saved.public)

    def _told(self, public: ReleaseImage | None) -> None:
        self.done += 1
        if self.observer.on_image:
            self.observer.on_image(self.done, len(self.dataset.records), public)

    def _jobs(self) -> Iterator[SearchJob]:
        for record in self.dataset.records:
            finished = self.workspace.load(record.id)
            if finished is not None:
                self.resumed += 1
                self._told(finished.public if isinstance(finished, FinishedImage) else None)
            elif (loaded := self._load(record)) is None:
                self.workspace.save(record.id, InfeasibleImage(id=record.id))
                self._told(None)
            else:
                self.in_flight[record.id] = loaded
                yield self._search_job(loaded)

    def _search_job(self, loaded: LoadedImage) -> SearchJob:
        prepared = PreparedImage(
            loaded.image.pixels, loaded.plan.mark, self.ensemble.preprocessings, self.ensemble.device
        )
        rng = image_generator(self.settings.seed, loaded.record.id)
        return SearchJob(loaded.record.id, prepared, loaded.plan.space, loaded.label, rng, self.search)

    def _load(self, record: Record) -> LoadedImage | None:
        image = load_unchanged(record)
        plan = plan_image(record, image.pixels, self.logo, self.settings.mark)
        if plan is None:
            return None
        clean = self.ensemble.read(image.pixels).numpy()
        prediction = int(clean.argmax())
        label = prediction if record.label is None else record.label
        return LoadedImage(record, image, plan, label, prediction, rounded(clean[label]))

    def finish(self, owner: Identity) -> Protection:
        """Write manifest and vault from the records."""
        records = list(self.workspace.load_all([r.id for r in self.dataset.records]))
        images = tuple(r for r in records if isinstance(r, FinishedImage))
        infeasible = tuple(r.id for r in records if isinstance(r, InfeasibleImage))
        manifest = self._manifest(images, infeasible)
        write_vault(self.workspace.vault_path, self._vault(images), owner)
        write_atomic(self.workspace.release / MANIFEST_NAME, (manifest.model_dump_json(indent=2) + "\n").encode())
        return Protection(manifest, images, infeasible, self.resumed)

    def _manifest(self, images: tuple[FinishedImage, ...], infeasible: tuple[str, ...]) -> ReleaseManifest:
        job, mark = self.workspace.job, self.settings.mark
        return ReleaseManifest(
            release_id=job.release_id,
            created_at=job.created_at.astimezone(UTC),
            medlocker_version=medlocker.__version__,
            dataset=self.dataset.name,
            dataset_digest=dataset_digest(self.dataset),
            placement=mark.placement,
            search=self.settings.search.name,
            logo_scale=mark.logo_scale,
            alpha_range=mark.alpha_range,
            sources=tuple(
                SourceModel(name=m.name, fingerprint=m.fingerprint, weight=w)
                for m, w in zip(self.ensemble.members, self.ensemble.weights, strict=True)
            ),
            images=tuple(i.public for i in images),
            infeasible=infeasible,
        )

    def _vault(self, images: tuple[FinishedImage, ...]) -> VaultDocument:
        return VaultDocument(
            release_id=self.workspace.job.release_id,
            created_at=self.workspace.job.created_at,
            secret=self.workspace.secret,
            logo=encode_logo(self.logo),
            logo_sha256=self.logo.sha256,
            rule=self.settings.mark.rule,
            images=tuple(i.vault for i in images),
        )


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
