"""`medlocker key`: the life of keys that unlock a release or an edition."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from medlocker.audit import Holding, read_events, who
from medlocker.cli.base import PATH, CommaList, F, LazyGroup, json_option, option, print_json
from medlocker.cli.identities import given_identity
from medlocker.cli.ledger_options import counted, holding_line, owner_key_option
from medlocker.cli.mirroring import mirror_after, mirror_option
from medlocker.cli.owning import copy_options, named_recipient, opened_copy, owner_ledger, recipient_options
from medlocker.cli.times import Duration, Expiry
from medlocker.errors import SettingsError
from medlocker.keys import KeyDocument, load_manifest, read_key, vault_key
from medlocker.keys.copies import MarkedCopy
from medlocker.keys.lifecycle import Issued, Terms, matching_images, publish_revocations, revoke
from medlocker.keys.lifecycle import issue as issue_to
from medlocker.keys.lifecycle import reissue as reissue_to
from medlocker.keys.owner import Owner
from medlocker.keys.paper_form import write_paper_form
from medlocker.keys.recording import OwnerLedger, ledger_file
from medlocker.keys.release_signature import SIGNATURE_NAME, renew_signature
from medlocker.keys.revocations import FRESH_FOR, REVOCATIONS_NAME, RevocationList
from medlocker.signing import PublicKey
from medlocker.workspace import default_owner_dir

_NAMES = {"issue": "issue", "reissue": "reissue", "revoke": "revoke_key", "renew": "renew", "list": "list_keys",
          "show": "show", "export": "export"}  # fmt: skip
LIMIT = (
    "Note: a delivered key cannot be recalled; whoever holds it can restore its images from then on. The cure for a "
    "lost key is a new release under a new secret: medlocker rerelease."
)


@click.group(cls=LazyGroup, verbs={verb: f"{__name__}:{function}" for verb, function in _NAMES.items()})
def key() -> None:
    """Issue, reissue, revoke and look at keys. RELEASE may be an edition as well.

    Every issue, reissue and revocation is recorded in the owner's ledger before its outcome exists.
    """


def _terms_options(function: F) -> F:
    for add in (
        option("--images", type=CommaList(), help="Only these images: ids or patterns such as 'ward4/*'."),
        option("--expires", "expires_at", type=Expiry(), help="When it ends: 2027-01-31, or 90d, 1y."),
        recipient_options,
        option("--out", type=PATH, required=True, help="File for the key, sealed so that only they can open it."),
    ):
        function = add(function)
    return function


@click.command()
@click.argument("release", type=PATH)
@_terms_options
@copy_options
@mirror_option
@json_option
def issue(release: Path, name: str, out: Path, as_json: bool, **options: Any) -> None:
    """Issue a recipient's first key, sealed to them, with a receipt that goes to them as well.

    A delivered key cannot be recalled: whoever can open it can unlock the release from then on.
    """
    copy, owner, ledger = _open(release, options)
    recipient = named_recipient(name, owner, options["registry"], options["public_key"])
    terms = _terms(copy, options)
    ledger.record_recipient(recipient)
    _tell_issued(issue_to(copy, ledger, recipient, out, terms), as_json)
    mirror_after(ledger, options["mirror"])


@click.command()
@click.argument("release", type=PATH)
@_terms_options
@option("--reason", required=True, help="Why; recorded in the ledger.")
@click.option("--revoke", "revoke_replaced", is_flag=True, help="Also revoke the version that is replaced.")
@copy_options
@mirror_option
@json_option
def reissue(
    release: Path, name: str, out: Path, reason: str, revoke_replaced: bool, as_json: bool, **options: Any
) -> None:
    """Issue the next version of a recipient's key; the earlier one counts as superseded.

    The earlier version still opens its images. Expiry and images are those named here, not those of the earlier one.
    """
    copy, owner, ledger = _open(release, options)
    recipient = named_recipient(name, owner, options["registry"], options["public_key"])
    terms = _terms(copy, options)
    ledger.record_recipient(recipient)
    issued = reissue_to(copy, ledger, recipient, out, reason, terms)
    if revoke_replaced:
        revoke(copy, ledger, name, reason, version=issued.details.key_version - 1)
        publish_revocations(copy, ledger)
    _tell_issued(issued, as_json)
    mirror_after(ledger, options["mirror"])


@click.command("revoke")
@click.argument("release", type=PATH)
@option("--to", "name", required=True, help="The recipient's name.")
@option("--version", type=click.IntRange(1), help="Only this version.  [default: all of theirs]")
@option("--reason", required=True, help="Why; recorded in the ledger.")
@option("--fresh-for", type=Duration(), default=FRESH_FOR, help="While the list is fresh.", show_default="30d")
@option("--out", type=PATH, help="Another file for the list, to be handed on.")
@copy_options
@mirror_option
@json_option
def revoke_key(
    release: Path,
    name: str,
    version: int | None,
    reason: str,
    fresh_for: timedelta,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Revoke a recipient's key, and write the signed list of revoked keys into the release.

    MedLocker refuses a revoked key wherever this list is at hand. It cannot recall it.
    """
    copy, _owner, ledger = _open(release, options)
    made = revoke(copy, ledger, name, reason, version=version)
    published = publish_revocations(copy, ledger, fresh_for=fresh_for, out=out)
    if as_json:
        print_json({"revoked": [one.key_version for one in made], **_list_facts(release, published)})
    else:
        what = f"version {', '.join(str(one.key_version) for one in made)}" if made else "nothing new"
        click.echo(f"{name}: {what} revoked. {_list_text(release, published)}")
        click.echo(LIMIT, err=True)
    mirror_after(ledger, options["mirror"])


