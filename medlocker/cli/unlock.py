"""`medlocker unlock`: restore the originals of a release."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from medlocker.audit import KeyUsed
from medlocker.cli.base import EXIT_FAILED, PATH, json_option, option, print_json
from medlocker.cli.executor_options import chosen_executor, executor_options
from medlocker.cli.identities import given_identity
from medlocker.cli.ledger_options import owner_key_option
from medlocker.cli.owning import opened_copy, owner_ledger
from medlocker.cli.progress import TerminalProgress
from medlocker.errors import ReleaseError, SettingsError
from medlocker.keys import KeyDocument, UnlockReport, read_key, unlock_release, vault_key
from medlocker.keys.copies import VAULT_NAME, MarkedCopy
from medlocker.keys.owner import Owner
from medlocker.keys.recording import OwnerLedger
from medlocker.keys.release_signature import check_signature
from medlocker.keys.revocations import REVOCATIONS_NAME, check_usable, received_list, trusted_keys
from medlocker.signing import PublicKey
from medlocker.tracking import NullTracker, Tracker
from medlocker.workspace import default_owner_dir


@click.command()
@click.argument("release", type=PATH)
@option("--key", type=PATH, help="The key file.  [default: the owner's vault, RELEASE.owner/vault.age]")
@option("--identity", type=PATH, help="Your identity file, age's or SSH's.  [default: the one in the owner's folder]")
@option("--out", type=PATH, required=True, help="Folder for the originals.")
@option(
    "--lossy", is_flag=True, help="Where a recovery packet is missing, undo the mark by formula (Eq. 9), inexactly."
)
@owner_key_option
@option("--revocations", type=PATH, help="A list of revoked keys, besides the one in the release.")
@click.option("--require-fresh", is_flag=True, help="Refuse a key when no list of revoked keys is fresh.")
@option("--ledger", type=PATH, help="Where the owner's own unlocking is recorded.  [default: that of the release]")
@option("--actor", help="Who acts, as the owner's ledger records it.")
@executor_options
@json_option
@click.pass_context
def unlock(
    ctx: click.Context,
    /,
    release: Path,
    key: Path | None,
    identity: Path | None,
    out: Path,
    lossy: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Restore every image of a release or edition and check each against its digest.

    Exits with 1 when any image fails; the others are restored all the same. The owner needs no key file: the vault
    opens everything, and its use is recorded in the ledger.
    """
    owner_dir = default_owner_dir(release)
    copy = ledger = None
    if key is None:
        copy, owner = _owners_copy(release, owner_dir, identity)
        ledger = owner_ledger(owner, copy.owner_dir, options["ledger"], options["actor"])
        document = vault_key(copy.vault)
        check_signature(release, options["owner_keys"])
    else:
        document = _usable_key(release, key, identity, options)
    with _run(release) as tracker:
        progress = TerminalProgress()
        with (
            chosen_executor(options, progress.say, local="threads") as executor,
            progress.stage("Unlocking images", len(document.images)) as advance,
        ):
            report = unlock_release(
                release, document, out, lossy=lossy, executor=executor, on_image=lambda _image: advance(1)
            )
        counts = Counter(image.status for image in report.images)
        tracker.metrics({f"unlock/{status}": counts[status] for status in ("restored", "lossy", "failed")})
        tracker.tags({"medlocker.release_id": report.release_id})
        if copy is not None and ledger is not None:
            _record_use(copy, ledger, report, tracker.run_id)
        _tell(report, as_json)
        if not report.complete:
            ctx.exit(EXIT_FAILED)


def _run(release: Path) -> AbstractContextManager[Tracker]:
    """The run that `mlflow run` made; a recipient's own command is not tracked, and does not wait for MLflow."""
    if "MLFLOW_RUN_ID" not in os.environ:
        return nullcontext(NullTracker())
    from medlocker_mlflow.runs import tracked_run

    return tracked_run(f"unlock {release.name}", experiment=None, tracking_uri=None, verb="unlock")


def _owners_copy(release: Path, owner_dir: Path, identity: Path | None) -> tuple[MarkedCopy, Owner]:
    """The copy and its owner, who can sign: an unlocking that could not be put on record does not begin."""
    if not (owner_dir / VAULT_NAME).exists():
        raise SettingsError("no key was given", fix="name the key file with --key and your identity with --identity")
    return opened_copy(release, owner_dir, identity)


def _usable_key(release: Path, path: Path, identity: Path | None, options: dict[str, Any]) -> KeyDocument:
    """A recipient's key, once it is shown to be the owner's, in time and not revoked."""
    owner_keys: tuple[PublicKey, ...] = options["owner_keys"]
    document = read_key(path, given_identity(identity, default_owner_dir(release)), owner_keys)
    statement = check_signature(release, owner_keys)
    known = {one.text for one in statement.keys} if statement else {document.owner_key}
    if not owner_keys and document.owner_key not in known:
        raise ReleaseError(
            f"{release}: signed by another owner than the key {path}, or before the owner changed keys",
            fix="ask the owner for their public keys and name them with --owner-key",
        )
    shipped = release / REVOCATIONS_NAME
    places = [*([shipped] if shipped.exists() else []), *filter(None, [options["revocations"]])]
    trusted = trusted_keys(document, owner_keys or (statement.keys if statement else ()))
    lists = [received_list(place, trusted) for place in places]
    for warning in check_usable(document, lists, require_fresh=options["require_fresh"]):
        click.echo(f"Warning: {warning}.", err=True)
    return document


def _record_use(copy: MarkedCopy, ledger: OwnerLedger, report: UnlockReport, run_id: str | None) -> None:
    """Put the owner's own unlocking on record."""
    ledger.run_id = run_id
    ledger.record(
        KeyUsed(
            release_id=copy.release_id,
            edition_id=copy.edition_id,
            recipient="owner",
            images=len(report.images),
            restored=sum(image.status == "restored" for image in report.images),
        )
    )


def _tell(report: UnlockReport, as_json: bool) -> None:
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    for image in report.images:
        if image.message:
            click.echo(f"{image.id}: {image.message}", err=True)
    counts = Counter(image.status for image in report.images)
    inexact = f", {counts['lossy']} restored inexactly" if counts["lossy"] else ""
    click.echo(f"{counts['restored']} of {len(report.images)} images restored bit for bit{inexact}.")
