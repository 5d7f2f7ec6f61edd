"""How a ledger looks in MLflow: which model version, run and artifact stands for which event.

Nothing in a registry is append-only: tags are overwritten, versions deleted, models made anew. The ledger is the
record, the mirror is for people who look at MLflow.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from pydantic import BaseModel, ConfigDict

from medlocker.audit import Event, KeyIssued, KeyReissued, LedgerError, ReleaseCreated, who
from medlocker.audit.checking import Checker, read_lines
from medlocker.audit.merkle import leaf_hash
from medlocker.audit.overview import ledger_overview
from medlocker.imageio import write_atomic
from medlocker.signing import PublicKey
from medlocker_mlflow.store import printable

MODEL_PREFIX = "medlocker-key."
TAG_PREFIX = "medlocker.key."
HEAD_TAG = "medlocker.ledger_head"
RELEASE_TAG = "medlocker.release_id"
HEADS_FOLDER = "heads"
NOTES_SUFFIX = ".mirror.json"


class Registered(BaseModel):
    """A model version as it was made.

    Attributes:
        model: registered model.
        version: of the model.
        created: ms since 1970, by the store's clock; tells a version from one of the same number made anew.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: int
    created: int


class Notes(BaseModel):
    """What the owner registered: store → sequence → model version. Without it a recreated version cannot be told."""

    model_config = ConfigDict(extra="forbid")

    stores: dict[str, dict[int, Registered]] = {}


class KeyEntry(BaseModel):
    """A key version of the ledger, and how it is shown.

    Attributes:
        event: that made it.
        leaf: leaf hash of its line, hexadecimal.
        state: `active`, `superseded` or `revoked`; an expiry is a tag of its own, so that time alone changes nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: Event
    leaf: str
    state: str

    @property
    def details(self) -> KeyIssued | KeyReissued:
        """The event's details."""
        assert isinstance(self.event.details, KeyIssued | KeyReissued)
        return self.event.details

    @property
    def model(self) -> str:
        """Name of the registered model."""
        return MODEL_PREFIX + (self.details.edition_id or self.details.release_id)

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the model version."""
        facts = {
            "recipient": self.details.recipient,
            "version": str(self.details.key_version),
            "state": self.state,
            "fingerprint": self.details.key_sha256,
            "images": str(self.details.images),
            "expires_at": self.details.expires_at.isoformat() if self.details.expires_at else "never",
            "sequence": str(self.event.sequence),
            "leaf": self.leaf,
        }
        return {TAG_PREFIX + name: value for name, value in facts.items()}

    @property
    def description(self) -> str:
        """Description of the model version."""
        details = self.details
        return (
            f"Key version {details.key_version} of {details.recipient}, images: {details.images}; event "
            f"{self.event.sequence} of the ledger."
        )

    @property
    def artifact(self) -> str:
        """Where the public event lies in the mirror's run."""
        return f"keys/{self.event.sequence}.json"

    @property
    def artifact_text(self) -> str:
        """The public event."""
        return self.event.model_dump_json(indent=2)


def key_entries(path: Path, keys: Sequence[PublicKey]) -> list[KeyEntry]:
    """The key versions of a ledger, in the order of issue.

    Raises:
        LedgerError: the ledger is missing or at fault.
    """
    checker, read = Checker(keys), []
    for line in read_lines(path):
        entry = checker.take(line[:-1]) if line.endswith(b"\n") else None
        if checker.faults:
            first = checker.faults[0]
            raise LedgerError(f"{path}: line {first.line}: {first.message}", fix="run medlocker audit verify")
        if entry is not None:
            read.append((entry.event, leaf_hash(line[:-1]).hex()))
    states = {one.sequence: one.state for one in who((event for event, _ in read), now=datetime.now(UTC))}
    return [
        KeyEntry(event=event, leaf=leaf, state=states[event.sequence].replace("expired", "active"))
        for event, leaf in read
        if isinstance(event.details, KeyIssued | KeyReissued)
    ]


def release_runs(path: Path) -> dict[str, str | None]:
    """Releases that a ledger records, and the run that made each; read also from a ledger that is at fault."""
    events = ledger_overview(path, now=datetime.now(UTC)).events
    return {one.details.release_id: one.run_id for one in events if isinstance(one.details, ReleaseCreated)}


def copy_models(path: Path) -> set[str]:
    """Models of all copies that a ledger records, with or without a key; read also from a ledger that is at fault."""
    return {MODEL_PREFIX + one.release_id for one in ledger_overview(path, now=datetime.now(UTC)).copies}


def versions_of(client: MlflowClient, models: Iterable[str]) -> list[ModelVersion]:
    """All versions of some registered models; a model that does not exist has none."""
    found: list[ModelVersion] = []
    for model in sorted(models):
        token = None
        while True:
            page = client.search_model_versions(f"name='{model}'", max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                break
    return found


def runs_about(client: MlflowClient, releases: Iterable[str]) -> list[Run]:
    """Runs of any experiment that name one of these releases and hold a signed head of its ledger."""
    experiments = [one.experiment_id for one in client.search_experiments()]
    found: list[Run] = []
    for release in sorted(releases):
        found += client.search_runs(experiments, f"tags.`{RELEASE_TAG}` = '{release}' and tags.`{HEAD_TAG}` LIKE '%'")
    return found


def current_keys(
    entries: Sequence[KeyEntry], versions: dict[int, ModelVersion]
) -> dict[tuple[str, str], ModelVersion | None]:
    """(model, alias) → each recipient's latest active key; None where all of theirs are superseded or revoked."""
    current: dict[tuple[str, str], ModelVersion | None] = {}
    for entry in entries:
        alias, shown = (entry.model, alias_of(entry.details.recipient)), versions.get(entry.event.sequence)
        current.setdefault(alias, None)
        if entry.state == "active" and shown is not None:
            current[alias] = shown
    return current


def alias_of(recipient: str) -> str:
    """An alias for a name: letters and digits, and a digest that tells similar names apart."""
    plain = re.sub(r"[^a-z0-9]+", "-", recipient.lower()).strip("-")[:40]
    return f"{plain or 'recipient'}-{hashlib.sha256(recipient.encode()).hexdigest()[:6]}-current"


def registered(one: ModelVersion) -> Registered:
    """What tells a model version from others."""
    return Registered(model=one.name, version=int(one.version), created=int(one.creation_timestamp))


def store_name() -> str:
    """The registry in use, without its password."""
    return printable(mlflow.get_registry_uri())


def read_notes(ledger: Path) -> Notes:
    """What was registered of a ledger; nothing where there is no note.

    Raises:
        LedgerError: the note is damaged.
    """
    path = _notes_file(ledger)
    if not path.exists():
        return Notes()
    try:
        return Notes.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        raise LedgerError(
            f"{path}: not a valid note of what was mirrored", fix="restore it from a backup, or delete it"
        ) from None


def write_notes(ledger: Path, notes: Notes) -> None:
    """Keep what was registered, beside the ledger."""
    write_atomic(_notes_file(ledger), notes.model_dump_json(indent=1).encode() + b"\n")


def _notes_file(ledger: Path) -> Path:
    return ledger.with_name(ledger.name + NOTES_SUFFIX)
