"""`medlocker audit`: read, verify, prove and export the owner's ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from medlocker.audit import (
    Event,
    EventFilter,
    InclusionProof,
    LedgerError,
    SignedTreeHead,
    check_proof,
    export_events,
    prove_consistency,
    prove_inclusion,
    read_events,
    read_proof,
    read_receipt,
    read_sidecar,
    select,
    verify_ledger,
    write_document,
)
from medlocker.audit import who as holdings
from medlocker.audit.exports import ExportFormat
from medlocker.cli.base import EXIT_FAILED, PATH, LazyGroup, checked, json_option, option, print_json
from medlocker.cli.ledger_options import event_line, filter_options, holding_line, ledger_options, tell_report
from medlocker.cli.mirroring import divergence_line
from medlocker.cli.times import Moment
from medlocker.errors import SettingsError
from medlocker.release import MANIFEST_NAME, load_manifest
from medlocker.signing import PublicKey

if TYPE_CHECKING:
    from medlocker_mlflow.mirror_audit import Divergence

VERBS = ("log", "who", "verify", "prove", "export", "mirror")


@click.group(cls=LazyGroup, verbs={verb: f"{__name__}:{verb}" for verb in VERBS})
def audit() -> None:
    """Show, verify and export the ledger of what was released and issued to whom.

    RELEASE stands for the ledger beside its vault, RELEASE.owner/ledger.jsonl; --ledger names another.
    """


@click.command()
@ledger_options
@filter_options
@json_option
def log(
    release: Path | None, ledger: Path | None, owner_keys: tuple[PublicKey, ...], as_json: bool, **wanted: Any
) -> None:
    """List events. Without --owner-key the chain is checked, but no signature."""
    events = _selected(release, ledger, owner_keys, wanted)
    if as_json:
        print_json({"events": [event.model_dump(mode="json") for event in events]})
        return
    for event in events:
        click.echo(event_line(event))


@click.command()
@ledger_options
@option("--image", help="Only keys that open this image: its id, as in the manifest.")
@option("--release-id", "release_id", help="Only keys of this release or edition.  [default: that of RELEASE]")
@option("--at", type=Moment(), help="The moment asked for.  [default: now]")
@json_option
def who(
    release: Path | None,
    ledger: Path | None,
    owner_keys: tuple[PublicKey, ...],
    image: str | None,
    release_id: str | None,
    at: datetime | None,
    as_json: bool,
) -> None:
    """Show who holds which key version, now and ever.

    A delivered key cannot be recalled: expired, superseded and revoked keys still open what they opened.
    """
    events = read_events(_ledger(release, ledger), owner_keys)
    wanted = release_id or _release_id(release, image)
    found = holdings(events, now=at or datetime.now(UTC), release=wanted, image=image)
    if as_json:
        print_json({"holdings": [one.model_dump(mode="json") for one in found]})
        return
    for one in found:
        click.echo(holding_line(one))
    click.echo(f"{sum(one.state == 'active' for one in found)} of {len(found)} keys are active.")


@click.command()
@ledger_options
@option("--receipt", "receipts", type=PATH, multiple=True, help="A receipt or proof that was given away; repeatable.")
@click.option("--strict", is_flag=True, help="Count warnings as faults.")
@option("--mlflow", help="Also compare the key versions in this MLflow store, e.g. sqlite:///mlflow.db.")
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    release: Path | None,
    ledger: Path | None,
    owner_keys: tuple[PublicKey, ...],
    receipts: tuple[Path, ...],
    strict: bool,
    mlflow: str | None,
    as_json: bool,
) -> None:
    """Check every line's signature and chain, and that each receipt fits.

    Exits with 1 on any fault, or difference to MLflow. Only a receipt shows that the ledger's end was cut off or all of
    it written anew; with --mlflow the signed heads that were logged there count as receipts as well.
    """
    path, keys = _ledger(release, ledger), _required(owner_keys)
    heads, differing = _mirrored(path, keys, mlflow) if mlflow else ((), ())
    report = verify_ledger(path, keys, [*map(read_receipt, receipts), *heads])
    if mlflow and report.ok:
        differing = (*differing, *_divergences(path, keys, mlflow))
    if as_json:
        mirrored = {"mlflow": [one.model_dump(mode="json") for one in differing]} if mlflow else {}
        compared = {"mlflow_compared": report.ok} if mlflow else {}
        print_json({"ok": report.ok and not differing, **report.model_dump(mode="json"), **compared, **mirrored})
    else:
        tell_report(report)
        if mlflow:
            _tell_differing(differing, report.ok, len(heads))
    if not report.ok or differing or (strict and report.warnings):
        ctx.exit(EXIT_FAILED)


@click.command()
@ledger_options
@option("--mlflow", help="The MLflow store.  [default: MLFLOW_TRACKING_URI, else ./mlflow.db]")
@json_option
def mirror(
    release: Path | None, ledger: Path | None, owner_keys: tuple[PublicKey, ...], mlflow: str | None, as_json: bool
) -> None:
    """Show the ledger's key versions in MLflow's model registry; what is right already is left alone.

    The registry is a view that anyone with access can change; the ledger is the record.
    """
    from medlocker_mlflow.mirror import mirror_ledger

    done = mirror_ledger(_ledger(release, ledger), owner_keys, mlflow)
    if as_json:
        print_json({"made": done.made, "mended": [one.model_dump(mode="json") for one in done.mended]})
        return
    for one in done.mended:
        click.echo(f"Put right: {divergence_line(one)}", err=True)
    click.echo(f"{done.made} key versions registered; the others were there.")


def _mirrored(
    path: Path, keys: tuple[PublicKey, ...], uri: str
) -> tuple[tuple[SignedTreeHead, ...], tuple[Divergence, ...]]:
    from medlocker_mlflow.mirror_audit import mirrored_heads

    return mirrored_heads(path, keys, uri)


def _divergences(path: Path, keys: tuple[PublicKey, ...], uri: str) -> tuple[Divergence, ...]:
    from medlocker_mlflow.mirror_audit import verify_mirror

    return verify_mirror(path, keys, uri)


def _tell_differing(differing: tuple[Divergence, ...], compared: bool, heads: int) -> None:
    for one in differing:
        click.echo(divergence_line(one), err=True)
    if compared:
        click.echo(f"MLflow: {heads} signed heads found there; {len(differing)} differences to the ledger.")
    else:
        # The lines of a faulty ledger are nothing to compare a registry with.
        click.echo(f"MLflow: {heads} signed heads found there; key versions not compared, the ledger is at fault.")


@click.command()
@ledger_options
@option("--event", "sequence", type=click.IntRange(0), help="Prove that this event is in the ledger.")
@option("--receipt", type=PATH, help="Prove against this head; without --event: prove that the ledger has only grown.")
@option("--out", type=PATH, help="File for the proof.")
@option("--check", type=PATH, help="Check this proof instead; needs only --owner-key.")
@json_option
def prove(
    release: Path | None,
    ledger: Path | None,
    owner_keys: tuple[PublicKey, ...],
    sequence: int | None,
    receipt: Path | None,
    out: Path | None,
    check: Path | None,
    as_json: bool,
) -> None:
    """Write a proof, or check one offline.

    Exits with 1 if a checked proof proves nothing.
    """
    if check is not None:
        proof = read_proof(check)
        check_proof(proof, _required(owner_keys))
    else:
        proof = _prove(_ledger(release, ledger), sequence, receipt)
        if out is None:
            raise SettingsError("no file for the proof", fix="name it with --out")
        write_document(out, proof)
    if as_json:
        print_json(proof.model_dump(mode="json"))
    elif isinstance(proof, InclusionProof):
        click.echo(f"Among the first {proof.head.head.size} events: {event_line(proof.entry.event)}")
    else:
        click.echo(f"The ledger of {proof.new.head.size} events begins with that of {proof.old.head.size}.")


@click.command()
@ledger_options
@filter_options
@option("--format", "form", type=click.Choice(get_args(ExportFormat)), required=True,
        help="json, csv, FHIR R4 AuditEvent bundle, or DICOM/ATNA audit messages, one a line.")  # fmt: skip
@option("--out", type=PATH, help="File to write.  [default: standard output]")
def export(
    release: Path | None,
    ledger: Path | None,
    owner_keys: tuple[PublicKey, ...],
    form: ExportFormat,
    out: Path | None,
    **wanted: Any,
) -> None:
    """Write events in a form that other audit systems read."""
    text = export_events(_selected(release, ledger, owner_keys, wanted), form)
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        with out.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        raise LedgerError(f"{out}: cannot be written", why=error.strerror, fix="choose a new file") from error


def _ledger(release: Path | None, ledger: Path | None) -> Path:
    if ledger is not None:
        return ledger
    if release is None:
        raise SettingsError("no ledger was given", fix="name the RELEASE, or the ledger with --ledger")
    from medlocker.keys.recording import ledger_file
    from medlocker.workspace import default_owner_dir

    return ledger_file(default_owner_dir(release))


def _required(owner_keys: tuple[PublicKey, ...]) -> tuple[PublicKey, ...]:
    if not owner_keys:
        raise SettingsError("no public key of the owner was given", fix="name it with --owner-key")
    return owner_keys


def _selected(
    release: Path | None, ledger: Path | None, owner_keys: tuple[PublicKey, ...], wanted: dict[str, Any]
) -> list[Event]:
    release_id = wanted.pop("release_id") or (_release_id(release, wanted["image"]) if wanted["image"] else None)
    events = read_events(_ledger(release, ledger), owner_keys)
    return list(select(events, checked(EventFilter, release=release_id, **wanted)))


def _release_id(release: Path | None, image: str | None) -> str | None:
    """The id of the release that was named; refuses an image that is not in it."""
    if release is None or not (release / MANIFEST_NAME).exists():
        return None
    manifest = load_manifest(release)
    if image is not None and image not in {one.id for one in manifest.images}:
        raise SettingsError(f"{release} holds no image {image!r}", fix="give an id from its release.json")
    return manifest.release_id


def _prove(ledger: Path, sequence: int | None, receipt: Path | None) -> Any:
    if sequence is None and receipt is None:
        raise SettingsError("nothing to prove", fix="give --event, --receipt or --check")
    given = None if receipt is None else read_receipt(receipt)
    if sequence is not None:
        return prove_inclusion(ledger, sequence, given or _latest(ledger))
    return prove_consistency(ledger, given or _latest(ledger), _latest(ledger))


def _latest(ledger: Path) -> SignedTreeHead:
    sidecar = read_sidecar(ledger)
    if sidecar is None:
        raise LedgerError(f"{ledger}: no signed head lies beside it", fix="name a receipt with --receipt")
    return sidecar.latest
