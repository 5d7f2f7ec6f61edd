"""What a long job tells the experiment tracker; the MLflow plugin implements it, `NullTracker` is silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medlocker.datasets.base import Dataset


@dataclass(frozen=True)
class ModelOrigin:
    """Where a network of a job comes from.

    Attributes:
        network: its name in this job.
        uri: a fixed version: `models:/name/3`, `models:/m-…` or `runs:/id/path`; never an alias, which may move.
        run_id: of the run that made it; None where that is not known.
        model_id: of the logged model; None for an artifact that is none.
        by_weights: whether it was not named so, but its weights are those of this version.
    """

    network: str
    uri: str
    run_id: str | None = None
    model_id: str | None = None
    by_weights: bool = False

    def __str__(self) -> str:
        what = "has the weights of" if self.by_weights else "is"
        return f"{self.network} {what} {self.uri}" + (f" (run {self.run_id})" if self.run_id else "")


class Tracker(Protocol):
    """One run's record. Implementations raise `TrackingError` when the store refuses, and never log a secret."""

    @property
    def run_id(self) -> str | None:
        """The run's id in the store; None where nothing is stored."""
        ...

    def settings(self, values: Mapping[str, object]) -> None:
        """Record resolved settings, flat names to scalars or short sequences."""
        ...

    def tags(self, values: Mapping[str, str]) -> None:
        """Record searchable facts about the run."""
        ...

    def dataset(self, dataset: Dataset, context: str) -> None:
        """Record the data set a job reads; `context` is e.g. `protect`, `train`, `validation`."""
        ...

    def models(self, origins: Sequence[ModelOrigin]) -> None:
        """Record which stored model versions a job's networks are."""
        ...

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers, at a step where they form a curve."""
        ...

    def table(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Record a table; every row has the same columns."""
        ...

    def picture(self, name: str, pixels: npt.NDArray[np.uint8]) -> None:
        """Record a picture, (H, W, 3) uint8."""
        ...

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Record a file below an artifact folder."""
        ...

    def describe(self, markdown: str) -> None:
        """Set the run's description, outcome first."""
        ...


class NullTracker:
    """A tracker that records nothing."""

    run_id: str | None = None

    def settings(self, values: Mapping[str, object]) -> None:
        """Do nothing."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Do nothing."""

    def dataset(self, dataset: Dataset, context: str) -> None:
        """Do nothing."""

    def models(self, origins: Sequence[ModelOrigin]) -> None:
        """Do nothing."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Do nothing."""

    def table(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Do nothing."""

    def picture(self, name: str, pixels: npt.NDArray[np.uint8]) -> None:
        """Do nothing."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Do nothing."""

    def describe(self, markdown: str) -> None:
        """Do nothing."""
