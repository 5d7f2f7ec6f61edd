"""The model registry as a mirror of a ledger: each key version a version of `medlocker-key.<release or edition id>`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from medlocker.audit import LedgerError, SignedTreeHead, read_sidecar
from medlocker.audit.merkle import leaf_hash
from medlocker.sealing import canonical_json
from medlocker.signing import PublicKey
from medlocker_mlflow.mirror_audit import Divergence, artifact_text, compare
from medlocker_mlflow.mirror_view import (
    HEAD_TAG,
    HEADS_FOLDER,
    MODEL_PREFIX,
    RELEASE_TAG,
    KeyEntry,
    current_keys,
    key_entries,
    read_notes,
    registered,
    release_runs,
    store_name,
    write_notes,
)
from medlocker_mlflow.store import connect, store_errors

EXPERIMENT = "medlocker"
NOTE_TAG = "mlflow.note.content"
KEYS_HEADING = "\n\n#### Keys issued from this release\n"


class Mirrored(NamedTuple):
    """What was done.

    Attributes:
        made: model versions made.
        mended: what others had altered, deleted or made anew, and was put right.
    """

    made: int
    mended: tuple[Divergence, ...]


def mirror_ledger(path: Path, keys: Sequence[PublicKey], tracking_uri: str | None) -> Mirrored:
    """Bring MLflow up to date with a ledger: key versions, aliases, signed heads, the pages of the releases' runs.

    What is right already is left alone. A version without an event is left as well: `verify_mirror` names it.

    Args:
        path: the ledger.
        keys: the owner's public keys.
        tracking_uri: the store; None for MLflow's own choice.

    Raises:
        LedgerError: the ledger is at fault; nothing is mirrored.
        TrackingError: the store cannot be reached or refuses.
    """
    entries, client = key_entries(path, keys), connect(tracking_uri)
    notes, releases = read_notes(path), release_runs(path)
    noted = notes.stores.setdefault(store_name(), {})
    with store_errors("the keys were not mirrored"):
        run_id = _mirror_run(client, path, next(iter(releases), ""))
        for model in dict.fromkeys(entry.model for entry in entries):
            _ensure_model(client, model)
        before = compare(client, entries, noted, state_counts=False)
        # A version that took another's place is not adopted: a new one is made, and the impostor stays as an extra one.
        foreign = {one.sequence for one in before.divergences if one.kind == "recreated"}
        shown = {sequence: one for sequence, one in before.shown.items() if sequence not in foreign}
        made = [entry for entry in entries if entry.event.sequence not in shown]
        for entry in entries:
            sequence = entry.event.sequence
            if sequence in shown:
                _correct(client, shown[sequence], entry)
            else:
                shown[sequence] = _register(client, run_id, entry)
            noted[sequence] = registered(shown[sequence])
        write_notes(path, notes)
        _set_aliases(client, entries, shown)
        _log_head(client, run_id, path, keys)
        for release, made_by in releases.items():
            if made_by:
                _tell_run(client, made_by, release, entries)
    mended = tuple(one for one in before.divergences if one.kind in ("deleted", "recreated", "altered"))
    return Mirrored(len(made), mended)


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


def _register(client: MlflowClient, run_id: str, entry: KeyEntry) -> ModelVersion:
    """A model version whose only artifact is the public event."""
    client.log_text(run_id, entry.artifact_text, entry.artifact)
    return client.create_model_version(
        entry.model,
        source=f"runs:/{run_id}/{entry.artifact}",
        run_id=run_id,
        tags=entry.tags,
        description=entry.description,
    )


def _mirror_run(client: MlflowClient, path: Path, release: str) -> str:
    """The run that holds a ledger's events as artifacts; one a ledger and store."""
    with path.open("rb") as file:
        ledger = leaf_hash(file.readline().removesuffix(b"\n")).hex()
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
    runs = client.search_runs([experiment], f"tags.`medlocker.ledger` = '{ledger}'", max_results=1)
    if runs:
        return str(runs[0].info.run_id)
    tags = {"medlocker.verb": "mirror", "medlocker.ledger": ledger, RELEASE_TAG: release}
    run = client.create_run(experiment, run_name=f"keys of {path.parent.name}", tags=tags)
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _correct(client: MlflowClient, one: ModelVersion, entry: KeyEntry) -> None:
    for name, value in entry.tags.items():
        if one.tags.get(name) != value:
            client.set_model_version_tag(one.name, one.version, name, value)
    if one.description != entry.description:
        client.update_model_version(one.name, one.version, entry.description)
    if one.run_id and artifact_text(client, one, entry) != entry.artifact_text:
        client.log_text(one.run_id, entry.artifact_text, entry.artifact)


