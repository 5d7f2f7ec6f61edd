from pathlib import Path

import pytest
from test_zoo_targets import PREPROCESSING, foreign_onnx
from zoo_data import small_classifier

from medlocker.errors import ModelError
from medlocker_zoo import resolve
from medlocker_zoo.export import ExportReport
from medlocker_zoo.onnx_description import Parity
from medlocker_zoo.resolve import cached_export, demo_networks, resolve_source, resolve_sources, resolve_target
from medlocker_zoo.storage import save_classifier


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "clinic.safetensors"
    save_classifier(path, small_classifier())
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLOCKER_CACHE", str(tmp_path / "cache"))


def test_a_weights_file_is_named_after_its_file(weights: Path) -> None:
    assert resolve_source(str(weights)).name == "clinic"


def test_repeated_names_are_numbered(weights: Path) -> None:
    found = resolve_sources(f"{weights}, {weights},{weights}")
    assert [entry.name for entry in found] == ["clinic", "clinic-2", "clinic-3"]


@pytest.mark.parametrize("text", ["", "a,,b", ","])
def test_an_empty_entry_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="empty"):
        resolve_sources(text)


def test_a_network_without_weights_says_how_to_train_it() -> None:
    with pytest.raises(ModelError, match="medlocker train resnet50") as caught:
        resolve_source("resnet50")
    assert all(name in str(caught.value) for name in demo_networks())


def test_an_unknown_reference_lists_what_there_is() -> None:
    with pytest.raises(ModelError, match="neither a network of the zoo nor a model file"):
        resolve_source("resnet5000")


def test_pickled_weights_are_refused() -> None:
    with pytest.raises(ModelError, match="pickled"):
        resolve_source("model.pth")


def test_an_onnx_file_is_a_target_but_no_source(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "theirs.onnx", softmax=True)
    assert resolve_target(str(path), provider="cpu", preprocessing=PREPROCESSING).name == "theirs"
    with pytest.raises(ModelError, match="cannot be a source"):
        resolve_source(str(path))


@pytest.mark.parametrize(
    ("uri", "name"),
    [("models:/grader/3", "grader-3"), ("models:/grader@champion", "grader-champion"), ("runs:/0a1b/net", "net")],
)
def test_an_mlflow_uri_is_fetched_and_named(weights: Path, uri: str, name: str) -> None:
    fetched: list[str] = []

    def fetch(asked: str) -> Path:
        fetched.append(asked)
        return weights.parent

    assert resolve_source(uri, fetch_uri=fetch).name == name
    assert fetched == [uri]


def test_an_mlflow_uri_without_a_fetcher_is_refused() -> None:
    with pytest.raises(ModelError, match="MLflow"):
        resolve_source("models:/grader/3")


def test_a_fetched_folder_must_hold_one_model(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no"):
        resolve_source("models:/grader/3", fetch_uri=lambda _: tmp_path / "empty")
    (tmp_path / "second.safetensors").write_bytes(weights.read_bytes())
    with pytest.raises(ModelError, match=r"2 \.safetensors files"):
        resolve_source("models:/grader/3", fetch_uri=lambda _: tmp_path)


def test_weights_are_exported_once_for_one_fingerprint(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def export(classifier: object, path: Path) -> ExportReport:
        written.append(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"onnx")
        parity = Parity(inputs=9, batch_sizes=(1, 3), probability=0, relative_logit=0)
        return ExportReport(path, 4, 18, "", parity)

    monkeypatch.setattr(resolve, "export_onnx", export)
    first, second = cached_export(resolve_source(str(weights))), cached_export(resolve_source(str(weights)))
    other = cached_export(small_classifier(seed=9))
    assert first == second
    assert written == [first, other]


@pytest.mark.parametrize("name", demo_networks())
def test_shipped_weights_load_and_say_how_good_they_are(name: str) -> None:
    source = resolve_source(name)
    assert source.name == name
    assert source.num_classes == 5
    assert source.metadata.metrics["test_accuracy"] >= 0.8
    assert source.metadata.metrics["test_images"] >= 200


def test_the_three_demo_networks_ship_within_three_megabytes() -> None:
    assert demo_networks() == ["demo_darknet", "demo_efficientnet", "demo_resnet"]
    sizes = [path.stat().st_size for name in demo_networks() if (path := resolve.demo_weights(name))]
    assert sum(sizes) < 3_000_000


def test_a_demo_network_is_served_by_onnx_runtime() -> None:
    target = resolve_target("demo_efficientnet", provider="cpu")
    assert target.runtime == "onnxruntime/CPUExecutionProvider"
    assert target.fingerprint == resolve_source("demo_efficientnet").fingerprint
