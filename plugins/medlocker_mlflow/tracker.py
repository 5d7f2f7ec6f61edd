"""One MLflow run as a `medlocker.tracking.Tracker`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, InputTag, LoggedModelInput, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_RUN_NOTE

from medlocker.datasets.base import Dataset
from medlocker.errors import TrackingError
from medlocker.tracking import ModelOrigin
from medlocker_mlflow.datasets import LoggedImages
from medlocker_mlflow.names import (
    SETTING_LIMIT,
    SETTING_PREFIX,
    TAG_LIMIT,
    component,
    cut,
    setting_text,
    stored_name,
    stored_names,
)
from medlocker_mlflow.secrets import refuse_secret, refuse_secret_file
from medlocker_mlflow.store import store_errors

T = TypeVar("T")

BATCH = 100
"""Parameters, tags or metrics a request may carry in every store."""


class MlflowTracker:
    """Writes into one run. Everything goes through the run's id, so nested runs and threads do not mix.

    Args:
        client: a client of the store the run is in.
        run_id: the run.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self._description = ""

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._run_id

    @property
    def client(self) -> MlflowClient:
        """A client of the store the run is in."""
        return self._client

    def child_run(self, name: str, *, tags: Mapping[str, str] | None = None) -> AbstractContextManager[MlflowTracker]:
        """A nested run, e.g. one setting of a sweep; ends as `medlocker_mlflow.runs.tracked_run` does.

        Args:
            name: shown in the run list.
            tags: searchable facts about it.

        Returns:
            A context manager that yields the child's tracker.
        """
        from medlocker_mlflow.runs import nested_run

        return nested_run(self._client, name, tags or {})

    def settings(self, values: Mapping[str, object]) -> None:
        """Record resolved settings under `cfg/…`; a text over 500 characters is cut and says so.

        Raises:
            TrackingError: the store refuses, e.g. because a name already has another value.
        """
        with store_errors("the settings were not logged"):
            names = stored_names(values)
            texts = {SETTING_PREFIX + names[name]: setting_text(value) for name, value in values.items()}
            for name, text in texts.items():
                refuse_secret(text, f"setting {name}")
            self._log(params=[Param(name, cut(text, SETTING_LIMIT)) for name, text in texts.items()])

    def tags(self, values: Mapping[str, str]) -> None:
        """Record searchable facts; a text over 5,000 characters is cut and says so.

        Raises:
            TrackingError: the store refuses.
        """
        with store_errors("the tags were not logged"):
            names = stored_names(values)
            for name, text in values.items():
                refuse_secret(text, f"tag {name}")
            self._log(tags=[RunTag(names[name], cut(text, TAG_LIMIT)) for name, text in values.items()])

    def dataset(self, dataset: Dataset, context: str) -> None:
        """Record the data set a job reads, with digest, schema and profile; not its images.

        Raises:
            TrackingError: the store refuses.
        """
        with store_errors("the data set was not logged"):
            entity = LoggedImages(dataset)._to_mlflow_entity()
            tags = [InputTag(MLFLOW_DATASET_CONTEXT, context)]
            self._client.log_inputs(self._run_id, datasets=[DatasetInput(entity, tags)])

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers, at a step where they form a curve; characters MLflow refuses in names become `_`.

        Raises:
            TrackingError: the store refuses, or two names become the same.
        """
        with store_errors("the metrics were not logged"):
            names, now = stored_names(values), int(time.time() * 1000)
            self._log(metrics=[Metric(names[name], float(value), now, step or 0) for name, value in values.items()])

    def model_metrics(self, model_id: str, values: Mapping[str, float]) -> None:
        """Record numbers about a logged model, on the run and on the model.

        Raises:
            TrackingError: the store refuses.
        """
        with store_errors("the model's metrics were not logged"):
            names, now = stored_names(values), int(time.time() * 1000)
            self._log(metrics=[Metric(names[n], float(v), now, 0, model_id=model_id) for n, v in values.items()])

    def models(self, origins: Sequence[ModelOrigin]) -> None:
        """Record which model versions a job's networks are: as inputs of the run, where they are logged models, and in
        the tag `medlocker.models`.

        Raises:
            TrackingError: the store refuses.
        """
        if not origins:
            return
        ids = list(dict.fromkeys(origin.model_id for origin in origins if origin.model_id))
        with store_errors("the models were not logged"):
            if ids:
                self._client.log_inputs(self._run_id, models=[LoggedModelInput(model_id) for model_id in ids])
        self.tags({"medlocker.models": ", ".join(f"{origin.network}={origin.uri}" for origin in origins)})

    def table(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Record a table twice: as JSON, which MLflow shows and compares, and as CSV for everything else.

        Args:
            name: the artifacts are `tables/<name>.json` and `tables/<name>.csv`.
            rows: all with the same columns; an empty table is not logged.

        Raises:
            TrackingError: the rows differ in their columns, or the store refuses.
        """
        if not rows:
            return
        if any(row.keys() != rows[0].keys() for row in rows):
            raise TrackingError(f"the table {name} was not logged", why="its rows do not have the same columns")
        frame = pd.DataFrame([{key: _cell(value) for key, value in row.items()} for row in rows])
        text = frame.to_csv(index=False)
        refuse_secret(text, f"table {name}")
        with store_errors(f"the table {name} was not logged"):
            self._client.log_table(self._run_id, frame, f"tables/{component(name)}.json")
            self._client.log_text(self._run_id, text, f"tables/{component(name)}.csv")

    def picture(self, name: str, pixels: npt.NDArray[np.uint8]) -> None:
        """Record a picture twice: under a name people can read, and for MLflow's image grid, which compares runs.

        Args:
            name: the artifact is `pictures/<name>.png`.
            pixels: (H, W, 3) uint8.

        Raises:
            TrackingError: the store refuses.
        """
        plain = stored_name(name)
        with store_errors(f"the picture {name} was not logged"):
            self._client.log_image(self._run_id, pixels, artifact_file=f"pictures/{plain}.png")
            self._client.log_image(self._run_id, pixels, key=plain, step=0, synchronous=True)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Record a file below an artifact folder.

        Raises:
            TrackingError: the file is missing or holds an identity in the clear, or the store refuses.
        """
        with store_errors(f"{path} was not logged"):
            refuse_secret_file(path)
            self._client.log_artifact(self._run_id, str(path), folder)

    def describe(self, markdown: str) -> None:
        """Set the run's description; a text over 5,000 characters is cut and says so.

        Raises:
            TrackingError: the store refuses.
        """
        refuse_secret(markdown, "the description")
        with store_errors("the description was not logged"):
            self._client.set_tag(self._run_id, MLFLOW_RUN_NOTE, cut(markdown, TAG_LIMIT))
        self._description = markdown

    def record_failure(self, reason: str, kind: str) -> None:
        """Put the reason a run ended early into its tags and before its description.

        Args:
            reason: one sentence or more, as the user saw it.
            kind: the error's class name.

        Raises:
            TrackingError: the store refuses.
        """
        self.tags({"medlocker.error": reason, "medlocker.error_type": kind})
        self.describe(f"**Did not finish:** {reason}\n\n{self._description}".rstrip())

    def _log(self, metrics: Sequence[Metric] = (), params: Sequence[Param] = (), tags: Sequence[RunTag] = ()) -> None:
        for numbers in batches(metrics):
            self._client.log_batch(self._run_id, metrics=numbers)
        for settings in batches(params):
            self._client.log_batch(self._run_id, params=settings)
        for facts in batches(tags):
            self._client.log_batch(self._run_id, tags=facts)


def _cell(value: object) -> object:
    if value is None or isinstance(value, str | bool | int | float | np.generic):
        return value
    return setting_text(value)


def batches(items: Sequence[T], size: int = BATCH) -> Iterator[list[T]]:
    """Items in portions that one request may carry."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
