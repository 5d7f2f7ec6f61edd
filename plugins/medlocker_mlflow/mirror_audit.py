"""Compare a ledger with its mirror in MLflow, and name every difference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from pydantic import BaseModel, ConfigDict

from medlocker.audit import LedgerError, SignedTreeHead
from medlocker.audit.heads import parse_document
from medlocker.signing import PublicKey
from medlocker_mlflow.mirror_view import (
    HEAD_TAG,
    HEADS_FOLDER,
    TAG_PREFIX,
    KeyEntry,
    Registered,
    copy_models,
    current_keys,
    key_entries,
    read_notes,
    registered,
    release_runs,
    runs_about,
    store_name,
    versions_of,
)
from medlocker_mlflow.store import connect, store_errors

DivergenceKind = Literal["missing", "altered", "deleted", "recreated", "extra"]


class Divergence(BaseModel):
    """A difference between ledger and registry.

    Attributes:
        kind: `missing`: an event has no model version. `deleted`: it had one. `recreated`: the version shown is
            another than the one that was registered. `altered`: a tag, description, artifact or alias differs from the
            event. `extra`: a model version without an event.
        model: registered model, or the run that holds a head.
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


class Comparison(NamedTuple):
    """A registry held against a ledger.

    Attributes:
        shown: sequence → the version that shows this event.
        divergences: every difference.
    """

    shown: dict[int, ModelVersion]
    divergences: tuple[Divergence, ...]


class MirroredHeads(NamedTuple):
    """Signed heads of a ledger found in MLflow.

    Attributes:
        heads: signed by the owner; receipts like any other.
        divergences: heads that were damaged or forged.
    """

    heads: tuple[SignedTreeHead, ...]
    divergences: tuple[Divergence, ...]


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
    entries, client = key_entries(path, keys), connect(tracking_uri)
    noted = read_notes(path).stores.get(store_name(), {})
    with store_errors("the registry could not be read"):
        return compare(client, entries, noted, copy_models(path)).divergences


def mirrored_heads(path: Path, keys: Sequence[PublicKey], tracking_uri: str | None) -> MirroredHeads:
    """The signed heads that MLflow holds of a ledger, found by its releases: also when the ledger itself was replaced.

    Args:
        path: the ledger; may be at fault.
        keys: the owner's public keys.
        tracking_uri: the store; None for MLflow's own choice.

    Raises:
        LedgerError: the ledger is missing.
        TrackingError: the store cannot be reached.
    """
    releases = release_runs(path)
    client = connect(tracking_uri)
    heads: dict[str, SignedTreeHead] = {}
    wrong: list[Divergence] = []
    with store_errors("the signed heads could not be read"):
        for run in runs_about(client, releases):
            for name, content in _head_documents(client, run):
                head = _owners_head(content, keys)
                if head is None:
                    wrong.append(_damaged_head(run, name))
                else:
                    heads[head.signature] = head
    return MirroredHeads(tuple(heads.values()), tuple(wrong))


def compare(
    client: MlflowClient,
    entries: Sequence[KeyEntry],
    noted: Mapping[int, Registered],
    models: Iterable[str] = (),
    *,
    state_counts: bool = True,
) -> Comparison:
    """Hold a registry against the key versions of a ledger.

    Args:
        client: of the store.
        entries: of the ledger.
        noted: sequence → what was registered for it.
        models: further models of this ledger, where any version is an extra one.
        state_counts: whether a state or an alias that lags behind the ledger is a difference.
    """
    versions = versions_of(client, {entry.model for entry in entries} | set(models))
    matched = _match(entries, versions, noted)
    shown = {sequence: one for sequence, (one, _) in matched.items()}
    found: list[Divergence] = []
    for entry in entries:
        found += _placed(entry, matched.get(entry.event.sequence), noted.get(entry.event.sequence))
        if one := shown.get(entry.event.sequence):
            found += _altered(client, entry, one, state_counts)
    if state_counts:
        found += _wrong_aliases(client, entries, shown)
    taken = {id(one) for one in shown.values()}
    found += [_extra(one) for one in versions if id(one) not in taken]
    return Comparison(shown, tuple(found))


_Matched = dict[int, tuple[ModelVersion, bool]]


