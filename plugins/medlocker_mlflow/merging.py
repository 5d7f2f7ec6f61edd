"""Copy the runs of an offline folder into the real tracking store, completely and once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelInput, LoggedModelOutput, Metric, Param, Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from medlocker.errors import SettingsError, TrackingError
from medlocker_mlflow.names import ORIGIN_TAG
from medlocker_mlflow.offline import ARTIFACTS_NAME, DATABASE_NAME, MARK_NAME, store_uri
from medlocker_mlflow.runs import experiment_id
from medlocker_mlflow.store import connect, quieten, store_errors
from medlocker_mlflow.tracker import batches

COMPLETE_TAG = "medlocker.merged"
"""Tag of a copy that holds everything: when it was made, UTC."""
METRICS_AT_A_TIME = 500
RUN_LEVELS = 3
"""Folders from `artifacts` down to a run's files: experiment, run, `artifacts`."""
MODEL_LEVELS = 4
"""Folders from `artifacts` down to a logged model's files: experiment, `models`, model, `artifacts`."""


@dataclass(frozen=True)
class Merged:
    """What became of an offline run.

    Attributes:
        name: the run's name.
        offline_run_id: in the offline folder.
        run_id: in the tracking store; None where it was left out.
        outcome: `copied`, `there` (by an earlier merge) or `running` (left out).
    """

    name: str
    offline_run_id: str
    run_id: str | None
    outcome: str


def merge_offline(folder: Path, tracking_uri: str | None) -> list[Merged]:
    """Copy every finished run of an offline folder: settings, metrics with steps and times, tags, data sets, artifacts,
    logged models, parents and children, start, end and status.

    A run that an earlier merge copied is left alone; one whose copying was interrupted is copied anew.

    Args:
        folder: that `--offline` named; it may have been moved since.
        tracking_uri: the store to copy into; None for MLFLOW_TRACKING_URI or MLflow's default.

    Returns:
        One entry a run, oldest first.

    Raises:
        SettingsError: the folder is no offline folder, or is itself the store to copy into.
        TrackingError: a store does not answer or refuses.
    """
    if not (folder / DATABASE_NAME).is_file() or not (folder / ARTIFACTS_NAME / MARK_NAME).is_file():
        raise SettingsError(f"{folder}: not an offline folder", fix="name the folder that --offline named")
    quieten()
    target = connect(tracking_uri)
    if target.tracking_uri == store_uri(folder):
        raise SettingsError(
            f"{folder} would be merged into itself",
            fix="name the real store with --tracking-uri or MLFLOW_TRACKING_URI",
        )
    with store_errors(f"{folder} could not be merged"):
        return list(_Merge(folder, MlflowClient(store_uri(folder)), target).run())


