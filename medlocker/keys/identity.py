"""Age identity files: make them and read them."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pyrage

from medlocker.errors import IdentityError
from medlocker.sealing import Identity, check_recipient

_SECRET_PREFIX = "AGE-SECRET-KEY-1"
_MAX_FILE_BYTES = 1 << 16


def new_identity(path: Path) -> Identity:
    """Make an age X25519 identity file, in the form that `age-keygen` writes.

    Args:
        path: a file that does not exist yet, in a folder that does; readable by its owner alone.

    Returns:
        The identity.

    Raises:
        IdentityError: the file exists, or cannot be written.
    """
    made = pyrage.x25519.Identity.generate()
    identity = Identity(str(made.to_public()), str(made))
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"# created: {created}\n# public key: {identity.public_key}\n{identity.secret}\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise IdentityError(
            f"{path}: already exists", why="an identity that is overwritten is lost", fix="choose another file"
        ) from None
    except OSError as error:
        raise IdentityError(
            f"{path}: cannot be written", why=error.strerror, fix="choose a file in an existing folder"
        ) from error
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return identity


def load_identity(path: Path) -> Identity:
    """Read an age identity file.

    Args:
        path: as written by `new_identity` or `age-keygen`.

    Returns:
        The identity.

    Raises:
        IdentityError: the file is missing, holds no or several identities, or others may read it. As with SSH, an
            identity that others can read is refused, not warned about: a warning in a log would be passed over.
    """
    text = _read_text(path)
    _check_permissions(path)
    secrets = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(secrets) != 1 or not secrets[0].startswith(_SECRET_PREFIX):
        raise IdentityError(
            f"{path}: does not hold one age identity",
            why="a public key cannot open anything" if "age1" in text and not secrets else None,
            fix="make one with medlocker identity new",
        )
    try:
        return Identity(str(pyrage.x25519.Identity.from_str(secrets[0]).to_public()), secrets[0])
    except pyrage.IdentityError:
        raise IdentityError(f"{path}: its identity is damaged", fix="restore the file from a backup") from None


def parse_recipient(text: str) -> str:
    """A recipient's public key, `age1…`.

    Raises:
        IdentityError: it is not one.
    """
    return check_recipient(text)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode()
    except FileNotFoundError:
        raise IdentityError(f"{path}: no such file", fix="make one with medlocker identity new --out FILE") from None
    except UnicodeDecodeError:
        raise IdentityError(f"{path}: not an age identity", fix="give the file that age-keygen wrote") from None
    except OSError as error:
        raise IdentityError(f"{path}: cannot be read", why=error.strerror) from error


def _check_permissions(path: Path) -> None:
    if os.name == "nt":
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise IdentityError(
            f"{path}: others may read this identity (mode {mode:03o})", fix=f"run chmod 600 {path}, then try again"
        )
