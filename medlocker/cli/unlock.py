"""`medlocker unlock`: restore the originals of a release."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from medlocker.cli.base import EXIT_FAILED, PATH, json_option, option, print_json
from medlocker.cli.identities import given_identity
from medlocker.cli.progress import TerminalProgress
from medlocker.errors import SettingsError
from medlocker.keys import KeyDocument, UnlockReport, read_key, read_vault, unlock_release, vault_key
from medlocker.tracking import NullTracker, Tracker
from medlocker.workspace import VAULT_NAME, default_owner_dir


@click.command()
@click.argument("release", type=PATH)
@option("--key", type=PATH, help="The key file.  [default: the owner's vault, RELEASE.owner/vault.age]")
@option("--identity", type=PATH, help="Your identity file.  [default: the one in the owner's folder]")
@option("--out", type=PATH, required=True, help="Folder for the originals.")
@option(
    "--lossy", is_flag=True, help="Where a recovery packet is missing, undo the mark by formula (Eq. 9), inexactly."
)
@option("--workers", type=click.IntRange(1), default=2, help="Threads.")
@json_option
@click.pass_context
def unlock(
    ctx: click.Context,
    release: Path,
    key: Path | None,
    identity: Path | None,
    out: Path,
    lossy: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Restore every image of a release and check each against its digest.

    Exits with 1 when any image fails; the others are restored all the same. The owner needs no key file: the vault
    opens everything.
    """
    document = _document(release, key, identity)
    with _run(release) as tracker:
        with TerminalProgress().stage("Unlocking images", len(document.images)) as advance:
            report = unlock_release(
                release, document, out, lossy=lossy, workers=workers, on_image=lambda _image: advance(1)
            )
        counts = Counter(image.status for image in report.images)
        tracker.metrics({f"unlock/{status}": counts[status] for status in ("restored", "lossy", "failed")})
        tracker.tags({"medlocker.release_id": report.release_id})
        _tell(report, as_json)
        if not report.complete:
            ctx.exit(EXIT_FAILED)


def _run(release: Path) -> AbstractContextManager[Tracker]:
    """The run that `mlflow run` made; a recipient's own command is not tracked, and does not wait for MLflow."""
    if "MLFLOW_RUN_ID" not in os.environ:
        return nullcontext(NullTracker())
    from medlocker_mlflow.runs import tracked_run

    return tracked_run(f"unlock {release.name}", experiment=None, tracking_uri=None, verb="unlock")


def _document(release: Path, key: Path | None, identity: Path | None) -> KeyDocument:
    """The key document of a recipient, or of the owner where no key is named."""
    owner_dir = default_owner_dir(release)
    if key is not None:
        return read_key(key, given_identity(identity, owner_dir))
    vault = owner_dir / VAULT_NAME
    if not vault.exists():
        raise SettingsError("no key was given", fix="name the key file with --key and your identity with --identity")
    return vault_key(read_vault(vault, given_identity(identity, owner_dir)))


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
