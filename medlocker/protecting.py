"""Data set in, release out: the one place where planning, search, saving and sealing meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC

import medlocker
from medlocker.blending import Logo
from medlocker.datasets import Dataset, Record, dataset_digest
from medlocker.errors import DatasetError
from medlocker.executors import Executor, InProcess
from medlocker.fitness import Ensemble
from medlocker.imageio import release_name, sweep_partials, write_atomic
from medlocker.keys import Identity, VaultDocument, encode_logo, write_vault
from medlocker.locking import GivenEnsemble, Locking, ProtectSettings, load_unchanged
from medlocker.recovery import PACKET_SUFFIX
from medlocker.release import MANIFEST_NAME, ReleaseImage, ReleaseManifest, SourceModel, check_relative_file
from medlocker.workspace import FinishedImage, InfeasibleImage, Workspace

__all__ = ["Observer", "ProtectSettings", "Protection", "decisive_settings", "flatten", "load_unchanged", "protect"]


@dataclass(frozen=True)
class Observer:
    """Who is told of progress; every callback may be None.

    Attributes:
        on_image: told of each finished image: done so far, total, its public line (None for an infeasible image).
        on_queries: told the number of candidates just answered.
        on_note: told what a user should know, e.g. that memory ran out and batches are smaller from now on.
    """

    on_image: Callable[[int, int, ReleaseImage | None], None] | None = None
    on_queries: Callable[[int], None] | None = None
    on_note: Callable[[str], None] | None = None


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

    @property
    def shrunk(self) -> tuple[FinishedImage, ...]:
        """Images whose logo had to be made smaller than asked to find a feasible place."""
        return tuple(i for i in self.images if i.vault.logo_scale > self.manifest.logo_scale)


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
    executor: Executor | None = None,
    sources: Callable[[], Ensemble] | None = None,
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
        executor: has the images worked on; None for this process alone.
        sources: gives the ensemble again where workers are; None sends a copy of it.

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
    job.run(executor or InProcess(), sources or GivenEnsemble(ensemble))
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


@dataclass(eq=False)
class _Job:
    dataset: Dataset
    ensemble: Ensemble
    logo: Logo
    settings: ProtectSettings
    workspace: Workspace
    observer: Observer
    done: int = 0
    resumed: int = 0

    def run(self, executor: Executor, sources: Callable[[], Ensemble]) -> None:
        workspace = self.workspace
        recipe = Locking(sources, self.logo, self.settings, workspace, self.observer.on_queries)
        for locked in executor.run(recipe, workspace.secret, self._unfinished()):
            workspace.save_sealed(locked.id, locked.sealed)
            if self.observer.on_queries and locked.queries:
                self.observer.on_queries(locked.queries)
            self._told(locked.public)
            if self.observer.on_note:
                for note in locked.notes:
                    self.observer.on_note(note)

    def _unfinished(self) -> Iterator[Record]:
        for record in self.dataset.records:
            finished = self.workspace.load(record.id)
            if finished is None:
                yield record
            else:
                self.resumed += 1
                self._told(finished.public if isinstance(finished, FinishedImage) else None)

    def _told(self, public: ReleaseImage | None) -> None:
        self.done += 1
        if self.observer.on_image:
            self.observer.on_image(self.done, len(self.dataset.records), public)

    def finish(self, owner: Identity) -> Protection:
        """Write manifest and vault from the records."""
        records = list(self.workspace.load_all([r.id for r in self.dataset.records]))
        images = tuple(r for r in records if isinstance(r, FinishedImage))
        infeasible = tuple(r.id for r in records if isinstance(r, InfeasibleImage))
        files = [image.public.file for image in images]
        sweep_partials(self.workspace.release, [*files, *(file + PACKET_SUFFIX for file in files)])
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
