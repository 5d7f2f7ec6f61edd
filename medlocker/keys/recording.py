"""What owners' verbs record: one ledger a release, beside its vault; an edition's events go to its release's ledger."""

from __future__ import annotations

import getpass
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medlocker.audit import (
    LEDGER_NAME,
    Event,
    Ledger,
    LedgerError,
    RecipientAdded,
    ReleaseCreated,
    SignedTreeHead,
    read_events,
    read_sidecar,
    text_sha256,
)
from medlocker.audit.events import Details
from medlocker.keys.edition_document import read_edition
from medlocker.keys.owner import Owner
from medlocker.keys.recipients import Recipient
from medlocker.release import MANIFEST_NAME, ReleaseManifest

ACTOR_VARIABLE = "MEDLOCKER_ACTOR"
_LOCK_NAME = ".issuing.lock"


class OwnerLedger:
    """An owner's ledger of one release.

    Args:
        path: of the ledger.
        owner: signs.
        actor: who acts, as recorded; None for the variable `MEDLOCKER_ACTOR` or the login name.
        run_id: of the MLflow run that acts.
    """

    def __init__(self, path: Path, owner: Owner, *, actor: str | None = None, run_id: str | None = None) -> None:
        self.path, self.owner, self.run_id = path, owner, run_id
        self.actor = actor or os.environ.get(ACTOR_VARIABLE) or _login_name()
        self._ledger = Ledger(path, owner.signing, owner.public_keys[:-1])

    def record(self, details: Details) -> SignedTreeHead:
        """Append an event; the head is its receipt.

        Raises:
            LedgerError: the ledger was altered, or cannot be written; nothing was recorded.
        """
        return self._ledger.append(details, actor=self.actor, run_id=self.run_id)

    def events(self) -> list[Event]:
        """All events, signatures checked; none where there is no ledger yet.

        Raises:
            LedgerError: the ledger is at fault.
        """
        return read_events(self.path, self.owner.public_keys) if self.path.exists() else []

    def record_release(self, release: Path, manifest: ReleaseManifest) -> SignedTreeHead:
        """Record a finished release, once: a job that is repeated finds its event and returns the latest head.

        Raises:
            LedgerError: another manifest was recorded for this release id, or the ledger is at fault.
        """
        digest = hashlib.sha256((release / MANIFEST_NAME).read_bytes()).hexdigest()
        with self.exclusive():
            for event in self.events():
                if isinstance(event.details, ReleaseCreated) and event.details.release_id == manifest.release_id:
                    if event.details.manifest_sha256 != digest:
                        raise LedgerError(
                            f"{release / MANIFEST_NAME}: not the manifest that the ledger records for this release",
                            why="it was altered after the release was made",
                            fix="restore it from a copy of the release",
                        )
                    return self._latest()
            return self.record(
                ReleaseCreated(release_id=manifest.release_id, manifest_sha256=digest, images=len(manifest.images))
            )

    def record_recipient(self, recipient: Recipient) -> SignedTreeHead | None:
        """Record whom a key is for, where this ledger does not know them with this key, organisation and purpose."""
        wanted = RecipientAdded(
            recipient=recipient.name,
            recipient_key_sha256=text_sha256(recipient.key),
            organisation=recipient.organisation,
            purpose=recipient.purpose,
        )
        known = [
            event.details
            for event in self.events()
            if isinstance(event.details, RecipientAdded) and event.details.recipient == recipient.name
        ]
        return None if known and known[-1] == wanted else self.record(wanted)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other writers out between reading the ledger and appending to it, e.g. while a version is counted up."""
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.path.parent / _LOCK_NAME).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _latest(self) -> SignedTreeHead:
        sidecar = read_sidecar(self.path)
        latest = sidecar.latest if sidecar else self._ledger.latest()
        if latest is None:
            raise LedgerError(f"{self.path}: has no event")
        return latest


def ledger_file(owner_dir: Path) -> Path:
    """The ledger of a release or edition.

    Args:
        owner_dir: the owner's folder of either.

    Raises:
        ReleaseError: the folder's edition document is damaged.
    """
    edition = read_edition(owner_dir)
    return owner_dir / LEDGER_NAME if edition is None else (owner_dir / edition.ledger).resolve()


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # No entry for this user id, as in many containers.
        return f"uid {os.getuid()}"
