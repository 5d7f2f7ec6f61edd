"""`medlocker key`: issue keys that unlock a release."""

from __future__ import annotations

from pathlib import Path

import click

from medlocker.cli.base import PATH, LazyGroup, json_option, option, print_json
from medlocker.keys import issue_key, load_identity, load_manifest, read_vault, write_key
from medlocker.workspace import VAULT_NAME, default_owner_dir


@click.group(cls=LazyGroup, verbs={"issue": f"{__name__}:issue"})
def key() -> None:
    """Issue keys to authorised recipients."""


@click.command()
@click.argument("release", type=PATH)
@option("--owner", type=PATH, required=True, help="The owner's identity file.")
@option("--to", "name", required=True, help="The recipient's name.")
@option("--recipient", required=True, help="The recipient's public key, age1….")
@option("--out", type=PATH, required=True, help="File to write; sealed, so that only the recipient can open it.")
@option("--owner-dir", type=PATH, help="The owner's folder.  [default: RELEASE.owner]")
@json_option
def issue(
    release: Path, owner: Path, name: str, recipient: str, out: Path, owner_dir: Path | None, as_json: bool
) -> None:
    """Issue a key for a release, sealed to one recipient.

    A delivered key cannot be recalled: whoever can open it can unlock the release from then on.
    """
    vault_path = (owner_dir or default_owner_dir(release)) / VAULT_NAME
    vault = read_vault(vault_path, load_identity(owner))
    document = issue_key(vault, load_manifest(release), to=name, recipient=recipient)
    write_key(out, document)
    if as_json:
        print_json(
            {
                "key": str(out),
                "release_id": document.release_id,
                "key_version": document.key_version,
                "to": name,
                "recipient": recipient,
                "images": len(document.images),
                "issued_at": document.issued_at.isoformat(),
            }
        )
    else:
        click.echo(f"{out}: key version {document.key_version} of {len(document.images)} images, sealed to {name}")
