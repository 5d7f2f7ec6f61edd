"""Files that only their owner may read: written once, never overwritten, refused where others may read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from medlocker.errors import IdentityError

_MAX_FILE_BYTES = 1 << 16


def write_secret(path: Path, content: bytes) -> None:
    """Write a secret to a new file of mode 0600, and to disk.

    Raises:
        IdentityError: the file exists, or cannot be written.
    """
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
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_bounded(path: Path, *, missing: str | None = None) -> bytes:
    """The first 64 KiB of a file, secret or not.

    Args:
        path: the file.
        missing: what to do when there is no such file.

    Raises:
        IdentityError: it is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except FileNotFoundError:
        raise IdentityError(f"{path}: no such file", fix=missing) from None
    except (OSError, ValueError) as error:
        raise IdentityError(f"{str(path)[:200]!r}: cannot be read", why=str(error)[:200]) from None


def check_private(path: Path) -> None:
    """Refuse a secret that others may read. As with SSH this is no warning: one in a log would be passed over.

    Raises:
        IdentityError: others may read the file.
    """
    if os.name == "nt":
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise IdentityError(
            f"{path}: others may read this identity (mode {mode:03o})", fix=f"run chmod 600 {path}, then try again"
        )