@click.command()
@click.argument("release", type=PATH)
@option("--fresh-for", type=Duration(), default=FRESH_FOR, help="While the list is fresh.", show_default="30d")
@option("--out", type=PATH, help="Another file for the list, to be handed on.")
@copy_options
@json_option
def renew(release: Path, fresh_for: timedelta, out: Path | None, as_json: bool, **options: Any) -> None:
    """Write the list of revoked keys anew, so that it counts as fresh.

    After medlocker identity rotate it also signs the release with the new key.
    """
    copy, owner, ledger = _open(release, options)
    signed = renew_signature(release, owner)
    published = publish_revocations(copy, ledger, fresh_for=fresh_for, out=out)
    if as_json:
        print_json({**_list_facts(release, published), "signed_again": signed})
        return
    if signed:
        click.echo(f"{release / SIGNATURE_NAME}: signed with the owner's latest key")
    click.echo(_list_text(release, published))


@click.command("list")
@click.argument("release", type=PATH)
@option("--owner-dir", type=PATH, help="The owner's folder.  [default: RELEASE.owner]")
@option("--ledger", type=PATH, help="The ledger.  [default: ledger.jsonl in the owner's folder of the release]")
@owner_key_option
@json_option
def list_keys(
    release: Path, owner_dir: Path | None, ledger: Path | None, owner_keys: tuple[PublicKey, ...], as_json: bool
) -> None:
    """List every version of every key to a release or edition, with its state. Needs no secret."""
    held = _holdings(release, ledger or ledger_file(owner_dir or default_owner_dir(release)), owner_keys)
    if as_json:
        print_json({"keys": [one.model_dump(mode="json") for one in held]})
        return
    for one in held:
        click.echo(holding_line(one))
    click.echo(f"{sum(one.state == 'active' for one in held)} of {len(held)} keys are active.")


@click.command()
@click.argument("release", type=PATH)
@option("--key", "key_file", type=PATH, required=True, help="The key file.")
@option("--identity", type=PATH, help="The identity it is sealed to.  [default: the one in the owner's folder]")
@owner_key_option
@json_option
def show(
    release: Path, key_file: Path, identity: Path | None, owner_keys: tuple[PublicKey, ...], as_json: bool
) -> None:
    """Show what a key holds, without its secrets."""
    document = read_key(key_file, given_identity(identity, default_owner_dir(release)), owner_keys)
    facts = document.model_dump(mode="json", exclude={"images", "logo"})
    facts |= {
        "images": len(document.images),
        "for_this_release": document.release_id == load_manifest(release).release_id,
        "signer_checked_against": "--owner-key" if owner_keys else "the key's own statement",
    }
    if as_json:
        print_json(facts | {"image_ids": [image.id for image in document.images]})
        return
    for name, value in facts.items():
        if value is not None or name == "expires_at":
            click.echo(f"{name.replace('_', ' ')}: {'never' if value is None else value}")


