"""Whom a job tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[..., None]
"""`advance(steps=1, note="")`: so many steps done, with a short remark."""


class Progress(Protocol):
    """Shows how far a job is."""

    def stage(self, name: str, total: int | None) -> AbstractContextManager[Advance]:
        """One stage of known (or unknown) length; yields its `advance`."""
        ...

    def say(self, line: str) -> None:
        """One line of plain text, outcome or remark."""
        ...


class SilentProgress:
    """Shows nothing."""

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Advance]:
        """Ignore the stage."""
        yield lambda _steps=1, _note="": None

    def say(self, line: str) -> None:
        """Ignore the line."""
