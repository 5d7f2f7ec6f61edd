"""`medlocker recipient`: whom keys may be issued to."""

from __future__ import annotations

from pathlib import Path

import click

from medlocker.cli.base import PATH, F, LazyGroup, json_option, option, print_json
from medlocker.cli.owning import opened_owner, owner_option, registry_path
from medlocker.errors import SettingsError
from medlocker.keys.recipients import add_recipient, read_registry

_NAMES = {"add": "add", "list": "list_recipients"}


@click.group(cls=LazyGroup, verbs={verb: f"{__name__}:{function}" for verb, function in _NAMES.items()})
def recipient() -> None:
    """Register recipients, and list them.

    The list lies beside the owner's identity (OWNER.recipients.json) and is signed. A release's ledger records a
    recipient with the first key that is issued to them.
    """


def _registry_option(function: F) -> F:
    return option("--registry", type=PATH, help="The list.  [default: OWNER.recipients.json]")(function)


@click.command()
@click.argument("name")
@option("--key", help="Their public key: age1…, ssh-ed25519 … or ssh-rsa ….")
@option("--key-file", type=PATH, help="A file that holds it, e.g. id_ed25519.pub.")
@option("--organisation", help="Theirs.")
@option("--purpose", help="What they may use the images for.")
@click.option("--replace", is_flag=True, help="Take the place of a recipient of this name.")
@owner_option
@_registry_option
@json_option
def add(
    name: str,
    key: str | None,
    key_file: Path | None,
    organisation: str | None,
    purpose: str | None,
    replace: bool,
    owner: Path | None,
    registry: Path | None,
    as_json: bool,
) -> None:
    """Register a recipient. They need nothing but an age or SSH key pair, and keep its private half to themselves.

    Name, organisation and purpose are recorded in ledgers, in clear text and for good: use a pseudonym where a person
    may ask to be forgotten.
    """
    person = opened_owner(owner)
    added = add_recipient(
        registry_path(registry, person),
        person,
        name,
        _public_key(key, key_file),
        organisation=organisation,
        purpose=purpose,
        replace=replace,
    )
    if as_json:
        print_json(added.model_dump(mode="json"))
    else:
        click.echo(f"{added.name}: registered with {added.key}")


@click.command()
@owner_option
@_registry_option
@json_option
def list_recipients(owner: Path | None, registry: Path | None, as_json: bool) -> None:
    """List registered recipients."""
    person = opened_owner(owner)
    known = read_registry(registry_path(registry, person), person).recipients
    if as_json:
        print_json({"recipients": [one.model_dump(mode="json") for one in known]})
        return
    for one in known:
        facts = [one.name, one.key[:40] + ("…" if len(one.key) > 40 else ""), f"since {one.added_at:%Y-%m-%d}"]
        click.echo("  ".join([*facts, *filter(None, (one.organisation, one.purpose))]))
    click.echo(f"{len(known)} registered.")


def _public_key(key: str | None, key_file: Path | None) -> str:
    if (key is None) == (key_file is None):
        raise SettingsError("give the recipient's public key with --key, or with --key-file", why="one of the two")
    if key is not None:
        return key
    assert key_file is not None
    try:
        lines = [line for line in key_file.read_text().splitlines() if line.strip() and not line.startswith("#")]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--key-file {key_file}: cannot be read", why=str(error)) from error
    if len(lines) != 1:
        raise SettingsError(f"--key-file {key_file}: does not hold one public key", fix="give the file of one key")
    return lines[0]
