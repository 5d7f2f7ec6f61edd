"""Data set in, release out: the one place where planning, search, saving and sealing meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

import medlocker
from medlocker.blending import Logo, lock, pixel_sha256
from medlocker.datasets import Dataset, Record, dataset_digest
from medlocker.errors import DatasetError, ModelError, ReleaseError
from medlocker.fitness import Ensemble
from medlocker.imageio import (
    StoredImage,
    decode_image,
    embed_packet,
    encode_image,
    has_room_for_packet,
    read_image,
    release_name,
    write_atomic,
)
from medlocker.keys import Alternative, Identity, VaultDocument, VaultImage, encode_logo, write_vault
from medlocker.planning import MarkSettings, Plan, plan_image
from medlocker.querying import QueryEngine, SearchJob, SearchResult, image_generator
from medlocker.recovery import PacketContext, derive_image_key, make_packet
from medlocker.release import MANIFEST_NAME, Outcome, ReleaseImage, ReleaseManifest, SourceModel, check_relative_file
from medlocker.rendering import PreparedImage
from medlocker.search import SearchSettings, build_search
from medlocker.workspace import FinishedImage, InfeasibleImage, Workspace

CONFIDENCE_TOLERANCE = 1e-3
"""Largest allowed difference between the confidence the search saw and the one measured on the saved file."""


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


@dataclass(frozen=True, eq=False)
class _Loaded:
    """An image between its loading and its saving."""

    record: Record
    image: StoredImage
    plan: Plan
    label: int
    clean_prediction: int
    clean_confidence: float


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
        self.in_flight: dict[str, _Loaded] = {}
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
            self._told(self._save(self.in_flight.pop(result.id), result).public)

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

    def _search_job(self, loaded: _Loaded) -> SearchJob:
        prepared = PreparedImage(
            loaded.image.pixels, loaded.plan.mark, self.ensemble.preprocessings, self.ensemble.device
        )
        rng = image_generator(self.settings.seed, loaded.record.id)
        return SearchJob(loaded.record.id, prepared, loaded.plan.space, loaded.label, rng, self.search)

    def _load(self, record: Record) -> _Loaded | None:
        image = load_unchanged(record)
        plan = plan_image(record, image.pixels, self.logo, self.settings.mark)
        if plan is None:
            return None
        clean = self.ensemble.read(image.pixels).numpy()
        prediction = int(clean.argmax())
        label = prediction if record.label is None else record.label
        return _Loaded(record, image, plan, label, prediction, _rounded(clean[label]))

    def _save(self, loaded: _Loaded, result: SearchResult) -> FinishedImage:
        original, placement = loaded.image.pixels, result.best.placement
        marked = lock(original, loaded.plan.mark, placement)
        name = release_name(loaded.record.relative_path)
        marked_sha256 = pixel_sha256(marked)
        release_id, secret = self.workspace.job.release_id, self.workspace.secret
        packet = make_packet(
            original,
            marked,
            loaded.plan.mark,
            placement,
            derive_image_key(secret, release_id, loaded.record.id),
            PacketContext(release_id, loaded.record.id, marked_sha256),
        )
        encoded = encode_image(StoredImage(marked, loaded.image.metadata), name.suffix)
        path = self.workspace.release / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if embedded := has_room_for_packet(name.suffix):
            encoded = embed_packet(encoded, packet)
        else:
            write_atomic(path.with_name(path.name + ".mlrp"), packet)
        final = self._check_saved(encoded, loaded, result, marked_sha256)
        write_atomic(path, encoded)
        public = ReleaseImage(
            id=loaded.record.id,
            file=name.as_posix(),
            marked_sha256=marked_sha256,
            packet="embedded" if embedded else "sidecar",
            packet_bytes=len(packet),
            file_bytes=len(encoded),
            outcome=_outcome(loaded, int(final.argmax())),
            clean_confidence=loaded.clean_confidence,
            final_confidence=_rounded(final[loaded.label]),
            queries=result.queries,
        )
        finished = FinishedImage(
            vault=self._vault_image(loaded, result, public),
            public=public,
            label=loaded.label,
            clean_prediction=loaded.clean_prediction,
            curve=result.curve,
        )
        self.workspace.save(loaded.record.id, finished)
        return finished

    def _check_saved(
        self, encoded: bytes, loaded: _Loaded, result: SearchResult, marked_sha256: str
    ) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        """Decode what will be saved and read it as a stranger would; the search's own figure must agree."""
        saved = decode_image(encoded, loaded.record.id)
        if pixel_sha256(saved.pixels) != marked_sha256:
            raise ReleaseError(f"{loaded.record.id}: the encoded file does not hold the marked pixels")
        final = self.ensemble.read(saved.pixels).numpy()
        gap = abs(float(final[loaded.label]) - result.best.confidence)
        if gap > CONFIDENCE_TOLERANCE:
            raise ModelError(
                f"{loaded.record.id}: the search saw confidence {result.best.confidence:.4f}, "
                f"the saved file gives {float(final[loaded.label]):.4f}",
                why="the sources are not deterministic enough",
            )
        return final

    def _vault_image(self, loaded: _Loaded, result: SearchResult, public: ReleaseImage) -> VaultImage:
        alpha, x, y = result.best.placement
        return VaultImage(
            id=loaded.record.id,
            file=public.file,
            shape=loaded.image.pixels.shape,
            dtype=loaded.image.pixels.dtype.name,
            logo_scale=loaded.plan.logo_scale,
            alpha=alpha,
            x=x,
            y=y,
            original_sha256=loaded.record.pixel_sha256,
            marked_sha256=public.marked_sha256,
            alternatives=tuple(
                Alternative(
                    alpha=a.placement.alpha,
                    x=a.placement.x,
                    y=a.placement.y,
                    confidence=a.confidence,
                    fooled=a.fooled,
                )
                for a in result.alternatives
            ),
        )

    def finish(self, owner: Identity) -> Protection:
        """Write manifest and vault from the records."""
        records = list(self.workspace.load_all([r.id for r in self.dataset.records]))
        images = tuple(r for r in records if isinstance(r, FinishedImage))
        infeasible = tuple(r.id for r in records if isinstance(r, InfeasibleImage))
        job = self.workspace.job
        mark = self.settings.mark
        manifest = ReleaseManifest(
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
        vault = VaultDocument(
            release_id=job.release_id,
            created_at=job.created_at,
            secret=self.workspace.secret,
            logo=encode_logo(self.logo),
            logo_sha256=self.logo.sha256,
            rule=mark.rule,
            images=tuple(i.vault for i in images),
        )
        write_vault(self.workspace.vault_path, vault, owner)
        write_atomic(self.workspace.release / MANIFEST_NAME, (manifest.model_dump_json(indent=2) + "\n").encode())
        return Protection(manifest, images, infeasible, self.resumed)


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


def _outcome(loaded: _Loaded, final_prediction: int) -> Outcome:
    if loaded.clean_prediction != loaded.label:
        return "clean_misread"
    return "fooled" if final_prediction != loaded.label else "not_fooled"


def _rounded(probability: float) -> float:
    return min(1.0, max(0.0, round(float(probability), 6)))
