"""The last check before anything leaves for MLflow: an identity in the clear is refused.

The MLflow server hands artifacts to whoever asks, so what is logged is published. Callers log no secret by design; this
guard turns a mistake into an error instead of a leak.
"""

from __future__ import annotations

from pathlib import Path

from medlocker.errors import TrackingError

IDENTITY_MARK = b"AGE-SECRET-KEY-"
"""How every age identity begins; bech32 may also be written in lower case."""

_CHUNK = 1 << 20


def refuse_secret(content: bytes | str, what: str) -> None:
    """Refuse text or bytes that hold an age identity.

    Args:
        content: what is about to be logged.
        what: its name, for the message.

    Raises:
        TrackingError: it holds an identity.
    """
    data = content.encode() if isinstance(content, str) else content
    if IDENTITY_MARK in data.upper():
        raise TrackingError(
            f"{what} was not logged",
            why="it holds a secret identity in the clear, and whatever MLflow stores can be read by others",
            fix="log the sealed vault or key instead",
        )


def refuse_secret_file(path: Path) -> None:
    """Refuse a file that holds an age identity; reads it in pieces.

    Raises:
        TrackingError: it holds an identity.
        OSError: it cannot be read.
    """
    tail = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            refuse_secret(tail + chunk, str(path))
            tail = chunk[-len(IDENTITY_MARK) :]
