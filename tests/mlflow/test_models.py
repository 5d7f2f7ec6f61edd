"""Networks as logged and registered MLflow models, used again by pyfunc, by the evaluator and by our own verbs."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient
from mlflow.models import get_model_info
from mlflow_store import Store
from PIL import Image

from medlocker.cli.loading import ZooLoader
from medlocker.errors import ModelError, SettingsError
from medlocker.imageio import read_image
from medlocker.preprocessing import network_input
from medlocker.tracking import ModelOrigin
from medlocker_mlflow.fetch import fetch_model, find_by_weights, pin_model
from medlocker_mlflow.loading import ClassifierPredictor
from medlocker_mlflow.models import (
    LoggedNetwork,
    Registration,
    checked_registration,
    log_classifier,
    log_onnx,
    model_metrics,
)
from medlocker_mlflow.runs import tracked_run
from medlocker_zoo.classifier import TorchClassifier
from medlocker_zoo.export import export_onnx
from medlocker_zoo.resolve import resolve_source, resolve_target
from medlocker_zoo.storage import load_classifier, save_classifier

UNIT = resolve_source("demo_resnet").preprocessing
FIGURES = {
    "validation_accuracy": 0.4,
    "test_images": 10.0,
    "test_accuracy": 0.9,
    "test_accuracy_low": 0.6,
    "test_accuracy_high": 0.98,
    "test_kappa": 0.8,
    "test_accuracy_class_0": 1.0,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    demo = resolve_source("demo_resnet")
    measured = TorchClassifier(demo.network, demo.metadata.model_copy(update={"metrics": FIGURES}), demo.device)
    path = tmp_path_factory.mktemp("weights") / "clinic.safetensors"
    save_classifier(path, measured)
    return path


@pytest.fixture(scope="module")
def onnx_file(weights: Path) -> Path:
    path = weights.with_name("clinic.onnx")
    export_onnx(load_classifier(weights, name="clinic"), path)
    return path


def log(weights: Path, registration: Registration | None, onnx_file: Path | None = None) -> tuple[LoggedNetwork, str]:
    classifier = load_classifier(weights, name="clinic")
    with tracked_run("run", experiment="models", tracking_uri=None, verb="train") as tracker:
        if onnx_file is None:
            return log_classifier(tracker, weights, classifier, registration), tracker.run_id
        return log_onnx(tracker, onnx_file, classifier, registration), tracker.run_id


def probabilities(uri: str, batch: np.ndarray) -> np.ndarray:
    answer = mlflow.pyfunc.load_model(uri).predict(batch)
    return answer["probabilities"] if isinstance(answer, dict) else answer


def test_a_trained_network_is_a_model_that_says_everything_of_itself(store: Store, weights: Path) -> None:
    logged, run_id = log(weights, Registration("grader", "champion"))
    assert (logged.registered, str(logged)) == ("models:/grader/1", "models:/grader/1 (models:/grader@champion)")
    info = get_model_info("models:/grader@champion")
    assert [spec.shape for spec in info.signature.inputs.inputs] == [(-1, 3, 160, 160)]
    assert [spec.shape for spec in info.signature.outputs.inputs] == [(-1, 5)]
    assert info.metadata["medlocker.preprocessing"]["input_size"] == 160
    batch = np.random.default_rng(0).normal(size=(3, 3, 160, 160)).astype(np.float32)
    expected = load_classifier(weights).probabilities(torch.from_numpy(batch)).numpy()
    for uri in ("models:/grader@champion", "models:/grader/1", f"runs:/{run_id}/model", logged.uri):
        np.testing.assert_allclose(probabilities(uri, batch), expected, atol=1e-6)
        assert fetch_model(uri).read_bytes() == weights.read_bytes()

    found = store.client.get_model_version("grader", "1")
    assert found.description.startswith("**Accuracy 90.0%** (60.0%–98.0%) on 10 test images, quadratic kappa 0.800.")
    assert found.run_id == run_id
    model = store.client.get_logged_model(logged.model_id)
    figures = {metric.key: metric.value for metric in model.metrics}
    assert (figures["accuracy"], figures["kappa"], figures["accuracy/lo"], figures["accuracy/n"]) == (0.9, 0.8, 0.6, 10)
    assert figures["accuracy/class/0"] == 1.0
    run = store.client.get_run(run_id)
    assert run.data.metrics["accuracy"] == 0.9
    assert run.data.tags["medlocker.registered"] == "models:/grader/1"


def test_the_next_version_takes_the_alias_over(store: Store, weights: Path) -> None:
    log(weights, Registration("grader", "champion"))
    assert str(log(weights, Registration("grader", "champion"))[0].registered) == "models:/grader/2"
    assert store.client.get_model_version_by_alias("grader", "champion").version == 2


def test_an_onnx_model_runs_alone_and_never_asks_for_the_cpu_runtime(
    store: Store, weights: Path, onnx_file: Path
) -> None:
    logged, run_id = log(weights, Registration("grader"), onnx_file)
    batch = np.random.default_rng(0).normal(size=(2, 3, 160, 160)).astype(np.float32)
    expected = resolve_source(str(weights)).probabilities(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(probabilities("models:/grader/1", batch), expected, atol=1e-4)
    folder = Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/model"))
    lines = (folder / "requirements.txt").read_text().split()
    assert [line for line in lines if line.startswith("onnxruntime")] == [
        f"onnxruntime-gpu[cuda,cudnn]=={version('onnxruntime-gpu')}"
    ]
    conda = yaml.safe_load((folder / "conda.yaml").read_text())
    named = {str(line).split("==")[0] for line in conda["dependencies"][-1]["pip"]}
    assert not {"medlocker", "torch", "onnxruntime"} & named
    target = resolve_target("models:/grader/1", provider="cpu", fetch_uri=fetch_model)
    assert (target.name, target.fingerprint) == ("grader-1", load_classifier(weights).fingerprint)
    assert logged.alias is None


@pytest.mark.parametrize("kind", ["pytorch", "onnx"])
def test_the_evaluator_needs_no_further_word(
    store: Store, weights: Path, onnx_file: Path, tmp_path: Path, kind: str
) -> None:
    logged, _ = log(weights, None, onnx_file if kind == "onnx" else None)
    path = tmp_path / "grey.png"
    Image.new("RGB", (200, 200), (90, 40, 20)).save(path)
    truth = int(load_classifier(weights).probabilities(network_input(read_image(path).pixels, UNIT)[None]).argmax())
    with mlflow.start_run():
        result = mlflow.models.evaluate(
            logged.uri,
            pd.DataFrame({"path": [str(path)], "label": [truth]}),
            targets="label",
            model_type="classifier",
            evaluators="medlocker",
        )
    assert result.metrics["accuracy/clean/clinic"] == 1.0
    assert "asr/baseline/random_single/clinic" in result.metrics


def test_a_shape_that_does_not_fit_is_named(weights: Path) -> None:
    with pytest.raises(ModelError, match=r"\(1, 3, 8, 8\)\. it takes \(N, 3, 160, 160\)"):
        ClassifierPredictor(load_classifier(weights)).predict(np.zeros((1, 3, 8, 8), np.float32))


def test_every_way_to_name_a_model_is_pinned_to_its_version(store: Store, weights: Path) -> None:
    logged, run_id = log(weights, Registration("grader", "champion"))
    first = ModelOrigin("", "models:/grader/1", run_id, logged.model_id)
    for uri in ("models:/grader@champion", "models:/grader/1", "models:/grader/latest"):
        assert pin_model(uri) == first
    assert pin_model(logged.uri) == ModelOrigin("", logged.uri, run_id, logged.model_id)
    assert pin_model(f"runs:/{run_id}/model") == ModelOrigin("", f"runs:/{run_id}/model", run_id, logged.model_id)
    for missing in ("models:/nobody@champion", "models:/grader/9", "runs:/" + "0" * 32 + "/model"):
        with pytest.raises(ModelError, match="could not be downloaded"):
            pin_model(missing)


def test_the_loader_says_which_versions_its_networks_are(store: Store, weights: Path, tmp_path: Path) -> None:
    logged, run_id = log(weights, Registration("grader", "champion"))
    loader = ZooLoader("cpu", "cpu")
    (named,) = loader.sources(["models:/grader@champion"])
    by_run, demo = loader.targets([f"runs:/{run_id}/model", "demo_darknet"])
    (file,) = loader.sources([str(weights)])
    assert [n.name for n in (named, by_run, demo, file)] == [
        "grader-1",
        f"demo_resnet-{run_id[:8]}",
        "demo_darknet",
        "clinic",
    ]
    assert [str(origin) for origin in loader.origins] == [
        f"grader-1 is models:/grader/1 (run {run_id})",
        f"demo_resnet-{run_id[:8]} is runs:/{run_id}/model (run {run_id})",
        f"clinic has the weights of models:/grader/1 (run {run_id})",
    ]
    assert find_by_weights("0" * 64) is None
    with tracked_run("protect", experiment="models", tracking_uri=None, verb="protect") as tracker:
        tracker.models(loader.origins)
    run = MlflowClient().get_run(tracker.run_id)
    assert [entry.model_id for entry in run.inputs.model_inputs] == [logged.model_id]
    assert "grader-1=models:/grader/1" in run.data.tags["medlocker.models"]


def test_metrics_are_those_of_the_test_part_where_there_was_one(weights: Path) -> None:
    metadata = load_classifier(weights).metadata
    assert model_metrics(metadata)["accuracy"] == 0.9
    held_out = metadata.model_copy(update={"metrics": {"validation_accuracy": 0.4, "validation_images": 5.0}})
    assert model_metrics(held_out) == {"accuracy": 0.4, "accuracy/n": 5.0}
    assert model_metrics(metadata.model_copy(update={"metrics": {}})) == {}


@pytest.mark.parametrize(
    ("name", "alias", "offline", "message"),
    [
        (None, "champion", False, "of which model"),
        ("a/b", None, False, "--register a/b"),
        ("a:b", None, False, "--register a:b"),
        ("a", "latest", False, "--alias latest"),
        ("a", "v3", False, "--alias v3"),
        ("a", "two words", False, "--alias two words"),
        ("a", None, True, "does not go with --offline"),
    ],
)
def test_a_registration_that_mlflow_would_refuse_is_refused_before_the_work(
    name: str | None, alias: str | None, offline: bool, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        checked_registration(name, alias, offline=offline)
    assert checked_registration("grader", "challenger-2", offline=False) == Registration("grader", "challenger-2")
