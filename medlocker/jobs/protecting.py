"""The protect job: open the data, lock it, check that it unlocks, measure, report, track."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medlocker.blending import Logo, load_logo
from medlocker.classifiers import Classifier
from medlocker.datasets import Dataset, DatasetSpec, open_dataset
from medlocker.datasets.document import DatasetDocument
from medlocker.errors import ModelError
from medlocker.executors import Executor, InProcess
from medlocker.jobs.live import LiveCurve
from medlocker.jobs.masking import decisive_masks, draw_masks, masked
from medlocker.jobs.measuring import measure_release, unlock_check
from medlocker.jobs.networks import JobNetworks, NetworkLoader
from medlocker.jobs.progress import Progress
from medlocker.jobs.publishing import Finished, Published, publish
from medlocker.jobs.selecting import keep_readable
from medlocker.keys import Identity
from medlocker.keys.recording import OwnerLedger
from medlocker.keys.release_signature import sign_release
from medlocker.metrics import Method
from medlocker.protecting import Observer, Protection, ProtectSettings, decisive_settings, protect
from medlocker.release import ReleaseImage
from medlocker.sealing import canonical_json
from medlocker.segmenting import Segmenter
from medlocker.tracking import ModelOrigin, Tracker
from medlocker.transfer import Readings
from medlocker.workspace import Workspace


@dataclass(frozen=True)
class ProtectRequest:
    """What a user asked `protect` for.

    Attributes:
        data: the data set.
        release: folder for the marked images.
        owner_dir: folder for what the owner keeps.
        sources: references of the networks to query.
        source_weights: β; None for equal ones.
        targets: references of the networks that measure transfer.
        logo: logo file; None for the default logo.
        settings: search and mark.
        baselines: placements to compare with; empty measures the searched marks alone.
        only_correct: lock only images that every source and target reads correctly when clean (the paper's protocol),
            `data.per_class` of each class.
        decoders: threads that decode and hash.
        segmenter: reference of the network that draws the lesion masks; None for the masks the data set has.
    """

    data: DatasetSpec
    release: Path
    owner_dir: Path
    sources: tuple[str, ...]
    source_weights: tuple[float, ...] | None = None
    targets: tuple[str, ...] = ()
    logo: Path | None = None
    settings: ProtectSettings = field(default_factory=ProtectSettings)
    baselines: tuple[Method, ...] = ()
    only_correct: bool = False
    decoders: int = 2
    segmenter: str | None = None


@dataclass(frozen=True, eq=False)
class ProtectResult:
    """What came of it.

    Attributes:
        protection: the release.
        readings: what every network read.
        restored: (restored bit for bit, tried).
        published: report, metrics and tables.
        vault: the sealed vault.
    """

    protection: Protection
    readings: Readings
    restored: tuple[int, int]
    published: Published
    vault: Path


@dataclass
class _Pace:
    """Time and queries of this run alone; resumed images count in neither."""

    seconds: float = 0.0
    queries: int = 0
    images: int = 0


def run_protect(
    request: ProtectRequest,
    networks: NetworkLoader,
    owner: Identity,
    tracker: Tracker,
    progress: Progress,
    ledger: OwnerLedger | None = None,
    executor: Executor | None = None,
) -> ProtectResult:
    """Lock a data set and prove what was done.

    Args:
        request: what to do.
        networks: resolves sources and targets.
        owner: whose vault it becomes.
        tracker: records the run.
        progress: shows it.
        ledger: signs the release and records it; None leaves it unsigned and unrecorded.
        executor: has the images worked on; None for this process alone.

    Returns:
        Release, readings, unlock check and report.

    Raises:
        MedLockerError: with the file or option, the reason and the next step; the same command goes on later.
    """
    logo, executor = load_logo(request.logo), executor or InProcess()
    loaded = JobNetworks(networks, request.sources, request.source_weights, request.targets)
    ensemble, targets = loaded.ensemble(), loaded.targets()
    _check_distinct(ensemble.members, targets)
    dataset = _open(request, [*ensemble.members, *targets], progress)
    segmenter = networks.segmenter(request.segmenter) if request.segmenter else None
    decisive = decisive_settings(dataset, ensemble, logo, request.settings)
    decisive |= decisive_masks(dataset, request.settings.mark, segmenter)
    dataset = masked(dataset, segmenter, request.owner_dir, request.settings.mark, progress)
    workspace = Workspace.start_or_resume(
        request.release, request.owner_dir, owner, decisive, _context(request, dataset, segmenter, networks.origins)
    )
    if segmenter is not None:
        draw_masks(dataset, segmenter, request.owner_dir, progress)
    tracker.settings(decisive | {"targets": [t.name for t in targets], "device": str(ensemble.device)})
    tracker.dataset(dataset, "protect")
    tracker.models(networks.origins)
    pace = _Pace()
    protection = _protect(dataset, loaded, logo, request, workspace, owner, tracker, progress, pace, executor)
    if ledger is not None:
        _record(ledger, workspace, protection, tracker)
    restored = unlock_check(workspace, owner, progress, executor)
    measured = measure_release(
        workspace, dataset, logo, loaded, request.settings, request.baselines, progress, executor
    )
    finished = Finished(workspace, dataset, protection, measured, restored, owner)
    published = publish(finished, cost(pace), tracker)
    return ProtectResult(protection, measured.readings, restored, published, workspace.vault_path)


def _record(ledger: OwnerLedger, workspace: Workspace, protection: Protection, tracker: Tracker) -> None:
    """Sign the finished release and put it on record; the signed head of the ledger goes to the tracker as well."""
    sign_release(workspace.release, ledger.owner)
    receipt = ledger.record_release(workspace.release, protection.manifest)
    tracker.tags(
        {
            "medlocker.release_id": protection.manifest.release_id,
            "medlocker.ledger_head": canonical_json(receipt).decode(),
        }
    )


def _check_distinct(sources: Sequence[Classifier], targets: Sequence[Classifier]) -> None:
    names = [n.name for n in (*sources, *targets)]
    repeated = sorted({n for n in names if names.count(n) > 1})
    if repeated:
        raise ModelError(
            f"network {', '.join(repeated)} is named more than once",
            why="a target that was queried as a source measures no transfer",
            fix="name each network once, in --sources or in --targets",
        )


def _open(request: ProtectRequest, networks: Sequence[Classifier], progress: Progress) -> Dataset:
    spec = request.data
    if request.only_correct:
        spec = spec.model_copy(update={"per_class": None, "limit": None})
    with progress.stage("Reading images", None) as advance:
        dataset = open_dataset(
            spec, progress=lambda done, total: advance(1, f"{done} of {total}"), workers=request.decoders
        )
    for problem in dataset.problems:
        progress.say(f"left out {problem.path}: {problem.reason}, {problem.detail}")
    if request.only_correct:
        dataset = keep_readable(dataset, networks, request.data, progress)
    return dataset


def _context(
    request: ProtectRequest, dataset: Dataset, segmenter: Segmenter | None, origins: Sequence[ModelOrigin]
) -> Mapping[str, object]:
    predicted = {"predicted_lesions": list(segmenter.lesions)} if segmenter is not None else {}
    return predicted | {
        "dataset": DatasetDocument.of(dataset).model_dump(mode="json"),
        "sources": list(request.sources),
        "source_weights": list(request.source_weights) if request.source_weights else None,
        "targets": list(request.targets),
        "models": [str(origin) for origin in origins],
        "settings": request.settings.model_dump(mode="json"),
    }


def _protect(
    dataset: Dataset,
    networks: JobNetworks,
    logo: Logo,
    request: ProtectRequest,
    workspace: Workspace,
    owner: Identity,
    tracker: Tracker,
    progress: Progress,
    pace: _Pace,
    executor: Executor,
) -> Protection:
    live = LiveCurve(tracker, progress)
    with progress.stage("Locking images", len(dataset.records)) as advance:

        def on_image(done: int, total: int, public: ReleaseImage | None) -> None:
            live.image(done, total, public)
            advance(1, f"{live.fooled} fooled, {live.queries:,} queries")

        def on_queries(count: int) -> None:
            live.queries += count
            advance(0, f"{live.fooled} fooled, {live.queries:,} queries")

        started = time.perf_counter()
        protection = protect(
            dataset,
            networks.ensemble(),
            logo,
            request.settings,
            workspace,
            owner,
            Observer(on_image, on_queries, progress.say),
            executor,
            networks.ensemble,
        )
        pace.seconds, pace.queries = time.perf_counter() - started, live.queries
        pace.images = len(protection.images) + len(protection.infeasible) - protection.resumed
    return protection


def cost(pace: _Pace) -> dict[str, float]:
    """Pace of this run as metrics; empty where everything had been finished before."""
    if not pace.images or not pace.queries:
        return {}
    return {
        "cost/seconds_per_image": pace.seconds / pace.images,
        "cost/queries_per_second": pace.queries / pace.seconds,
        "cost/seconds": pace.seconds,
    }
