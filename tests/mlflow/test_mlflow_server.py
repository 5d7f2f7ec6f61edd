"""The plugins against real servers: everything goes over HTTP, and artifacts only through the server.

| | backend store | artifacts, proxied by the server |
| --- | --- | --- |
| sqlite | SQLite | a folder of the server's own |
| postgresql | PostgreSQL | a folder of the server's own |
| s3 | SQLite | a bucket |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from example_release import make_example
from mlflow.entities import Run
from servers import Server, bucket_artifacts, folder_artifacts, mlflow_server, postgres
from test_comparing import readings
from test_evaluator import (
    EXPECTED,
    LEVELS,
    UNIT,
    evaluate,
    grey,
    log_brightness,
    log_brightness_of_files,
    log_onnx_brightness,
)

import medlocker
from medlocker.datasets import DatasetSpec, dataset_digest, open_dataset
from medlocker_mlflow.comparing import compare_runs
from medlocker_mlflow.comparison_page import render_comparison
from medlocker_mlflow.feeding import METADATA_KEYS
from medlocker_mlflow.history import History
from medlocker_mlflow.run_context import RELEASE_ID_VARIABLE
from medlocker_mlflow.runs import tracked_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STORES = ("sqlite", "postgresql", "s3")
FLAVOURS: dict[str, Callable[..., str]] = {
    "pyfunc": log_brightness_of_files,
    "pytorch": log_brightness,
    "onnx": log_onnx_brightness,
}


@pytest.fixture(scope="module", params=STORES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of a store."""
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as ends:
        backend = f"sqlite:///{folder / 'mlflow.db'}"
        if request.param == "postgresql":
            backend = ends.enter_context(postgres())
        artifacts = folder_artifacts(folder / "artifacts")
        if request.param == "s3":
            artifacts = ends.enter_context(bucket_artifacts())
        yield ends.enter_context(mlflow_server(folder, backend, artifacts))


@pytest.fixture
def server(running: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server as a client's tracking store; nothing may be written beside the client."""
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(running.uri)
    yield running
    assert not (tmp_path / "mlruns").exists()
    assert not (tmp_path / "mlflow.db").exists()
    mlflow.set_tracking_uri("")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images with labels."""
    images = tmp_path / "images"
    for name, level in LEVELS.items():
        grey(images / f"{name}.png", level)
    rows = "".join(f"{name}.png,{int(level > 99)}\n" for name, level in LEVELS.items())
    (images / "labels.csv").write_text(f"file,grade\n{rows}")
    return images


def found(digest: str) -> list[Run]:
    return mlflow.search_runs(
        search_all_experiments=True, filter_string=f"datasets.digest = '{digest}'", output_format="list"
    )


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_evaluator_reads_a_registered_model(server: Server, tmp_path: Path, flavour: str) -> None:
    marked = {"dark0": 255, "dark1": 70, "light0": 210, "light1": 0}
    frame = pd.DataFrame(
        {
            "path": [grey(tmp_path / "clean" / f"{name}.png", level) for name, level in LEVELS.items()],
            "marked_path": [grey(tmp_path / "marked" / f"{name}.png", level) for name, level in marked.items()],
            "label": [0, 0, 1, 0],
        }
    )
    name = f"grader-{flavour}"
    FLAVOURS[flavour](
        metadata={METADATA_KEYS["preprocessing"]: UNIT, METADATA_KEYS["network"]: "net"}, registered_model_name=name
    )
    mlflow.MlflowClient().set_registered_model_alias(name, "champion", 1)
    with mlflow.start_run(run_name=flavour) as active:
        result = evaluate(f"models:/{name}@champion", frame)
    assert {metric: result.metrics[metric] for metric in EXPECTED} == pytest.approx(EXPECTED)
    run = mlflow.get_run(active.info.run_id)
    assert run.data.metrics["asr/transfer/net"] == pytest.approx(1 / 3)
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert "evaluation_asr_transfer_net.csv" in server.artifacts.names()
    assert result.artifacts["evaluation_asr_transfer_net"].content.shape == (4, 6)


def test_a_data_set_is_evaluated_and_found_by_its_digest(server: Server, folder: Path) -> None:
    data = mlflow.data.from_image_folder(folder)
    uri = log_brightness(metadata={METADATA_KEYS["preprocessing"]: UNIT, METADATA_KEYS["network"]: "net"})
    with mlflow.start_run() as active:
        result = evaluate(uri, data)
    assert result.metrics["accuracy/clean/net"] == 1.0
    assert "asr/baseline/random_single/net" in mlflow.get_run(active.info.run_id).data.metrics
    (run,) = found(data.digest)
    assert run.info.run_id == active.info.run_id
    assert mlflow.data.get_source(run.inputs.dataset_inputs[0]).load() == str(folder)


def test_an_image_folder_is_logged_with_digest_schema_and_profile(server: Server, folder: Path) -> None:
    data = mlflow.data.from_image_folder(folder, where=(("grade", "0"),))
    with mlflow.start_run() as active:
        mlflow.log_input(data, context="test")
    (run,) = found(data.digest)
    assert run.info.run_id == active.info.run_id
    entry = run.inputs.dataset_inputs[0].dataset
    assert dataset_digest(open_dataset(DatasetSpec(root=folder, where=(("grade", "0"),)))).startswith(entry.digest)
    assert [column["name"] for column in json.loads(entry.schema)["mlflow_colspec"]] == ["id", "image", "label"]
    assert json.loads(entry.profile)["images"] == 2
    assert entry.source_type == "medlocker_images"
    assert found("0" * 32) == []


def test_a_release_is_logged_and_leads_back_to_itself(server: Server, tmp_path: Path) -> None:
    example = make_example(tmp_path)
    data = mlflow.data.from_medlocker_release(example.folder)
    with mlflow.start_run() as active:
        mlflow.log_input(data, context="test")
    (run,) = [one for one in found(data.digest) if one.info.run_id == active.info.run_id]
    (entry,) = run.inputs.dataset_inputs
    assert entry.dataset.source_type == "medlocker_release"
    assert json.loads(entry.dataset.profile)["release_id"] == example.manifest.release_id
    assert mlflow.data.get_source(entry).load() == str(example.folder)


def test_a_bare_run_is_tagged(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RELEASE_ID_VARIABLE, "ab" * 16)
    with mlflow.start_run() as active:
        pass
    tags = mlflow.get_run(active.info.run_id).data.tags
    assert tags["medlocker.version"] == medlocker.__version__
    assert tags["medlocker.release_id"] == "ab" * 16


def test_runs_are_compared_from_what_the_server_hands_out(server: Server, tmp_path: Path) -> None:
    ids = [_release_run(tmp_path, name, marked) for name, marked in (("base", "0" * 20), ("strong", "1" * 20))]
    history = History(server.uri)
    comparison = compare_runs([history.run(name) for name in ("base", "strong")])
    assert [run.run_id for run in comparison.runs] == ids
    assert comparison.tests[0].p_value == pytest.approx(2 * 0.5**20)
    assert "strong misleads net more often than base" in render_comparison(comparison)
    assert "readings.json" in server.artifacts.names()


def _release_run(folder: Path, name: str, marked: str) -> str:
    path = folder / "readings.json"
    path.write_text(readings(marked).model_dump_json())
    with tracked_run(name, experiment="medlocker", tracking_uri=None, verb="protect") as tracker:
        tracker.settings({"seed": len(marked)})
        tracker.artifact(path, "release")
    return str(tracker.run_id)
