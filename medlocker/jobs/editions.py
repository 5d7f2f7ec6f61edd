"""Make a recipient's own marked copy of a release, and list those that were made."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlocker.audit import EditionMade, Event
from medlocker.copying import Originals, make_copy
from medlocker.errors import ReleaseError, SettingsError
from medlocker.imageio import write_atomic
from medlocker.jobs.progress import Progress
from medlocker.keys import VaultDocument, write_vault
from medlocker.keys.copies import MarkedCopy
from medlocker.keys.edition_document import EditionDocument, read_edition, write_edition
from medlocker.keys.recipients import Recipient
from medlocker.keys.recording import OwnerLedger
from medlocker.keys.release_signature import SIGNATURE_NAME, check_signature, sign_release
from medlocker.release import MANIFEST_NAME, ReleaseManifest
from medlocker.tracing.capacity import Capacity, release_capacity
from medlocker.tracing.editions import CONFIDENCE_MARGIN, draw_edition, edition_placements, tracing_code
from medlocker.workspace import JOB_NAME, Workspace, load_job


@dataclass(frozen=True)
class EditionRequest:
    """What a user asked `edition make` for.

    Attributes:
        out: folder for the edition.
        owner_dir: folder for what the owner keeps of it.
        recipient: registered.
        another: whether the recipient may have an edition of this release already.
        originals: folder with the originals, where the release cannot give them; None for the release alone.
        workers: threads.
    """

    out: Path
    owner_dir: Path
    recipient: Recipient
    another: bool = False
    originals: Path | None = None
    workers: int = 2


@dataclass(frozen=True)
class EditionResult:
    """What came of it.

    Attributes:
        edition_id: of the edition.
        images: how many.
        resumed: images that an earlier run had finished.
        editions: of this release by now.
        capacity: how far these tell recipients apart.
    """

    edition_id: str
    images: int
    resumed: int
    editions: int
    capacity: Capacity


def edition_index(edition_id: str) -> int:
    """The recipient's index in the tracing code: random and never given twice, since the edition's id is."""
    return int(edition_id, 16)


def editions_of(events: Sequence[Event], release_id: str) -> tuple[EditionMade, ...]:
    """The editions of a release that a ledger records, in the order of their making."""
    found = (event.details for event in events if isinstance(event.details, EditionMade))
    return tuple(one for one in found if one.release_id == release_id)


def make_edition(
    release: MarkedCopy, request: EditionRequest, ledger: OwnerLedger, progress: Progress
) -> EditionResult:
    """Write a recipient's edition and put it on record; the same command goes on after an interruption.

    The edition is recorded before it gets its manifest: a finished edition is always in the ledger.

    Args:
        release: opened.
        request: what to make.
        ledger: of the release.
        progress: shows it.

    Returns:
        What was made, or lay there already.

    Raises:
        SettingsError: the release is an edition, the folder lies in it, or the recipient has an edition already.
        ReleaseError: the folder holds something else, or an original cannot be restored.
        LedgerError: the ledger is at fault or cannot be written.
    """
    _check_request(release, request, ledger)
    workspace = Workspace.start_or_resume(
        request.out,
        request.owner_dir,
        ledger.owner.identity,
        _settings(release, request.recipient),
        job_context(release),
    )
    total = len(release.vault.images)
    if _finished(workspace):
        return _result(release, workspace, ledger, total)
    placements = edition_placements(release.vault, _drawn(release.vault, workspace.job.release_id))
    originals = Originals(release, request.originals)
    with progress.stage(f"Marking the edition of {request.recipient.name}", total) as advance:
        vault, manifest, resumed = make_copy(
            release, workspace, placements, originals, alternatives=False, workers=request.workers, on_image=advance
        )
    _finish(release, request, ledger, workspace, vault, manifest)
    return _result(release, workspace, ledger, resumed)


def _check_request(release: MarkedCopy, request: EditionRequest, ledger: OwnerLedger) -> None:
    if release.edition is not None:
        raise SettingsError(
            f"{release.folder}: is an edition itself", fix=f"name the release {release.release_id} it was made from"
        )
    check_outside(request.out, release.folder, release.owner_dir)
    begun = load_job(request.owner_dir).release_id if (request.owner_dir / JOB_NAME).exists() else None
    held = [
        one for one in editions_of(ledger.events(), release.release_id)
        if one.recipient == request.recipient.name and one.edition_id != begun
    ]  # fmt: skip
    if held and not request.another:
        raise SettingsError(
            f"{request.recipient.name} has an edition of this release already: {held[-1].edition_id}",
            fix="use that one, or repeat with --another if it was lost",
        )


def check_outside(out: Path, *folders: Path) -> None:
    """Refuse an output folder inside others.

    Raises:
        SettingsError: it lies in one of them.
    """
    for folder in folders:
        if out.resolve().is_relative_to(folder.resolve()):
            raise SettingsError(f"--out {out}: lies in {folder}", fix="choose a folder outside of it")


def _settings(release: MarkedCopy, recipient: Recipient) -> dict[str, Any]:
    manifest = (release.folder / MANIFEST_NAME).read_bytes()
    return {
        "edition_of": release.release_id,
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "recipient": recipient.name,
        "margin": CONFIDENCE_MARGIN,
    }


def job_context(release: MarkedCopy) -> dict[str, Any]:
    """Where data and networks of the release were found, so that a copy of it can be measured as well."""
    return load_job(release.owner_dir).context if (release.owner_dir / JOB_NAME).exists() else {}


def _drawn(vault: VaultDocument, edition_id: str) -> dict[str, int]:
    return draw_edition(vault, edition_index(edition_id), vault.secret)


def _finished(workspace: Workspace) -> bool:
    signed = workspace.complete and (workspace.release / SIGNATURE_NAME).exists()
    return signed and read_edition(workspace.owner_dir) is not None


def _finish(
    release: MarkedCopy,
    request: EditionRequest,
    ledger: OwnerLedger,
    workspace: Workspace,
    vault: VaultDocument,
    manifest: ReleaseManifest,
) -> None:
    job, content = workspace.job, manifest_bytes(manifest)
    made = EditionMade(
        release_id=release.release_id,
        edition_id=job.release_id,
        recipient=request.recipient.name,
        manifest_sha256=hashlib.sha256(content).hexdigest(),
        images=len(manifest.images),
    )
    write_vault(workspace.vault_path, vault, ledger.owner.identity)
    document = EditionDocument(
        edition_id=job.release_id,
        release_id=release.release_id,
        recipient=request.recipient.name,
        margin=CONFIDENCE_MARGIN,
        ledger=os.path.relpath(ledger.path.resolve(), workspace.owner_dir.resolve()),
        made_at=job.created_at,
    )
    write_edition(workspace.owner_dir, document)
    _record(ledger, made)
    write_atomic(workspace.release / MANIFEST_NAME, content)
    sign_release(workspace.release, ledger.owner)
    check_signature(workspace.release, ledger.owner.public_keys)


def _record(ledger: OwnerLedger, made: EditionMade) -> None:
    with ledger.exclusive():
        for known in editions_of(ledger.events(), made.release_id):
            if known.edition_id == made.edition_id:
                if known != made:
                    raise ReleaseError(
                        f"edition {made.edition_id}: not the one that the ledger records",
                        why="its images were altered while it was made", fix="make another one with another --out",
                    )  # fmt: skip
                return
        ledger.record(made)


def _result(release: MarkedCopy, workspace: Workspace, ledger: OwnerLedger, resumed: int) -> EditionResult:
    made = editions_of(ledger.events(), release.release_id)
    return EditionResult(
        edition_id=workspace.job.release_id,
        images=len(release.vault.images),
        resumed=resumed,
        editions=len(made),
        capacity=release_capacity(tracing_code(release.vault, release.vault.secret), max(1, len(made))),
    )


def manifest_bytes(manifest: ReleaseManifest) -> bytes:
    """A manifest as its file holds it."""
    return (manifest.model_dump_json(indent=2) + "\n").encode()
