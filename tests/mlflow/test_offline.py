"""Runs recorded in a folder and merged into the real store: two SQLite stores, everything compared."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow_store import Store

from medlocker.datasets import DatasetSpec, open_dataset
from medlocker.datasets.synthetic import write_synthetic_dataset
from medlocker.errors import SettingsError, TrackingError
from medlocker_mlflow.history import History
from medlocker_mlflow.merging import COMPLETE_TAG, merge_offline, parents_first
from medlocker_mlflow.names import ORIGIN_TAG
from medlocker_mlflow.offline import store_uri
from medlocker_mlflow.runs import tracked_run


class Doubling(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return 2 * model_input["x"]


@pytest.fixture
def folder(tmp_path: Path, empty_database: Path, store: Store) -> Path:
    """An empty offline folder, away from the real store."""
    place = tmp_path / "field trip"
    place.mkdir()
    shutil.copy(empty_database, place / "mlflow.db")
    return place


def record(folder: Path, tmp_path: Path) -> None:
    """A parent with a child, a logged model, a data set, curves, artifacts; and one that fails."""
    write_synthetic_dataset(tmp_path / "eyes", per_grade=1, seed=1, split="train", side=96)
    dataset = open_dataset(DatasetSpec(root=tmp_path / "eyes"))
    (tmp_path / "note.txt").write_text("seen in the field")
    with tracked_run("parent", experiment="clinic", tracking_uri=None, verb="sweep", offline=folder) as parent:
        parent.settings({f"s{number}": number for number in range(150)})
        for step in range(3):
            parent.metrics({"curve": step / 2, "asr/source/net": 0.5}, step)
        parent.dataset(dataset, "protect")
        parent.artifact(tmp_path / "note.txt", "notes")
        parent.describe("**Done.**")
        with parent.child_run("child", tags={"medlocker.verb": "protect"}) as child:
            child.metrics({"asr/source/net": 1.0})
            example = pd.DataFrame({"x": [1.0]})
            mlflow.pyfunc.log_model(
                name="model", python_model=Doubling(), input_example=example, pip_requirements=["mlflow"]
            )
    with (
        pytest.raises(ValueError, match="bad"),
        tracked_run("failed", experiment="clinic", tracking_uri=None, verb="train", offline=folder),
    ):
        raise ValueError("bad")


def by_name(runs: list[Run]) -> dict[str, Run]:
    return {str(run.info.run_name): run for run in runs}


def curve(client: Any, run: Run, key: str) -> list[tuple[int, int, float]]:
    return [(m.step, m.timestamp, m.value) for m in client.get_metric_history(run.info.run_id, key)]


def test_a_merge_is_complete_and_happens_once(store: Store, folder: Path, tmp_path: Path) -> None:
    record(folder, tmp_path)
    assert store.runs() == []
    moved = folder.rename(tmp_path / "moved")
    merged = merge_offline(moved, store.uri)
    assert [(run.name, run.outcome) for run in merged] == [
        ("parent", "copied"),
        ("failed", "copied"),
        ("child", "copied"),
    ]

    there = Store(moved, store_uri(moved))
    before = by_name([there.client.get_run(run.info.run_id) for run in there.runs()])
    after = by_name([store.client.get_run(run.info.run_id) for run in store.runs()])
    assert after.keys() == {"parent", "child", "failed"}
    for name, copy in after.items():
        original = before[name]
        assert store.client.get_experiment(copy.info.experiment_id).name == "clinic"
        assert copy.data.params == original.data.params
        assert copy.data.metrics == original.data.metrics
        for key in original.data.metrics:
            assert curve(store.client, copy, key) == curve(there.client, original, key)
        times = ("status", "start_time", "end_time", "run_name")
        assert [getattr(copy.info, t) for t in times] == [getattr(original.info, t) for t in times]
        own = {ORIGIN_TAG, COMPLETE_TAG, "mlflow.parentRunId"}
        assert {k: v for k, v in copy.data.tags.items() if k not in own} == {
            k: v for k, v in original.data.tags.items() if k not in own
        }
        assert copy.data.tags[ORIGIN_TAG] == original.info.run_id
    assert len(after["parent"].data.params) == 150
    assert after["child"].data.tags["mlflow.parentRunId"] == after["parent"].info.run_id
    (dataset,) = after["parent"].inputs.dataset_inputs
    assert dataset.to_dictionary() == before["parent"].inputs.dataset_inputs[0].to_dictionary()
    assert store.read(after["parent"].info.run_id, "notes/note.txt") == b"seen in the field"
    assert after["failed"].data.tags["medlocker.error"] == "bad"

    (output,) = after["child"].outputs.model_outputs
    model = store.client.get_logged_model(output.model_id)
    assert (model.name, model.source_run_id, str(model.status)) == ("model", after["child"].info.run_id, "READY")
    mlflow.set_tracking_uri(store.uri)
    loaded = mlflow.pyfunc.load_model(f"runs:/{after['child'].info.run_id}/model")
    assert (loaded.metadata.model_id, loaded.metadata.run_id) == (output.model_id, after["child"].info.run_id)
    np.testing.assert_array_equal(loaded.predict(pd.DataFrame({"x": [3.0]})), [6.0])

    again = merge_offline(moved, store.uri)
    assert [run.outcome for run in again] == ["there"] * 3
    assert [run.run_id for run in again] == [run.run_id for run in merged]
    assert len(store.runs()) == 3
    assert History(store.uri).run(before["child"].info.run_id[:8]).run_id == after["child"].info.run_id


def test_an_interrupted_merge_is_repeated_and_leaves_no_half_run(
    store: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(folder, tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(mlflow.MlflowClient, "log_artifacts", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(TrackingError, match="disk full"):
            merge_offline(folder, store.uri)
    assert [run.outcome for run in merge_offline(folder, store.uri)] == ["copied"] * 3
    assert sorted(str(run.info.run_name) for run in store.runs()) == ["child", "failed", "parent"]


def test_a_run_that_has_not_ended_waits_for_the_next_merge(store: Store, folder: Path) -> None:
    with tracked_run("long", experiment="clinic", tracking_uri=None, verb="train", offline=folder) as tracker:
        pass
    source = MlflowClient(store_uri(folder))
    source.update_run(tracker.run_id, "RUNNING")
    assert [(run.outcome, run.run_id) for run in merge_offline(folder, store.uri)] == [("running", None)]
    assert store.runs() == []
    source.set_terminated(tracker.run_id)
    assert [run.outcome for run in merge_offline(folder, store.uri)] == ["copied"]


def test_what_is_no_offline_folder_is_refused(store: Store, folder: Path) -> None:
    for place in (store.folder, folder, folder / "nothing"):
        with pytest.raises(SettingsError, match="not an offline folder"):
            merge_offline(place, store.uri)
    with tracked_run("run", experiment="clinic", tracking_uri=None, verb="train", offline=folder):
        pass
    with pytest.raises(SettingsError, match="merged into itself"):
        merge_offline(folder, store_uri(folder))


def test_offline_fits_neither_a_tracking_uri_nor_mlflow_run(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(SettingsError, match="both given"),
        tracked_run("run", experiment="e", tracking_uri=store.uri, verb="train", offline=folder),
    ):
        pytest.fail("the work must not begin")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with (
        pytest.raises(SettingsError, match="does not work under mlflow run"),
        tracked_run("run", experiment="e", tracking_uri=None, verb="train", offline=folder),
    ):
        pytest.fail("the work must not begin")


def test_children_follow_their_parents_whatever_their_times(store: Store) -> None:
    experiment = store.client.create_experiment("e")
    late = store.client.create_run(experiment, start_time=9, run_name="late")
    early = store.client.create_run(experiment, 1, {"mlflow.parentRunId": late.info.run_id}, "early")
    assert [run.info.run_name for run in parents_first([early, late])] == ["late", "early"]
    foreign = store.client.create_run(experiment, 1, {"mlflow.parentRunId": "0" * 32}, "foreign")
    assert parents_first([foreign]) == [foreign]
