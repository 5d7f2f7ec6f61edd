from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from mlflow_store import Store
from PIL import Image

from medlocker.errors import TrackingError
from medlocker.tracking import Tracker
from medlocker_mlflow.runs import tracked_run
from medlocker_mlflow.tracker import MlflowTracker

SECRET = "AGE-SECRET-KEY-1QQPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"


@pytest.fixture
def tracker(store: Store) -> MlflowTracker:
    experiment = store.client.create_experiment("test")
    return MlflowTracker(store.client, store.client.create_run(experiment).info.run_id)


def test_it_is_a_tracker(tracker: MlflowTracker) -> None:
    as_protocol: Tracker = tracker
    assert as_protocol.run_id == tracker.run_id


def test_settings_have_their_prefix_and_long_ones_say_they_were_cut(store: Store, tracker: MlflowTracker) -> None:
    tracker.settings({"seed": 7, "sources": ["a", "b"], "long": "x" * 7000, **{f"n{i}": i for i in range(150)}})
    params = store.client.get_run(tracker.run_id).data.params
    assert params["cfg/seed"] == "7"
    assert params["cfg/sources"] == "a,b"
    assert params["cfg/n149"] == "149"
    assert len(params["cfg/long"]) == 500
    assert "cut: 7000 characters" in params["cfg/long"]


def test_a_setting_does_not_change_its_value(tracker: MlflowTracker) -> None:
    tracker.settings({"seed": 1})
    with pytest.raises(TrackingError, match="settings were not logged"):
        tracker.settings({"seed": 2})


def test_metrics_keep_their_steps_and_odd_names_are_made_acceptable(store: Store, tracker: MlflowTracker) -> None:
    for generation, value in enumerate((0.9, 0.5, 0.2)):
        tracker.metrics({"search/best": value}, step=generation)
    tracker.metrics({"asr/transfer/net@v1": 0.5, "asr/source/none": math.nan})
    history = store.client.get_metric_history(tracker.run_id, "search/best")
    assert [(point.step, point.value) for point in history] == [(0, 0.9), (1, 0.5), (2, 0.2)]
    metrics = store.client.get_run(tracker.run_id).data.metrics
    assert metrics["asr/transfer/net_v1"] == 0.5
    assert math.isnan(metrics["asr/source/none"])


def test_metrics_whose_names_merge_are_refused(tracker: MlflowTracker) -> None:
    with pytest.raises(TrackingError, match="cannot be told apart"):
        tracker.metrics({"asr/a@b": 1.0, "asr/a:b": 0.0})


def test_a_table_is_stored_for_mlflow_and_as_csv(store: Store, tracker: MlflowTracker) -> None:
    tracker.table("images", [{"id": "a", "queries": 650, "ok": True}, {"id": "b, c", "queries": 3, "ok": False}])
    rows = list(csv.DictReader(io.StringIO(store.read(tracker.run_id, "tables/images.csv").decode())))
    assert rows == [{"id": "a", "queries": "650", "ok": "True"}, {"id": "b, c", "queries": "3", "ok": "False"}]
    shown = json.loads(store.read(tracker.run_id, "tables/images.json"))
    assert shown == {"columns": ["id", "queries", "ok"], "data": [["a", 650, True], ["b, c", 3, False]]}


def test_a_table_with_uneven_rows_is_refused(tracker: MlflowTracker) -> None:
    with pytest.raises(TrackingError, match="same columns"):
        tracker.table("images", [{"id": "a"}, {"name": "b"}])


def test_a_picture_is_stored_unchanged_and_reaches_the_image_grid(store: Store, tracker: MlflowTracker) -> None:
    pixels = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
    tracker.picture("sample 1/α", pixels)
    (file,) = store.artifacts(tracker.run_id, "pictures/sample_1")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(store.read(tracker.run_id, file)))), pixels)
    assert any("sample_1" in path for path in store.artifacts(tracker.run_id, "images"))


def test_an_artifact_keeps_its_bytes(store: Store, tracker: MlflowTracker, tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    path.write_bytes(b"{}")
    tracker.artifact(path, "release")
    assert store.read(tracker.run_id, "release/release.json") == b"{}"


def test_a_missing_artifact_is_named(tracker: MlflowTracker, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"nothing\.html was not logged"):
        tracker.artifact(tmp_path / "nothing.html")


def test_the_description_is_what_mlflow_shows(store: Store, tracker: MlflowTracker) -> None:
    tracker.describe("85 of 100 images fool the source.")
    assert store.client.get_run(tracker.run_id).data.tags["mlflow.note.content"] == "85 of 100 images fool the source."


def _log_setting(tracker: MlflowTracker, folder: Path) -> None:
    tracker.settings({"identity": SECRET})


def _log_tag(tracker: MlflowTracker, folder: Path) -> None:
    tracker.tags({"identity": SECRET.lower()})


def _log_table(tracker: MlflowTracker, folder: Path) -> None:
    tracker.table("keys", [{"identity": SECRET}])


def _log_description(tracker: MlflowTracker, folder: Path) -> None:
    tracker.describe(f"made by {SECRET}")


def _log_file(tracker: MlflowTracker, folder: Path) -> None:
    path = folder / "large.txt"
    path.write_bytes(b"x" * ((1 << 20) - 5) + SECRET.encode())  # across the boundary of two reads
    tracker.artifact(path)


@pytest.mark.parametrize("log", [_log_setting, _log_tag, _log_table, _log_description, _log_file])
def test_an_identity_in_the_clear_is_refused(tracker: MlflowTracker, store: Store, tmp_path: Path, log) -> None:
    from secret_scan import find_secrets

    with pytest.raises(TrackingError, match="secret identity in the clear"):
        log(tracker, tmp_path)
    assert find_secrets(store.folder, [SECRET.encode()]) == []


def test_children_belong_to_their_parent_and_end_on_their_own(store: Store) -> None:
    with tracked_run("sweep", experiment="sweeps", tracking_uri=None, verb="protect") as parent:
        for seed in (1, 2):
            with parent.child_run(f"seed {seed}", tags={"seed": str(seed)}) as child:
                child.metrics({"asr/source/net": seed / 10})
        parent.metrics({"asr/source/best": 0.2})
    runs = {run.info.run_name: run for run in store.runs()}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["seed 2"].data.tags["mlflow.parentRunId"] == parent.run_id
    assert runs["seed 2"].data.metrics == {"asr/source/net": 0.2}
    assert runs["sweep"].data.metrics == {"asr/source/best": 0.2}
    assert len({run.info.experiment_id for run in runs.values()}) == 1