class _Merge:
    def __init__(self, folder: Path, source: MlflowClient, target: MlflowClient) -> None:
        self._folder, self._source, self._target = folder, source, target
        self._names = {e.experiment_id: e.name for e in source.search_experiments()}
        self._new_ids: dict[str, str] = {}
        self._new_models: dict[str, str] = {}

    def run(self) -> Iterator[Merged]:
        for run in parents_first(self._runs()):
            name, old = run.info.run_name or run.info.run_id, run.info.run_id
            if run.info.status == "RUNNING":
                yield Merged(name, old, None, "running")
            elif there := self._complete_copy(old):
                self._new_ids[old] = there
                yield Merged(name, old, there, "there")
            else:
                yield Merged(name, old, self._copy(run), "copied")

    def _runs(self) -> list[Run]:
        runs: list[Run] = []
        token: str | None = None
        while True:
            page = self._source.search_runs(list(self._names), page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def _complete_copy(self, run_id: str) -> str | None:
        """The id of a complete copy; an incomplete one is moved to the trash."""
        everywhere = [e.experiment_id for e in self._target.search_experiments()]
        found = self._target.search_runs(everywhere, f"tags.`{ORIGIN_TAG}` = '{run_id}'")
        complete = [r.info.run_id for r in found if COMPLETE_TAG in r.data.tags]
        for half_made in (r.info.run_id for r in found if COMPLETE_TAG not in r.data.tags):
            self._target.delete_run(half_made)
        return complete[0] if complete else None

    def _copy(self, run: Run) -> str:
        tags = dict(run.data.tags) | {ORIGIN_TAG: run.info.run_id}
        if parent := self._new_ids.get(tags.get(MLFLOW_PARENT_RUN_ID, "")):
            tags[MLFLOW_PARENT_RUN_ID] = parent
        place = experiment_id(self._target, self._names[run.info.experiment_id])
        made = self._target.create_run(str(place), run.info.start_time, tags, run.info.run_name)
        new = str(made.info.run_id)
        self._new_ids[run.info.run_id] = new
        self._copy_models(run, made)
        self._copy_numbers(run, new)
        self._copy_inputs(run, new)
        artifacts = self._local(run.info.artifact_uri, RUN_LEVELS)
        if artifacts.is_dir() and any(artifacts.iterdir()):
            self._target.log_artifacts(new, str(artifacts))
        self._target.set_tag(new, COMPLETE_TAG, datetime.now(UTC).isoformat(timespec="seconds"))
        self._target.set_terminated(new, run.info.status, run.info.end_time)
        return new

    def _copy_numbers(self, run: Run, new: str) -> None:
        # `Run.data` keeps the last value of a metric only.
        for key in run.data.metrics:
            history = self._source.get_metric_history(run.info.run_id, key)
            for part in batches([self._metric(point) for point in history], METRICS_AT_A_TIME):
                self._target.log_batch(new, metrics=part)
        for settings in batches([Param(key, value) for key, value in run.data.params.items()]):
            self._target.log_batch(new, params=settings)

    def _metric(self, point: Metric) -> Metric:
        return Metric(
            point.key,
            point.value,
            point.timestamp,
            point.step,
            model_id=self._new_models.get(point.model_id or ""),
            dataset_name=point.dataset_name,
            dataset_digest=point.dataset_digest,
        )

    def _copy_inputs(self, run: Run, new: str) -> None:
        datasets = run.inputs.dataset_inputs if run.inputs else []
        models = run.inputs.model_inputs if run.inputs else []
        known = [LoggedModelInput(self._new_models[m.model_id]) for m in models if m.model_id in self._new_models]
        if datasets or known:
            self._target.log_inputs(new, datasets=datasets, models=known)

    def _copy_models(self, run: Run, made: Run) -> None:
        for output in run.outputs.model_outputs if run.outputs else []:
            old = self._source.get_logged_model(output.model_id)
            new = self._target.create_logged_model(
                made.info.experiment_id, old.name, made.info.run_id, dict(old.tags), dict(old.params), old.model_type
            )
            self._new_models[old.model_id] = new.model_id
            with _readdressed(self._local(old.artifact_location, MODEL_LEVELS), new) as files:
                self._target.log_model_artifacts(new.model_id, str(files))
            self._target.finalize_logged_model(new.model_id, old.status)
            self._target.log_outputs(made.info.run_id, [LoggedModelOutput(new.model_id, output.step)])

    def _local(self, uri: str, levels: int) -> Path:
        """Where artifacts lie now: the folder may have been moved since they were written."""
        return self._folder / ARTIFACTS_NAME / Path(*Path(unquote(urlsplit(uri).path)).parts[-levels:])


@contextmanager
def _readdressed(folder: Path, new: LoggedModel) -> Iterator[Path]:
    """A copy of a logged model's files whose description names the new model and run."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "model"
        shutil.copytree(folder, copy)
        description = copy / "MLmodel"
        if description.is_file():
            facts = yaml.safe_load(description.read_text(encoding="utf-8"))
            facts |= {"model_id": new.model_id, "run_id": new.source_run_id, "artifact_path": new.artifact_location}
            description.write_text(yaml.safe_dump(facts, sort_keys=False), encoding="utf-8")
        yield copy


def parents_first(runs: Sequence[Run]) -> list[Run]:
    """Runs by their start, no child before its parent."""
    waiting = sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))
    here, done = {run.info.run_id for run in runs}, set[str]()
    ordered: list[Run] = []
    while waiting:
        ready = [run for run in waiting if _parent(run.data.tags) in done or _parent(run.data.tags) not in here]
        if not ready:
            raise TrackingError("the offline runs name each other as parents in a circle")
        ordered += ready
        done |= {run.info.run_id for run in ready}
        waiting = [run for run in waiting if run.info.run_id not in done]
    return ordered


def _parent(tags: Mapping[str, str]) -> str:
    return tags.get(MLFLOW_PARENT_RUN_ID, "")