def _set_aliases(client: MlflowClient, entries: Sequence[KeyEntry], shown: dict[int, ModelVersion]) -> None:
    """`<recipient>-current` on each recipient's latest key that is neither superseded nor revoked."""
    for (model, name), one in current_keys(entries, shown).items():
        found = client.get_registered_model(model).aliases.get(name)
        if one is not None and str(found) != str(one.version):
            client.set_registered_model_alias(model, name, str(one.version))
        elif one is None and found is not None:
            client.delete_registered_model_alias(model, name)


def _log_head(client: MlflowClient, run_id: str, path: Path, keys: Sequence[PublicKey]) -> None:
    """Keep the latest signed head in MLflow: a receipt that whoever alters the ledger has to find as well."""
    head = _latest_head(path)
    if head is None or not head.signed_by(keys):
        return
    name = f"{head.head.size:09d}.json"
    if f"{HEADS_FOLDER}/{name}" not in {item.path for item in client.list_artifacts(run_id, HEADS_FOLDER)}:
        text = canonical_json(head).decode()
        client.log_text(run_id, text, f"{HEADS_FOLDER}/{name}")
        client.set_tag(run_id, HEAD_TAG, text)


def _latest_head(path: Path) -> SignedTreeHead | None:
    try:
        sidecar = read_sidecar(path)
    except LedgerError:
        return None
    return sidecar.latest if sidecar else None


def _tell_run(client: MlflowClient, run_id: str, release: str, entries: Sequence[KeyEntry]) -> None:
    """Show on the page of the run that made a release what was issued from it and from its editions."""
    issued = [one for one in entries if one.details.release_id == release]
    try:
        note = client.get_run(run_id).data.tags.get(NOTE_TAG, "").split(KEYS_HEADING)[0]
    except MlflowException:
        # The release was made with another store: there is no such run here.
        return
    active = sum(one.state == "active" for one in issued)
    client.set_tag(run_id, "medlocker.keys_issued", str(len(issued)))
    client.set_tag(run_id, "medlocker.keys_active", str(active))
    client.set_tag(run_id, "medlocker.key_model", MODEL_PREFIX + release)
    client.log_text(run_id, json.dumps(list(map(_row, issued)), indent=1), "keys/issued.json")
    if issued:
        client.set_tag(run_id, NOTE_TAG, note + KEYS_HEADING + _summary(issued, active))


def _row(one: KeyEntry) -> dict[str, object]:
    details = one.details
    return {
        "recipient": details.recipient,
        "version": details.key_version,
        "state": one.state,
        "edition": details.edition_id,
        "images": details.images,
        "issued": one.event.time.isoformat(),
        "expires": details.expires_at and details.expires_at.isoformat(),
        "event": one.event.sequence,
    }


def _summary(issued: Sequence[KeyEntry], active: int) -> str:
    shown = [
        f"- {_plain(one.details.recipient)}, version {one.details.key_version}: {one.state}"
        f"{f', expires {one.details.expires_at:%Y-%m-%d}' if one.details.expires_at else ''}"
        for one in issued[-20:]
    ]
    earlier = f"\n\nThe latest {len(shown)} of {len(issued)}; all are in keys/issued.json." if len(issued) > 20 else ""
    return f"{len(issued)} key versions, {active} of them active.\n\n" + "\n".join(shown) + earlier


def _plain(name: str) -> str:
    """A name that Markdown shows as it is."""
    return "".join(f"\\{char}" if char in r"\`*_{}[]<>()#+-.!|" else char for char in name)
