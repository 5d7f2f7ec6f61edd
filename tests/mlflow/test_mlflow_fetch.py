from __future__ import annotations

from pathlib import Path

import pytest
from mlflow_store import Store

from medlocker.errors import ModelError
from medlocker_mlflow.fetch import fetch_model, is_model_uri


def _run_with(store: Store, folder: Path, *names: str) -> str:
    run = store.client.create_run(store.client.create_experiment("models"))
    for name in names:
        path = folder / name
        path.write_bytes(name.encode())
        store.client.log_artifact(run.info.run_id, str(path), "net")
    return str(run.info.run_id)


def test_the_one_network_file_is_found_in_a_run(store: Store, tmp_path: Path) -> None:
    run_id = _run_with(store, tmp_path, "grader.safetensors", "card.json")
    assert fetch_model(f"runs:/{run_id}/net").read_bytes() == b"grader.safetensors"
    assert fetch_model(f"runs:/{run_id}/net/grader.safetensors").read_bytes() == b"grader.safetensors"


def test_a_registered_version_is_found_by_alias(store: Store, tmp_path: Path) -> None:
    run_id = _run_with(store, tmp_path, "grader.onnx")
    store.client.create_registered_model("grader")
    version = store.client.create_model_version("grader", f"runs:/{run_id}/net", run_id)
    store.client.set_registered_model_alias("grader", "champion", version.version)
    assert fetch_model("models:/grader@champion").name == "grader.onnx"
    assert fetch_model("models:/grader/1").read_bytes() == b"grader.onnx"


def test_no_network_file_and_several_are_told_apart(store: Store, tmp_path: Path) -> None:
    none = _run_with(store, tmp_path, "card.json")
    with pytest.raises(ModelError, match=r"holds no \.safetensors or \.onnx file.*card\.json"):
        fetch_model(f"runs:/{none}/net")


def test_several_network_files_are_listed(store: Store, tmp_path: Path) -> None:
    several = _run_with(store, tmp_path, "a.onnx", "b.onnx")
    with pytest.raises(ModelError, match=r"2 network files\. a\.onnx, b\.onnx"):
        fetch_model(f"runs:/{several}/net")


@pytest.mark.parametrize("uri", ["models:/nobody@champion", "models:/nobody/1", "runs:/" + "0" * 32 + "/net"])
def test_what_is_not_there_is_a_model_error(store: Store, uri: str) -> None:
    with pytest.raises(ModelError, match="could not be downloaded"):
        fetch_model(uri)


def test_only_mlflow_uris_are_fetched(store: Store) -> None:
    assert is_model_uri("models:/a@b")
    assert not is_model_uri("weights/a.onnx")
    with pytest.raises(ModelError, match="not an MLflow URI"):
        fetch_model("weights/a.onnx")
