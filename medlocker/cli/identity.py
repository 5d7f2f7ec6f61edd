"""`medlocker identity`: make the key pair of an owner or a recipient."""

from __future__ import annotations

from pathlib import Path

import click

from medlocker.cli.base import PATH, LazyGroup, json_option, option, print_json
from medlocker.keys import load_identity, new_identity


@click.group(cls=LazyGroup, verbs={"new": f"{__name__}:new", "show": f"{__name__}:show"})
def identity() -> None:
    """Make and show age identities (key pairs)."""


@click.command()
@option("--out", type=PATH, required=True, help="File to write; readable by you alone.")
@json_option
def new(out: Path, as_json: bool) -> None:
    """Make a new identity and print its public key.

    The file is a standard age identity. Whoever has it can open what is sealed to it: back it up, and never send it.
    """
    made = new_identity(out)
    if as_json:
        print_json({"file": str(out), "public_key": made.public_key})
    else:
        click.echo(made.public_key)


@click.command()
@click.argument("file", type=PATH)
def show(file: Path) -> None:
    """Print the public key of an identity file."""
    click.echo(load_identity(file).public_key)