@click.command()
@click.argument("release", type=PATH)
@option("--key", "key_file", type=PATH, help="The key file.  [default: the owner's vault]")
@option("--identity", type=PATH, help="The identity that opens it.  [default: the one in the owner's folder]")
@click.option("--paper-form", is_flag=True, help="The paper's own list, {I: [L, x, y]}; the only form there is.")
@click.option("--plaintext", is_flag=True, help="Confirm that parameters are written in the clear.")
@option("--out", type=PATH, required=True, help="New file, .json or .npz.")
@option("--owner-dir", type=PATH, help="The owner's folder.  [default: RELEASE.owner]")
@owner_key_option
def export(
    release: Path,
    key_file: Path | None,
    identity: Path | None,
    paper_form: bool,
    plaintext: bool,
    out: Path,
    owner_dir: Path | None,
    owner_keys: tuple[PublicKey, ...],
) -> None:
    """Write a key's parameters in the paper's form: opacity of every mark pixel, and position."""
    if not paper_form:
        raise SettingsError("no form was named", fix="repeat with --paper-form")
    if not plaintext:
        raise SettingsError(
            f"{out} would hold the marks' parameters in the clear",
            why="whoever reads them can undo the marks, inexactly, by Eq. 9",
            fix="repeat with --plaintext if that is meant",
        )
    document = _opened(release, key_file, identity, owner_dir or default_owner_dir(release), owner_keys)
    write_paper_form(out, document)
    counted_images = counted(len(document.images), "image")
    click.echo(
        f"Warning: {out} holds the parameters of {counted_images} in the clear. Keep it as safe as a key.", err=True
    )


def _open(release: Path, options: dict[str, Any]) -> tuple[MarkedCopy, Owner, OwnerLedger]:
    copy, owner = opened_copy(release, options["owner_dir"], options["owner"])
    return copy, owner, owner_ledger(owner, copy.owner_dir, options["ledger"], options["actor"])


def _terms(copy: MarkedCopy, options: dict[str, Any]) -> Terms:
    named = options["images"]
    return Terms(options["expires_at"], matching_images(copy, named) if named else None)


def _opened(
    release: Path, key_file: Path | None, identity: Path | None, owner_dir: Path, owner_keys: tuple[PublicKey, ...]
) -> KeyDocument:
    if key_file is not None:
        return read_key(key_file, given_identity(identity, owner_dir), owner_keys)
    copy, _owner = opened_copy(release, owner_dir, identity)
    return vault_key(copy.vault)


def _holdings(release: Path, ledger: Path, owner_keys: tuple[PublicKey, ...]) -> list[Holding]:
    copy_id = load_manifest(release).release_id
    held = who(read_events(ledger, owner_keys), now=datetime.now(UTC))
    return [one for one in held if (one.edition_id or one.release_id) == copy_id]


def _tell_issued(issued: Issued, as_json: bool) -> None:
    details = issued.details
    if as_json:
        print_json({"key": str(issued.path), "receipt": str(issued.receipt_path), "recovered": issued.recovered,
                    **details.model_dump(mode="json", exclude={"scope"})})  # fmt: skip
        return
    expiry = f", expires {details.expires_at:%Y-%m-%d}" if details.expires_at else ""
    finished = " (recorded by an earlier, interrupted command)" if issued.recovered else ""
    click.echo(
        f"{issued.path}: key version {details.key_version} for {counted(details.images, 'image')}, sealed to "
        f"{details.recipient}"
        f"{expiry}{finished}"
    )
    click.echo(f"{issued.receipt_path}: receipt, for {details.recipient} to keep")
    click.echo(LIMIT, err=True)


def _list_facts(release: Path, published: RevocationList) -> dict[str, object]:
    return {"list": str(release / REVOCATIONS_NAME), "number": published.number,
            "next_update": published.next_update.isoformat(), "revoked_in_all": len(published.revoked)}  # fmt: skip


def _list_text(release: Path, published: RevocationList) -> str:
    return (
        f"{release / REVOCATIONS_NAME}: list no. {published.number}, revoked keys: {len(published.revoked)}, "
        f"fresh until {published.next_update:%Y-%m-%d}"
    )
