"""The model registry as a mirror of a ledger: each key version a version of `medlocker-key.<release or edition id>`.

Nothing in a registry is append-only: tags are overwritten, versions deleted, models made anew. The ledger is the
record, the mirror is for people who look at MLflow, and `verify_mirror` names every difference between the two.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from pydantic import BaseModel, ConfigDict

from medlocker.audit import Event, KeyIssued, KeyReissued, LedgerError, ReleaseCreated, read_events, who
from medlocker.audit.checking import Checker, read_lines
from medlocker.audit.merkle import leaf_hash
from medlocker.audit.overview import overview_of
from medlocker.imageio import write_atomic
from medlocker.signing import PublicKey
from medlocker_mlflow.store import connect, printable, store_errors

MODEL_PREFIX = "medlocker-key."
TAG_PREFIX = "medlocker.key."
NOTES_SUFFIX = ".mirror.json"
EXPERIMENT = "medlocker"

DivergenceKind = Literal["missing", "altered", "deleted", "recreated", "extra"]


class Divergence(BaseModel):
    """A difference between ledger and registry.

    Attributes:
        kind: `missing`: an event has no model version. `deleted`: it had one. `recreated`: the version shown is
            another than the one that was registered. `altered`: a tag differs from the event. `extra`: a model version
            without an event.
        model: registered model.
        version: of the model; None where there is none.
        sequence: of the event in the ledger; None where there is none.
        message: for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: DivergenceKind
    model: str
    version: int | None
    sequence: int | None
    message: str


class _Registered(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: int
    created: int


class _Notes(BaseModel):
    """What the owner registered: store → sequence → model version. Without it a recreated version cannot be told."""

    model_config = ConfigDict(extra="forbid")

    stores: dict[str, dict[int, _Registered]] = {}


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
            "sha256": self.details.key_sha256,
            "images": str(self.details.images),
            "expires_at": self.details.expires_at.isoformat() if self.details.expires_at else "never",
            "sequence": str(self.event.sequence),
            "leaf": self.leaf,
        }
        return {TAG_PREFIX + name: value for name, value in facts.items()}


def mirror_ledger(path: Path, keys: Sequence[PublicKey], tracking_uri: str | None) -> int:
    """Bring the registry up to date with a ledger; what is right already is left alone.

    Args:
        path: the ledger.
        keys: the owner's public keys.
        tracking_uri: the store; None for MLflow's own choice.

    Returns:
        How many model versions were made.

    Raises:
        LedgerError: the ledger is at fault; nothing is mirrored.
        TrackingError: the store cannot be reached or refuses.
    """
    entries = key_entries(path, keys)
    client = connect(tracking_uri)
    notes_path, notes = _notes_file(path), _read_notes(path)
    noted = notes.stores.setdefault(_store_name(client), {})
    made = 0
    with store_errors("the keys were not mirrored"):
        for model in dict.fromkeys(entry.model for entry in entries):
            _ensure_model(client, model)
        known = _versions(client, {entry.model for entry in entries})
        for entry in entries:
            found = known.get((entry.model, str(entry.event.sequence)))
            created = found is None
            if found is None:
                found = _register(client, path, entry)
            made += created
            _correct_tags(client, found, entry.tags)
            if created or entry.event.sequence not in noted:
                noted[entry.event.sequence] = _registered(found)
        _set_aliases(client, entries, _versions(client, {entry.model for entry in entries}))
        _tell_runs(client, path, keys, entries)
    write_atomic(notes_path, notes.model_dump_json(indent=1).encode() + b"\n")
    return made


