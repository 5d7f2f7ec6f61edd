"""Who turns references into networks for a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from medlocker.classifiers import Classifier


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
