"""What a job needs from outside: someone to tell, and someone who turns references into networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from medlocker.classifiers import Classifier

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


class NetworkLoader(Protocol):
    """Turns references (names, files, URIs) into networks; the model zoo's is used by the command line."""

    def sources(self, references: Sequence[str]) -> Sequence[Classifier]:
        """Networks the search may query.

        Raises:
            ModelError: a reference cannot be resolved.
        """
        ...

    def targets(self, references: Sequence[str]) -> Sequence[Classifier]:
        """Networks that only measure transfer.

        Raises:
            ModelError: a reference cannot be resolved.
        """
        ...