def verify_mirror(path: Path, keys: Sequence[PublicKey], tracking_uri: str | None) -> tuple[Divergence, ...]:
    """Every difference between a ledger and the registry.

    Args:
        path: the ledger.
        keys: the owner's public keys.
        tracking_uri: the store; None for MLflow's own choice.

    Raises:
        LedgerError: the ledger is at fault.
        TrackingError: the store cannot be reached.
    """
    entries = key_entries(path, keys)
    client = connect(tracking_uri)
    noted = _read_notes(path).stores.get(_store_name(client), {})
    with store_errors("the registry could not be read"):
        versions = _all_versions(client, _models_of(path, keys, entries))
    found = {(one.name, one.tags.get(f"{TAG_PREFIX}sequence", "")): one for one in versions}
    divergences = [one for entry in entries for one in _compared(entry, found, noted)]
    expected = {(entry.model, str(entry.event.sequence)) for entry in entries}
    taken = {id(found[key]) for key in expected if key in found}
    divergences += [_extra(one) for one in versions if id(one) not in taken]
    return tuple(divergences)


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


def _compared(
    entry: KeyEntry, found: dict[tuple[str, str], ModelVersion], noted: dict[int, _Registered]
) -> Iterable[Divergence]:
    sequence, details = entry.event.sequence, entry.details
    what = f"{details.recipient}, version {details.key_version}"
    one, before = found.get((entry.model, str(sequence))), noted.get(sequence)
    if one is None:
        kind: DivergenceKind = "deleted" if before else "missing"
        told = f"{what}: its model version {'was deleted, or lost its sequence tag' if before else 'was never made'}"
        yield Divergence(
            kind=kind, model=entry.model, version=before.version if before else None, sequence=sequence, message=told
        )
        return
    if before is not None and before != _registered(one):
        yield Divergence(
            kind="recreated", model=entry.model, version=int(one.version), sequence=sequence,
            message=f"{what}: registered as version {before.version}, now shown by one that was made later",
        )  # fmt: skip
    wrong = {name: (one.tags.get(name, ""), value) for name, value in entry.tags.items() if one.tags.get(name) != value}
    if wrong:
        told = "; ".join(f"{name} is {is_!r}, ledger says {should!r}" for name, (is_, should) in wrong.items())
        yield Divergence(
            kind="altered", model=entry.model, version=int(one.version), sequence=sequence, message=f"{what}: {told}"
        )


def _extra(one: ModelVersion) -> Divergence:
    return Divergence(
        kind="extra", model=one.name, version=int(one.version), sequence=None, message="no event of the ledger made it"
    )


def _models_of(path: Path, keys: Sequence[PublicKey], entries: Sequence[KeyEntry]) -> set[str]:
    """Models of this ledger's copies, also of those without a key: a version there would be an extra one."""
    copies = overview_of(read_events(path, keys), now=datetime.now(UTC)).copies
    return {entry.model for entry in entries} | {MODEL_PREFIX + one.release_id for one in copies}


def _ensure_model(client: MlflowClient, model: str) -> None:
    try:
        client.get_registered_model(model)
    except MlflowException:
        client.create_registered_model(
            model,
            tags={"medlocker.kind": "keys"},
            description="Key versions of a MedLocker release or edition, as its ledger records them. No key is stored "
            "here, and these tags prove nothing: `medlocker audit verify --mlflow` compares them with the ledger.",
        )


def _register(client: MlflowClient, path: Path, entry: KeyEntry) -> ModelVersion:
    """A model version whose only artifact is the public event."""
    run_id = _mirror_run(client, path)
    name = f"keys/{entry.event.sequence}.json"
    client.log_text(run_id, entry.event.model_dump_json(indent=2), name)
    details = entry.details
    return client.create_model_version(
        entry.model,
        source=f"runs:/{run_id}/{name}",
        run_id=run_id,
        tags=entry.tags,
        description=f"Key version {details.key_version} of {details.recipient}, {details.images} images; event "
        f"{entry.event.sequence} of the ledger.",
    )


