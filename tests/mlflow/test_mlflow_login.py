"""A tracking server that asks for a login: MLflow's own `basic-auth` app."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from servers import BASIC_AUTH, Server, mlflow_server

from medlocker.errors import TrackingError
from medlocker_mlflow.merging import merge_offline
from medlocker_mlflow.runs import tracked_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        importlib.util.find_spec("flask_wtf") is None, reason="mlflow's basic-auth app needs flask-wtf (mlflow[auth])"
    ),
]
PASSWORD = "correct horse battery"
ADMIN = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", *ADMIN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    monkeypatch.chdir(tmp_path)
    secrets = {"MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD, "MLFLOW_FLASK_SERVER_SECRET_KEY": "for this test only"}
    backend = f"sqlite:///{folder / 'mlflow.db'}"
    with mlflow_server(folder, backend, app=BASIC_AUTH, environment=secrets) as running:
        yield running
    mlflow.set_tracking_uri("")


def record(server: Server, experiment: str = "clinic") -> str:
    with tracked_run("run", experiment=experiment, tracking_uri=server.uri, verb="train") as tracker:
        tracker.metrics({"accuracy": 0.5})
        note = Path("note.txt")
        note.write_text("seen")
        tracker.artifact(note)
    return str(tracker.run_id)


def test_logins_decide_who_may_write(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrackingError, match=r"401.*MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
        record(server)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_PASSWORD") as refused:
        record(server)
    assert "wrong" not in str(refused.value)

    for name, value in ADMIN.items():
        monkeypatch.setenv(name, value)
    run_id = record(server)
    done = MlflowClient(server.uri).get_run(run_id)
    assert (done.info.status, done.data.metrics["accuracy"]) == ("FINISHED", 0.5)
    assert Path(MlflowClient(server.uri).download_artifacts(run_id, "note.txt")).read_text() == "seen"

    with tracked_run("trip", experiment="clinic", tracking_uri=None, verb="train", offline=tmp_path / "trip") as trip:
        trip.metrics({"accuracy": 0.25}, 3)
        trip.artifact(Path("note.txt"))
    (merged,) = merge_offline(tmp_path / "trip", server.uri)
    copy = MlflowClient(server.uri).get_run(str(merged.run_id))
    assert (copy.info.status, copy.data.metrics["accuracy"]) == ("FINISHED", 0.25)
    assert Path(MlflowClient(server.uri).download_artifacts(copy.info.run_id, "note.txt")).read_text() == "seen"

    from mlflow.server import get_app_client

    get_app_client(BASIC_AUTH, server.uri).create_user("reader", "reader's own password")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "reader")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "reader's own password")
    with pytest.raises(TrackingError, match="the right to write there"):
        record(server)
