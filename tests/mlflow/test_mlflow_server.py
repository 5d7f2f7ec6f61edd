"""The plugins against a real server: everything goes over HTTP, and artifacts only through the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from servers import Server, mlflow_server, postgres
from test_comparing import readings
from test_evaluator import LEVELS, UNIT, evaluate, grey, log_brightness

import medlocker
from medlocker_mlflow.comparing import compare_runs
from medlocker_mlflow.comparison_page import render_comparison
from medlocker_mlflow.feeding import METADATA_KEYS
from medlocker_mlflow.history import History
from medlocker_mlflow.runs import tracked_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.chdir(tmp_path)
    if request.param == "postgresql":
        with postgres() as backend, mlflow_server(folder, backend) as running:
            yield _chosen(running)
    else:
        with mlflow_server(folder, f"sqlite:///{folder / 'mlflow.db'}") as running:
            yield _chosen(running)
    mlflow.set_tracking_uri("")


def _chosen(running: Server) -> Server:
    mlflow.set_tracking_uri(running.uri)
    return running


def test_every_plugin_works_over_http(server: Server, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for name, level in LEVELS.items():
        grey(images / f"{name}.png", level)
    (images / "labels.csv").write_text("file,grade\n" + "".join(f"{n}.png,{int(v > 99)}\n" for n, v in LEVELS.items()))
    data = mlflow.data.from_image_folder(images)
    ids = [_release_run(tmp_path, name, marked) for name, marked in (("base", "0" * 20), ("strong", "1" * 20))]

    uri = log_brightness(metadata={METADATA_KEYS["preprocessing"]: UNIT, METADATA_KEYS["network"]: "net"})
    with mlflow.start_run(run_name="evaluation") as active:
        result = evaluate(uri, data)
    assert result.metrics["accuracy/clean/net"] == 1.0
    evaluated = mlflow.get_run(active.info.run_id)
    assert evaluated.data.tags["medlocker.version"] == medlocker.__version__
    assert evaluated.data.metrics["asr/baseline/random_single/net"] == result.metrics["asr/baseline/random_single/net"]
    found = mlflow.search_runs(
        search_all_experiments=True, filter_string=f"datasets.digest = '{data.digest}'", output_format="list"
    )
    assert [run.info.run_id for run in found] == [active.info.run_id]
    assert mlflow.data.get_source(found[0].inputs.dataset_inputs[0]).load() == str(images)

    history = History(server.uri)
    comparison = compare_runs([history.run(name) for name in ("base", "strong")])
    assert [run.run_id for run in comparison.runs] == ids
    assert comparison.tests[0].p_value == pytest.approx(2 * 0.5**20)
    assert "strong misleads net more often than base" in render_comparison(comparison)

    assert evaluated.info.artifact_uri.startswith("mlflow-artifacts:/")
    stored = {path.name for path in server.artifacts.rglob("*") if path.is_file()}
    assert {"readings.json", "evaluation_asr_baseline_random_single_net.csv"} <= stored
    assert not (tmp_path / "mlruns").exists()
    assert not (tmp_path / "mlflow.db").exists()


def _release_run(folder: Path, name: str, marked: str) -> str:
    path = folder / "readings.json"
    path.write_text(readings(marked).model_dump_json())
    with tracked_run(name, experiment="medlocker", tracking_uri=None, verb="protect") as tracker:
        tracker.settings({"seed": len(marked)})
        tracker.artifact(path, "release")
    return str(tracker.run_id)
