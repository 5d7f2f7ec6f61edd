"""An owner, a release of four images and its recipients, as the tests of keys use them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from example_release import Example, make_example

from medlocker.keys import load_identity, new_identity, read_key, unlock_release, write_vault
from medlocker.keys.copies import VAULT_NAME, MarkedCopy, open_copy
from medlocker.keys.lifecycle import Terms, issue, reissue
from medlocker.keys.owner import Owner
from medlocker.keys.recipients import Recipient
from medlocker.keys.recording import OwnerLedger, ledger_file
from medlocker.keys.revocations import REVOCATIONS_NAME, read_revocations


@dataclass
class Case:
    """An owner, a release of four images, two recipients."""

    root: Path
    example: Example
    copy: MarkedCopy
    ledger: OwnerLedger

    @property
    def owner(self) -> Owner:
        return self.example.owner

    def recipient(self, name: str) -> Recipient:
        file = self.root / f"{name}.txt"
        identity = load_identity(file) if file.exists() else new_identity(file)
        return Recipient(name=name, key=identity.public_key, added_at=datetime.now(UTC))

    def issue(self, name: str = "Ada", out: str = "ada.key", **terms) -> Path:
        return issue(self.copy, self.ledger, self.recipient(name), self.root / out, Terms(**terms)).path

    def reissue(self, name: str = "Ada", out: str = "ada2.key", reason: str = "lost laptop", **terms) -> Path:
        return reissue(self.copy, self.ledger, self.recipient(name), self.root / out, reason, Terms(**terms)).path

    def open(self, key: Path, name: str = "Ada", **more):
        return read_key(key, load_identity(self.root / f"{name}.txt"), **more)

    def unlock(self, key: Path, name: str = "Ada"):
        return unlock_release(self.copy.folder, self.open(key, name), self.root / f"out-{key.name}")

    def lists(self):
        return [read_revocations(self.copy.folder / REVOCATIONS_NAME, self.owner.public_keys)]


def make_case(root: Path, *, seed: int = 0, release_id: str = "ab" * 16, run_id: str | None = None) -> Case:
    """A release that is recorded; nobody holds a key to it yet."""
    example = make_example(root, seed=seed, release_id=release_id)
    owner_dir = root / "release.owner"
    write_vault(owner_dir / VAULT_NAME, example.vault, example.owner.identity)
    copy = open_copy(example.folder, owner_dir, example.owner.identity)
    ledger = OwnerLedger(ledger_file(owner_dir), example.owner, actor="Dr Owner", run_id=run_id)
    ledger.record_release(example.folder, example.manifest)
    return Case(root, example, copy, ledger)
