"""Release the images of a release anew under another secret: the cure for a lost key or a lost owner's secret."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from medlocker.audit import ReleaseReplaced
from medlocker.blending import Placement
from medlocker.copying import Originals, make_copy
from medlocker.errors import SettingsError
from medlocker.imageio import write_atomic
from medlocker.jobs.editions import check_outside, job_context, manifest_bytes
from medlocker.jobs.progress import Progress
from medlocker.keys import write_vault
from medlocker.keys.copies import MarkedCopy
from medlocker.keys.recording import OwnerLedger
from medlocker.keys.release_signature import SIGNATURE_NAME, sign_release
from medlocker.release import MANIFEST_NAME, load_manifest
from medlocker.tracing.codes import TracingCode
from medlocker.tracing.editions import edition_alphabets
from medlocker.workspace import Workspace

Placing = Literal["redraw", "keep"]
PLACINGS: tuple[Placing, ...] = get_args(Placing)


@dataclass(frozen=True)
class RereleaseRequest:
    """What a user asked `rerelease` for.

    Attributes:
        out: folder for the new release.
        owner_dir: folder for what the owner keeps of it.
        reason: why, as both ledgers record it.
        placing: `redraw`: another of an image's usable placements, where there is one; `keep`: the same.
        originals: folder with the originals, where the release cannot give them.
        workers: threads.
    """

    out: Path
    owner_dir: Path
    reason: str
    placing: Placing = "redraw"
    originals: Path | None = None
    workers: int = 2


@dataclass(frozen=True)
class RereleaseResult:
    """What came of it.

    Attributes:
        release_id: of the new release.
        images: how many.
        moved: images whose mark lies elsewhere now.
        resumed: images that an earlier run had finished.
    """

    release_id: str
    images: int
    moved: int
    resumed: int


def make_rerelease(
    release: MarkedCopy, request: RereleaseRequest, former: OwnerLedger, ledger: OwnerLedger, progress: Progress
) -> RereleaseResult:
    """Write a new release of the same images; the same command goes on after an interruption.

    Args:
        release: the former one, opened.
        request: what to make.
        former: ledger of the former release.
        ledger: of the new one; its owner seals and signs the new release.
        progress: shows it.

    Raises:
        SettingsError: an edition was named, or the folder lies in the former release.
        ReleaseError: the folder holds something else, or an original cannot be restored.
        LedgerError: a ledger is at fault or cannot be written.
    """
    if release.edition is not None:
        raise SettingsError(
            f"{release.folder}: is an edition", fix="make another one with medlocker edition make RELEASE --another"
        )
    check_outside(request.out, release.folder, release.owner_dir)
    workspace = Workspace.start_or_resume(
        request.out, request.owner_dir, ledger.owner.identity, _settings(release, request), job_context(release)
    )
    placements = _placements(release, workspace, request.placing)
    done = workspace.complete and (workspace.release / SIGNATURE_NAME).exists()
    resumed = len(placements) if done else _write(release, request, workspace, placements, ledger, progress)
    ledger.record_release(workspace.release, load_manifest(workspace.release))
    _record(release, request, workspace, former, ledger)
    placed = {image.id: image.placement for image in release.vault.images}
    moved = sum(placements[image_id] != placement for image_id, placement in placed.items())
    return RereleaseResult(workspace.job.release_id, len(placements), moved, resumed)


def _settings(release: MarkedCopy, request: RereleaseRequest) -> dict[str, Any]:
    manifest = (release.folder / MANIFEST_NAME).read_bytes()
    return {
        "rerelease_of": release.release_id,
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "placing": request.placing,
    }


def _placements(release: MarkedCopy, workspace: Workspace, placing: Placing) -> dict[str, Placement]:
    """Drawn from the new release's secret, so that an interrupted job draws alike and the former key tells nothing."""
    chosen = {image.id: image.placement for image in release.vault.images}
    if placing == "keep":
        return chosen
    others = {i: tuple(p for p in usable if p != chosen[i]) for i, usable in edition_alphabets(release.vault).items()}
    movable = [image_id for image_id, rest in others.items() if rest]
    code = TracingCode(workspace.secret, workspace.job.release_id, {i: len(others[i]) for i in movable})
    drawn = zip(movable, code.symbols(0, movable), strict=True)
    return chosen | {image_id: others[image_id][symbol] for image_id, symbol in drawn}


def _write(
    release: MarkedCopy,
    request: RereleaseRequest,
    workspace: Workspace,
    placements: dict[str, Placement],
    ledger: OwnerLedger,
    progress: Progress,
) -> int:
    originals = Originals(release, request.originals)
    with progress.stage("Marking images anew", len(placements)) as advance:
        vault, manifest, resumed = make_copy(
            release, workspace, placements, originals, alternatives=True, workers=request.workers, on_image=advance
        )
    write_vault(workspace.vault_path, vault, ledger.owner.identity)
    write_atomic(workspace.release / MANIFEST_NAME, manifest_bytes(manifest))
    sign_release(workspace.release, ledger.owner)
    return resumed


def _record(
    release: MarkedCopy, request: RereleaseRequest, workspace: Workspace, former: OwnerLedger, ledger: OwnerLedger
) -> None:
    """Both ledgers say what replaced what, each once."""
    replaced = ReleaseReplaced(
        release_id=release.release_id, replaced_by=workspace.job.release_id, reason=request.reason
    )
    for one in dict.fromkeys((former, ledger)):
        with one.exclusive():
            known = (event.details for event in one.events())
            if not any(isinstance(d, ReleaseReplaced) and d.replaced_by == replaced.replaced_by for d in known):
                one.record(replaced)
