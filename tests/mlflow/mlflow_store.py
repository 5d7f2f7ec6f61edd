"""A tracking store in a folder, with the questions tests ask of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run


@dataclass(frozen=True)
class Store:
    """A tracking store in a folder."""

    folder: Path
    uri: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def runs(self) -> list[Run]:
        """All runs, newest first."""
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        return list(self.client.search_runs(experiments))

    def only_run(self) -> Run:
        (run,) = self.runs()
        return run

    def artifacts(self, run_id: str, folder: str) -> set[str]:
        return {item.path for item in self.client.list_artifacts(run_id, folder)}

    def read(self, run_id: str, artifact: str) -> bytes:
        return Path(self.client.download_artifacts(run_id, artifact)).read_bytes()