def _match(entries: Sequence[KeyEntry], versions: Sequence[ModelVersion], noted: Mapping[int, Registered]) -> _Matched:
    """Sequence → its version, and whether it is the one that was registered (or none was noted).

    The one that was registered comes first, whatever its tags say now; then one that bears the event's number in its
    tag; then one that bears the registered version's number.
    """
    left = {registered(one): one for one in versions}
    matched: _Matched = {}
    for entry in entries:
        before = noted.get(entry.event.sequence)
        if before in left:
            matched[entry.event.sequence] = (left.pop(before), True)
    for entry in entries:
        sequence = entry.event.sequence
        if sequence in matched:
            continue
        before = noted.get(sequence)
        similar = next((key for key, one in left.items() if _claims(one, entry)), None) or next(
            (key for key in left if before and (key.model, key.version) == (before.model, before.version)), None
        )
        if similar is not None:
            matched[sequence] = (left.pop(similar), before is None)
    return matched


def _claims(one: ModelVersion, entry: KeyEntry) -> bool:
    return one.name == entry.model and one.tags.get(f"{TAG_PREFIX}sequence") == str(entry.event.sequence)


def _placed(
    entry: KeyEntry, matched: tuple[ModelVersion, bool] | None, before: Registered | None
) -> Iterator[Divergence]:
    if matched is None:
        yield _told(
            entry, "deleted" if before else "missing", before.version if before else None,
            f"its model version {'was deleted' if before else 'was never made'}",
        )  # fmt: skip
    elif not matched[1]:
        number = before.version if before else 0
        yield _told(
            entry, "recreated", int(matched[0].version),
            f"registered as version {number}, now shown by one that was made later",
        )  # fmt: skip


def _altered(client: MlflowClient, entry: KeyEntry, one: ModelVersion, state_counts: bool) -> Iterator[Divergence]:
    expected = {**entry.tags, "description": entry.description}
    found = {**one.tags, "description": one.description or ""}
    if not state_counts:
        expected.pop(f"{TAG_PREFIX}state")
    wrong = [f"{name} is {found.get(name)!r}, ledger says {value!r}"
             for name, value in expected.items() if found.get(name) != value]  # fmt: skip
    if artifact_text(client, one, entry) != entry.artifact_text:
        wrong.append(f"its artifact {entry.artifact} is not the event")
    if wrong:
        yield _told(entry, "altered", int(one.version), "; ".join(wrong))


def artifact_text(client: MlflowClient, one: ModelVersion, entry: KeyEntry) -> str | None:
    """What the run of a model version holds as the event; None where it holds nothing."""
    if one.run_id is None or one.source != f"runs:/{one.run_id}/{entry.artifact}":
        return None
    try:
        return Path(client.download_artifacts(one.run_id, entry.artifact)).read_text()
    except (MlflowException, OSError, UnicodeDecodeError):
        return None


def _wrong_aliases(
    client: MlflowClient, entries: Sequence[KeyEntry], shown: dict[int, ModelVersion]
) -> Iterator[Divergence]:
    names: dict[str, dict[str, str]] = {}
    for (model, alias), one in current_keys(entries, shown).items():
        if model not in names:
            names[model] = _aliases(client, model)
        found = names[model].get(alias)
        if found != (None if one is None else str(one.version)):
            meant = "no version" if one is None else f"version {one.version}"
            told = f"alias {alias} names {f'version {found}' if found else 'no version'}, by the ledger {meant}"
            yield Divergence(kind="altered", model=model, version=None, sequence=None, message=told)


def _aliases(client: MlflowClient, model: str) -> dict[str, str]:
    try:
        return {name: str(version) for name, version in client.get_registered_model(model).aliases.items()}
    except MlflowException:
        return {}


def _head_documents(client: MlflowClient, run: Run) -> Iterator[tuple[str, bytes]]:
    yield HEAD_TAG, run.data.tags[HEAD_TAG].encode()
    for item in client.list_artifacts(run.info.run_id, HEADS_FOLDER):
        try:
            content = Path(client.download_artifacts(run.info.run_id, item.path)).read_bytes()
        except (MlflowException, OSError):
            content = b""
        yield item.path, content


def _owners_head(content: bytes, keys: Sequence[PublicKey]) -> SignedTreeHead | None:
    try:
        head = parse_document(content, SignedTreeHead, "head")
    except LedgerError:
        return None
    return head if head.signed_by(keys) else None


def _damaged_head(run: Run, name: str) -> Divergence:
    told = f"run {run.info.run_id}: {name} is not a head that the owner signed"
    return Divergence(kind="altered", model="signed head", version=None, sequence=None, message=told)


def _extra(one: ModelVersion) -> Divergence:
    return Divergence(
        kind="extra", model=one.name, version=int(one.version), sequence=None, message="no event of the ledger made it"
    )


def _told(entry: KeyEntry, kind: DivergenceKind, version: int | None, message: str) -> Divergence:
    what = f"{entry.details.recipient}, key version {entry.details.key_version}: {message}"
    return Divergence(kind=kind, model=entry.model, version=version, sequence=entry.event.sequence, message=what)
