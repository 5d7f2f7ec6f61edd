from pathlib import Path

import onnx
import pytest
import torch
from zoo_data import CLASSES, PREPROCESSING, SIDE, small_classifier

from medlocker.errors import ModelError
from medlocker_zoo import export
from medlocker_zoo.classifier import TorchClassifier
from medlocker_zoo.export import ExportReport, export_onnx, measure_parity, probe_inputs
from medlocker_zoo.onnx_description import METADATA_KEY, OnnxDescription, Parity
from medlocker_zoo.targets import OnnxTarget


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[TorchClassifier, ExportReport]:
    classifier = small_classifier()
    return classifier, export_onnx(classifier, tmp_path_factory.mktemp("onnx") / "small.onnx")


def test_the_export_is_one_file_that_describes_itself(exported: tuple[TorchClassifier, ExportReport]) -> None:
    classifier, report = exported
    assert [entry.name for entry in report.path.parent.iterdir()] == ["small.onnx"]
    model = onnx.load(report.path)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    description = OnnxDescription.model_validate_json(properties[METADATA_KEY])
    assert description.preprocessing == PREPROCESSING
    assert description.class_names == CLASSES
    assert description.fingerprint == classifier.fingerprint
    assert description.parity == report.parity
    assert model.graph.input[0].name == "pixels_normalised"
    assert model.graph.output[0].name == "probabilities"


def test_parity_is_measured_and_small(exported: tuple[TorchClassifier, ExportReport]) -> None:
    _, report = exported
    assert report.parity.inputs >= 8
    assert report.parity.batch_sizes == (1, 3)
    assert report.parity.probability < 1e-5


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_any_batch_size_gives_the_same_answers(exported: tuple[TorchClassifier, ExportReport], batch: int) -> None:
    classifier, report = exported
    inputs = torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(batch))
    target = OnnxTarget(report.path, provider="cpu")
    assert torch.allclose(target.probabilities(inputs), classifier.probabilities(inputs), atol=1e-5)


def test_export_leaves_the_classifier_as_it_was(tmp_path: Path, exported: tuple[TorchClassifier, ExportReport]) -> None:
    assert exported[0].fingerprint == small_classifier().fingerprint


def test_parity_notices_a_wrong_file(exported: tuple[TorchClassifier, ExportReport]) -> None:
    _, report = exported
    other = torch.nn.Sequential(small_classifier(seed=1).network, torch.nn.Softmax(dim=1))
    assert measure_parity(other, report.path, PREPROCESSING).probability > 1e-2


def test_a_file_that_differs_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Parity(inputs=9, batch_sizes=(1, 3), probability=2e-4, relative_logit=0.0)
    monkeypatch.setattr(export, "measure_parity", lambda *_: bad)
    monkeypatch.setattr(export, "write_graph", lambda *_: None)
    with pytest.raises(ModelError, match=r"differ by 0\.0002"):
        export_onnx(small_classifier(), tmp_path / "small.onnx")
    assert not list(tmp_path.iterdir())


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"small\.onnx"):
        export_onnx(small_classifier(), tmp_path / "small.pt")


def test_probe_inputs_are_many_and_the_same_every_time() -> None:
    probe = probe_inputs(PREPROCESSING)
    assert probe.shape == (9, 3, SIDE, SIDE)
    assert torch.equal(probe, probe_inputs(PREPROCESSING))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "inception_v3", "densenet121", "vit_small_patch16_224", "resnet50"])
def test_the_networks_of_the_paper_export(tmp_path: Path, name: str) -> None:
    from medlocker_zoo.classifier import ClassifierMetadata
    from medlocker_zoo.registry import build_network, get_card

    card = get_card(name)
    metadata = ClassifierMetadata(
        medlocker_version="0",
        network=name,
        architecture=card.architecture,
        class_names=CLASSES,
        preprocessing=card.preprocessing,
    )
    network = build_network(card.architecture, len(CLASSES))
    report = export_onnx(TorchClassifier(network, metadata, torch.device("cpu")), tmp_path / f"{name}.onnx")
    assert report.parity.relative_logit < 1e-3
