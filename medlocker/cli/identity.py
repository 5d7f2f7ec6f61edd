"""`medlocker identity`: make the key pairs of an owner or a recipient."""

from __future__ import annotations

from pathlib import Path

import click

from medlocker.cli.base import PATH, LazyGroup, json_option, option, print_json
from medlocker.cli.owning import asked_identity, asking, given_passphrase, owner_file, owner_option
from medlocker.errors import SettingsError
from medlocker.keys import new_identity
from medlocker.keys.owner import Owner, add_signing, new_owner, public_file, rotate_signing, signing_file
from medlocker.signing import read_public_keys


@click.group(cls=LazyGroup, verbs={verb: f"{__name__}:{verb}" for verb in ("new", "show", "rotate")})
def identity() -> None:
    """Make, show and rotate identities (key pairs)."""


@click.command()
@option("--out", type=PATH, help="File to write; readable by you alone.")
@click.option("--owner", "for_owner", is_flag=True, help="An owner's: also a signing identity, OUT.signing.pem.")
@option("--signing-for", type=PATH, help="Make only the signing identity of this owner.")
@click.option("--passphrase", "protected", is_flag=True,
              help="Protect the files; asked for, or taken from MEDLOCKER_PASSPHRASE.")  # fmt: skip
@json_option
def new(out: Path | None, for_owner: bool, signing_for: Path | None, protected: bool, as_json: bool) -> None:
    """Make a new identity and print its public key.

    The file is a standard age identity. Whoever has it can open what is sealed to it: back it up, and never send it. An
    owner also signs: publish OUT.signing.pub, so that recipients can tell your keys and releases from others'.
    """
    if (out is None) == (signing_for is None):
        raise SettingsError("name the new file with --out, or an owner's file with --signing-for", why="one of the two")
    if signing_for is not None:
        _tell_owner(asking(add_signing, signing_for), as_json)
        return
    assert out is not None
    passphrase = _new_passphrase(out) if protected else None
    if for_owner:
        _tell_owner(new_owner(out, passphrase), as_json)
        return
    made = new_identity(out, passphrase)
    if as_json:
        print_json({"file": str(out), "public_key": made.public_key})
    else:
        click.echo(made.public_key)


@click.command()
@click.argument("file", type=PATH)
@json_option
def show(file: Path, as_json: bool) -> None:
    """Print the public key of an identity file, and an owner's public signing keys, oldest first."""
    opened = asked_identity(file)
    public = public_file(file)
    signing = [one.text for one in read_public_keys(str(public))] if public.exists() else []
    if as_json:
        print_json({"file": str(file), "public_key": opened.public_key, "signing_keys": signing})
        return
    for line in (opened.public_key, *signing):
        click.echo(line)


@click.command()
@owner_option
@json_option
def rotate(owner: Path | None, as_json: bool) -> None:
    """Give an owner a new signing key, e.g. after the old one may have been copied.

    The former private key is deleted, its public half stays in OWNER.signing.pub, so that what it signed still counts.
    From the next event on a ledger accepts no event signed with the former key. Hand the new OWNER.signing.pub to
    recipients; sign releases again with medlocker key renew.
    """
    _tell_owner(asking(rotate_signing, owner_file(owner)), as_json)


def _new_passphrase(path: Path) -> str:
    given = given_passphrase()
    if given is not None:
        return given
    asked: str = click.prompt(f"New passphrase for {path}", hide_input=True, confirmation_prompt=True, err=True)
    return asked


def _tell_owner(owner: Owner, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "file": str(owner.file),
                "public_key": owner.identity.public_key,
                "signing_file": str(signing_file(owner.file)),
                "signing_keys": [key.text for key in owner.public_keys],
            }
        )
        return
    click.echo(owner.identity.public_key)
    click.echo(owner.signing.public.text)
