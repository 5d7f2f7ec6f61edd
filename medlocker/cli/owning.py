"""What owners' verbs share: whose identity, which ledger, which recipients."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from medlocker.cli.base import PATH, F, option
from medlocker.errors import IdentityError, SettingsError
from medlocker.keys import Identity, load_identity
from medlocker.keys.copies import MarkedCopy, open_copy
from medlocker.keys.identity import LockedIdentityError
from medlocker.keys.owner import Owner, add_signing, load_owner, signing_file
from medlocker.keys.recipients import Recipient, add_recipient, read_registry, registry_file
from medlocker.keys.recording import OwnerLedger, ledger_file
from medlocker.release import load_manifest
from medlocker.workspace import default_owner_dir

OWNER_VARIABLE = "MEDLOCKER_OWNER"
PASSPHRASE_VARIABLE = "MEDLOCKER_PASSPHRASE"
DEFAULT_OWNER = Path("owner.txt")
IDENTITY_NAME = "identity.txt"
"""The demo's identity in the owner's folder."""

T = TypeVar("T")


def owner_option(function: F) -> F:
    """`--owner`."""
    return option(
        "--owner", type=PATH, envvar=OWNER_VARIABLE,
        help=f"The owner's identity file.  [default: {OWNER_VARIABLE}, else the one in the owner's folder, else "
             f"{DEFAULT_OWNER} here]",
    )(function)  # fmt: skip


def copy_options(function: F) -> F:
    """An owner, and a release or edition of theirs."""
    for add in (
        option("--actor", help="Who acts, as the ledger records it.  [default: MEDLOCKER_ACTOR, else the login name]"),
        option("--ledger", type=PATH, help="The ledger.  [default: ledger.jsonl in the owner's folder of the release]"),
        option("--owner-dir", type=PATH, help="The owner's folder.  [default: RELEASE.owner]"),
        owner_option,
    ):
        function = add(function)
    return function


def given_passphrase() -> str | None:
    """The passphrase in the environment; None where there is none."""
    return os.environ.get(PASSPHRASE_VARIABLE)


def asking(load: Callable[[Path, str | None], T], path: Path) -> T:
    """Load something that a passphrase may protect: from the environment, or asked for on a terminal.

    Raises:
        LockedIdentityError: it is protected, and there is nobody to ask.
    """
    given = given_passphrase()
    try:
        return load(path, given)
    except LockedIdentityError:
        if not sys.stdin.isatty():
            raise
        return load(path, click.prompt(f"Passphrase of {path}", hide_input=True, err=True))


def asked_identity(path: Path) -> Identity:
    """An identity file, its passphrase asked for where it needs one."""
    return asking(load_identity, path)


def owner_file(named: Path | None, owner_dir: Path | None = None) -> Path:
    """Which identity file is the owner's.

    Args:
        named: with `--owner` or `MEDLOCKER_OWNER`.
        owner_dir: the owner's folder of a release, which the demo's identity lies in.

    Raises:
        IdentityError: none is named and none is found.
    """
    places = [named] if named else [*([owner_dir / IDENTITY_NAME] if owner_dir else []), DEFAULT_OWNER]
    for place in places:
        if named or place.exists():
            return place
    raise IdentityError(
        "no owner's identity was given",
        why=f"there is no {DEFAULT_OWNER} here, and {OWNER_VARIABLE} is not set",
        fix="make one with medlocker identity new --owner --out owner.txt, and name it with --owner",
    )


def opened_owner(named: Path | None, owner_dir: Path | None = None) -> Owner:
    """The owner, ready to sign.

    Raises:
        IdentityError: an identity is missing or damaged.
    """
    return asking(load_owner, owner_file(named, owner_dir))


def signing_owner(path: Path) -> Owner:
    """An owner about to make a first release; a signing identity is made for one who has none, and told of."""
    if not signing_file(path).exists():
        made = asking(add_signing, path)
        click.echo(f"Made a signing identity for this owner: {signing_file(path)}. Back it up.", err=True)
        return made
    return asking(load_owner, path)


def opened_copy(folder: Path, owner_dir: Path | None, owner: Path | None) -> tuple[MarkedCopy, Owner]:
    """A release or edition with its owner."""
    kept = owner_dir or default_owner_dir(folder)
    load_manifest(folder)  # A missing release is named before a passphrase is asked for.
    person = opened_owner(owner, kept)
    return open_copy(folder, kept, person.identity), person


def owner_ledger(
    owner: Owner, owner_dir: Path, ledger: Path | None, actor: str | None, run_id: str | None = None
) -> OwnerLedger:
    """The ledger to record in."""
    return OwnerLedger(ledger or ledger_file(owner_dir), owner, actor=actor, run_id=run_id)


def recipient_options(function: F) -> F:
    """Whom something is for."""
    for add in (
        option("--registry", type=PATH, help="The list of recipients.  [default: OWNER.recipients.json]"),
        option("--recipient", "public_key", help="Their public key; registers somebody new."),
        option("--to", "name", required=True, help="The recipient's name."),
    ):
        function = add(function)
    return function


def named_recipient(name: str, owner: Owner, registry: Path | None, public_key: str | None) -> Recipient:
    """A registered recipient; a public key given with the command registers somebody new.

    Raises:
        IdentityError: nobody of this name is registered, and no public key was given.
        SettingsError: they are registered with another public key.
    """
    path = registry_path(registry, owner)
    known = next((one for one in read_registry(path, owner).recipients if one.name == name), None)
    if public_key is None:
        return known or read_registry(path, owner).find(name)
    if known is None:
        return add_recipient(path, owner, name, public_key)
    if public_key.split()[:2] != known.key.split()[:2]:
        raise SettingsError(
            f"--recipient: {name} is registered with another public key",
            fix="if they changed keys: medlocker recipient add NAME --key … --replace, then medlocker key reissue",
        )
    return known


def registry_path(named: Path | None, owner: Owner) -> Path:
    """The list of recipients."""
    return named or registry_file(owner.file)
