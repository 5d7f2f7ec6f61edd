import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from zoo_data import CLASSES, SIDE, small_classifier

from medlocker.classifiers import Classifier
from medlocker.errors import ModelError
from medlocker_zoo.classifier import inference_state, state_sha256
from medlocker_zoo.registry import build_network, get_card
from medlocker_zoo.storage import HEADER_KEY, load_classifier, read_metadata, save_classifier

INPUTS = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def test_a_full_precision_file_gives_back_the_same_network(tmp_path: Path) -> None:
    saved = small_classifier()
    save_classifier(tmp_path / "net.safetensors", saved, half=False)
    loaded = load_classifier(tmp_path / "net.safetensors")
    assert loaded.fingerprint == saved.fingerprint
    assert loaded.metadata == saved.metadata
    assert torch.equal(loaded.probabilities(INPUTS), saved.probabilities(INPUTS))


def test_a_half_precision_file_is_smaller_and_stable_after_one_round_trip(tmp_path: Path) -> None:
    full, half, again = (tmp_path / f"{name}.safetensors" for name in ("full", "half", "again"))
    save_classifier(full, small_classifier(), half=False)
    save_classifier(half, small_classifier())
    save_classifier(again, load_classifier(half))
    assert half.stat().st_size < 0.75 * full.stat().st_size
    assert load_classifier(again).fingerprint == load_classifier(half).fingerprint
    difference = load_classifier(half).probabilities(INPUTS) - load_classifier(full).probabilities(INPUTS)
    assert 0 < difference.abs().max() < 0.05


def test_a_loaded_network_is_a_classifier(tmp_path: Path) -> None:
    save_classifier(tmp_path / "net.safetensors", small_classifier())
    loaded = load_classifier(tmp_path / "net.safetensors")
    probabilities = loaded.probabilities(INPUTS)
    assert isinstance(loaded, Classifier)
    assert loaded.class_names == CLASSES
    assert probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(3), atol=1e-6)
    assert loaded.runtime == "torch/cpu"


def test_the_fingerprint_depends_on_every_weight() -> None:
    state = inference_state(small_classifier().network)
    before = state_sha256(state)
    for name, value in state.items():
        assert state_sha256(state | {name: value + 1e-3}) != before


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    broken = small_classifier()
    broken.network.get_parameter("classifier.bias")[0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        save_classifier(tmp_path / "net.safetensors", broken)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 7, 1000, -10])
def test_a_truncated_file_is_a_model_error(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "net.safetensors"
    save_classifier(path, small_classifier())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"net\.safetensors"):
        load_classifier(path)


def test_a_missing_file_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such weights file"):
        load_classifier(tmp_path / "net.safetensors")


def test_foreign_weights_say_how_they_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file(inference_state(small_classifier().network), path)
    with pytest.raises(ModelError, match="--network NAME"):
        load_classifier(path)


def test_foreign_weights_load_under_a_named_network(tmp_path: Path) -> None:
    card = get_card("demo_efficientnet")
    network = build_network(card.architecture, 4)
    save_file(inference_state(network), tmp_path / "foreign.safetensors")
    loaded = load_classifier(tmp_path / "foreign.safetensors", network="demo_efficientnet")
    assert loaded.num_classes == 4
    assert loaded.preprocessing == card.preprocessing


def test_foreign_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(inference_state(small_classifier().network), tmp_path / "foreign.safetensors")
    with pytest.raises(ModelError, match="do not fit"):
        load_classifier(tmp_path / "foreign.safetensors", network="demo_resnet")


def test_our_file_under_a_wrong_network_name_is_refused(tmp_path: Path) -> None:
    save_classifier(tmp_path / "net.safetensors", small_classifier())
    with pytest.raises(ModelError, match="holds small, not resnet18"):
        load_classifier(tmp_path / "net.safetensors", network="resnet18")


def rewrite(path: Path, change: dict[str, object], drop: str | None = None) -> None:
    """Change a file's description or leave a tensor out."""
    document = json.loads(read_metadata(path).model_dump_json()) | change
    state = {name: value for name, value in load_file(path).items() if name != drop}
    save_file(state, path, metadata={HEADER_KEY: json.dumps(document)})


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_classifier(path, small_classifier())
    rewrite(path, {}, drop="classifier.bias")
    with pytest.raises(ModelError, match=r"missing classifier\.bias"):
        load_classifier(path)


def test_a_head_of_another_size_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_classifier(path, small_classifier())
    rewrite(path, {"class_names": ["a", "b"]})
    with pytest.raises(ModelError, match=r"classifier\.weight is \(3, 256\) instead of \(2, 256\)"):
        load_classifier(path)


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": "medlocker.classifier/2"},
        {"unheard_of": 1},
        {"architecture": {"timm_name": "hf-hub:x/y"}},
        {"architecture": {"timm_name": "test_efficientnet", "checkpoint_path": "evil.pth"}},
    ],
)
def test_a_description_that_cannot_be_trusted_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "net.safetensors"
    save_classifier(path, small_classifier())
    rewrite(path, change)
    with pytest.raises(ModelError, match="description cannot be used"):
        load_classifier(path)
