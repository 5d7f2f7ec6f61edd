"""Which identity a user means."""

from __future__ import annotations

from pathlib import Path

from medlocker.cli.owning import IDENTITY_NAME, asked_identity, owner_file, signing_owner
from medlocker.errors import IdentityError
from medlocker.keys import Identity
from medlocker.keys.owner import Owner, new_owner


def given_identity(path: Path | None, owner_dir: Path) -> Identity:
    """The identity as named, or the one that lies in the owner's folder.

    Args:
        path: as named by the user.
        owner_dir: the owner's folder of the release.

    Raises:
        IdentityError: none was named and none lies there.
    """
    if path is not None:
        return asked_identity(path)
    kept = owner_dir / IDENTITY_NAME
    if kept.exists():
        return asked_identity(kept)
    raise IdentityError(
        "no identity was given",
        why="what unlocks a release is sealed to a person's identity",
        fix="make one with medlocker identity new --out me.txt and name it with --identity",
    )


def protecting_owner(path: Path | None, owner_dir: Path, *, demo: bool) -> Owner:
    """The owner of a release to be made, found as by every owner's verb (`owner_file`).

    The demo makes one of its own, in the owner's folder, on first use.

    Raises:
        IdentityError: none was named and none is found.
    """
    kept = owner_dir / IDENTITY_NAME
    if path is None and demo and not kept.exists():
        owner_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return new_owner(kept)
    return signing_owner(owner_file(path, owner_dir))