def _mirror_run(client: MlflowClient, path: Path) -> str:
    """The run that holds a ledger's events as artifacts; one a ledger and store."""
    with path.open("rb") as file:
        ledger = leaf_hash(file.readline().removesuffix(b"\n")).hex()
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
    runs = client.search_runs([experiment], f"tags.`medlocker.ledger` = '{ledger}'", max_results=1)
    if runs:
        return str(runs[0].info.run_id)
    tags = {"medlocker.verb": "mirror", "medlocker.ledger": ledger}
    run = client.create_run(experiment, run_name=f"keys of {path.parent.name}", tags=tags)
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _versions(client: MlflowClient, models: set[str]) -> dict[tuple[str, str], ModelVersion]:
    return {(one.name, one.tags.get(f"{TAG_PREFIX}sequence", "")): one for one in _all_versions(client, models)}


def _all_versions(client: MlflowClient, models: Iterable[str]) -> list[ModelVersion]:
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


def _correct_tags(client: MlflowClient, one: ModelVersion, tags: dict[str, str]) -> None:
    for name, value in tags.items():
        if one.tags.get(name) != value:
            client.set_model_version_tag(one.name, one.version, name, value)


def _set_aliases(
    client: MlflowClient, entries: Sequence[KeyEntry], versions: dict[tuple[str, str], ModelVersion]
) -> None:
    """`<recipient>-current` on each recipient's latest key that is neither superseded nor revoked."""
    current: dict[tuple[str, str], str | None] = {}
    for entry in entries:
        alias = (entry.model, alias_of(entry.details.recipient))
        one = versions[(entry.model, str(entry.event.sequence))]
        current[alias] = str(one.version) if entry.state == "active" else current.get(alias)
        if entry.state != "active" and current[alias] == str(one.version):
            current[alias] = None
    for (model, name), version in current.items():
        if version is not None:
            client.set_registered_model_alias(model, name, version)
        elif name in client.get_registered_model(model).aliases:
            client.delete_registered_model_alias(model, name)


def alias_of(recipient: str) -> str:
    """An alias for a name: letters and digits, and a digest that tells similar names apart."""
    plain = re.sub(r"[^a-z0-9]+", "-", recipient.lower()).strip("-")[:40]
    return f"{plain or 'recipient'}-{hashlib.sha256(recipient.encode()).hexdigest()[:6]}-current"


def _tell_runs(client: MlflowClient, path: Path, keys: Sequence[PublicKey], entries: Sequence[KeyEntry]) -> None:
    """Show on the page of the run that made a release what was issued from it."""
    for event in read_events(path, keys):
        if not isinstance(event.details, ReleaseCreated) or not event.run_id:
            continue
        issued = [one for one in entries if one.details.release_id == event.details.release_id]
        rows = [
            {"recipient": one.details.recipient, "version": one.details.key_version, "state": one.state,
             "edition": one.details.edition_id, "images": one.details.images, "issued": one.event.time.isoformat(),
             "expires": one.details.expires_at and one.details.expires_at.isoformat(), "event": one.event.sequence}
            for one in issued
        ]  # fmt: skip
        try:
            client.set_tag(event.run_id, "medlocker.keys_issued", str(len(issued)))
            client.set_tag(event.run_id, "medlocker.keys_active", str(sum(one.state == "active" for one in issued)))
            client.set_tag(event.run_id, "medlocker.key_model", MODEL_PREFIX + event.details.release_id)
            client.log_text(event.run_id, json.dumps(rows, indent=1), "keys/issued.json")
        except MlflowException:
            # The release was made with another store: there is no such run here.
            continue


def _registered(one: ModelVersion) -> _Registered:
    return _Registered(model=one.name, version=int(one.version), created=int(one.creation_timestamp))


def _store_name(client: MlflowClient) -> str:
    return printable(str(client._registry_uri))


def _notes_file(path: Path) -> Path:
    return path.with_name(path.name + NOTES_SUFFIX)


def _read_notes(path: Path) -> _Notes:
    notes = _notes_file(path)
    if not notes.exists():
        return _Notes()
    try:
        return _Notes.model_validate_json(notes.read_bytes())
    except ValueError:
        raise LedgerError(
            f"{notes}: not a valid note of what was mirrored", fix="restore it from a backup, or delete it"
        ) from None
