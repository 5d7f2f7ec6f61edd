"""Measure or report on a release that exists: everything needed was kept in the owner's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medlocker.datasets import Dataset
from medlocker.datasets.document import DatasetDocument
from medlocker.errors import ReleaseError
from medlocker.executors import Executor
from medlocker.imageio import write_atomic
from medlocker.jobs.masking import expecting_masks
from medlocker.jobs.measuring import Measured, measure_release, measure_visibility, unlock_check
from medlocker.jobs.networks import JobNetworks, NetworkLoader
from medlocker.jobs.progress import Progress
from medlocker.jobs.publishing import READINGS_NAME, Finished, Published, publish, success_metrics
from medlocker.jobs.tables import asr_rows, comparison_rows, grade_rows
from medlocker.keys import Identity, decode_logo, load_manifest, read_vault
from medlocker.metrics import Method
from medlocker.protecting import Protection, ProtectSettings
from medlocker.tracking import NullTracker, Tracker
from medlocker.transfer import Readings, comparisons, grade_table, success_table
from medlocker.visibility import visibility_metrics
from medlocker.workspace import FinishedImage, Workspace, load_job, open_secret


@dataclass(frozen=True)
class TransferRequest:
    """What a user asked `transfer` for.

    Attributes:
        release: the release folder.
        owner_dir: the owner's folder.
        targets: references of the networks to measure; empty for those named when the release was made.
        baselines: placements to compare with.
        data: where the originals are now, if they moved.
        batch_size: rows of one forward pass; None for the release's own.
    """

    release: Path
    owner_dir: Path
    targets: tuple[str, ...] = ()
    baselines: tuple[Method, ...] = ()
    data: Path | None = None
    batch_size: int | None = None


@dataclass(frozen=True, eq=False)
class TransferResult:
    """The measurement.

    Attributes:
        readings: what every network read.
        class_names: of the data set.
    """

    readings: Readings
    class_names: tuple[str, ...]


def run_transfer(
    request: TransferRequest,
    networks: NetworkLoader,
    owner: Identity,
    tracker: Tracker,
    progress: Progress,
    executor: Executor | None = None,
) -> TransferResult:
    """Read a release with networks that were never queried.

    Args:
        request: what to do.
        networks: resolves sources and targets.
        owner: opens the vault.
        tracker: records the run.
        progress: shows it.
        executor: has the images worked on; None for this process alone.

    Returns:
        The readings.

    Raises:
        MedLockerError: the release, its originals or a network is not usable.
    """
    workspace, dataset, settings = _reopen(request, owner)
    if request.batch_size:
        settings = settings.model_copy(update={"batch_size": request.batch_size})
    context = workspace.job.context
    loaded = JobNetworks(networks, context["sources"], context["source_weights"], request.targets or context["targets"])
    targets = loaded.targets()
    tracker.settings({"release_id": workspace.job.release_id, "targets": [t.name for t in targets]})
    tracker.dataset(dataset, "transfer")
    tracker.models(networks.origins)
    logo = decode_logo(read_vault(workspace.vault_path, owner))
    measured = measure_release(workspace, dataset, logo, loaded, settings, request.baselines, progress, executor)
    readings = measured.readings
    table = success_table(readings)
    tracker.metrics(success_metrics(table) | visibility_metrics(measured.visible))
    tracker.table("attack_success", asr_rows(table))
    tracker.table("attack_success_by_grade", grade_rows(grade_table(readings, dataset.class_names)))
    if compared := comparison_rows(comparisons(readings)):
        tracker.table("search_against_baselines", compared)
    kept = request.owner_dir / "transfer" / READINGS_NAME
    write_atomic(kept, (readings.model_dump_json(indent=1) + "\n").encode())
    tracker.artifact(kept, "release")
    return TransferResult(readings, dataset.class_names)


def run_report(request: TransferRequest, owner: Identity, progress: Progress) -> Published:
    """Write the HTML report of a release again, from what the owner's folder holds.

    Returns:
        Where it is, and what it says.

    Raises:
        ReleaseError: transfer was never measured for it, or files are missing.
    """
    workspace, dataset, settings = _reopen(request, owner)
    path = request.owner_dir / READINGS_NAME
    if not path.exists():
        raise ReleaseError(f"{path}: no such file", fix=f"run medlocker transfer {request.release} --targets … first")
    readings = Readings.model_validate_json(path.read_bytes())
    manifest = load_manifest(request.release)
    records = [r for r in workspace.load_all([i.id for i in manifest.images]) if isinstance(r, FinishedImage)]
    protection = Protection(manifest, tuple(records), manifest.infeasible, len(records))
    restored = unlock_check(workspace, owner, progress)
    logo = decode_logo(read_vault(workspace.vault_path, owner))
    measured = Measured(readings, measure_visibility(workspace, dataset, logo, settings, progress))
    finished = Finished(workspace, dataset, protection, measured, restored, owner)
    return publish(finished, {}, NullTracker())


def _reopen(request: TransferRequest, owner: Identity) -> tuple[Workspace, Dataset, ProtectSettings]:
    job = load_job(request.owner_dir)
    workspace = Workspace(request.release, request.owner_dir, job, open_secret(request.owner_dir, owner))
    if not workspace.complete:
        raise ReleaseError(
            f"{request.release}: the release is not complete", fix="repeat medlocker protect to finish it"
        )
    dataset = DatasetDocument.model_validate(job.context["dataset"]).dataset(request.data)
    settings = ProtectSettings.model_validate(job.context["settings"])
    if lesions := job.context.get("predicted_lesions"):
        dataset = expecting_masks(dataset, lesions, request.owner_dir, settings.mark)
    return workspace, dataset, settings
