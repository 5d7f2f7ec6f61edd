"""Which identity a user means."""

from __future__ import annotations

from pathlib import Path

from medlocker.errors import IdentityError
from medlocker.keys import Identity, load_identity, new_identity

IDENTITY_NAME = "identity.txt"


def given_identity(path: Path | None, owner_dir: Path) -> Identity:
    """The identity as named, or the one that lies in the owner's folder.

    Args:
        path: as named by the user.
        owner_dir: the owner's folder of the release.

    Raises:
        IdentityError: none was named and none lies there.
    """
    if path is not None:
        return load_identity(path)
    kept = owner_dir / IDENTITY_NAME
    if kept.exists():
        return load_identity(kept)
    raise IdentityError(
        "no identity was given",
        why="what unlocks a release is sealed to a person's identity",
        fix="make one with medlocker identity new --out me.txt and name it with --owner (or, to unlock, --identity)",
    )


def demo_identity(owner_dir: Path) -> Identity:
    """The demo's own identity, made on first use."""
    path = owner_dir / IDENTITY_NAME
    if path.exists():
        return load_identity(path)
    owner_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return new_identity(path)
