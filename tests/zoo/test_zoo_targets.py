import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from medlocker.classifiers import Classifier, Preprocessing
from medlocker.errors import ModelError, ProviderError
from medlocker_zoo import targets
from medlocker_zoo.onnx_description import sidecar_path
from medlocker_zoo.targets import OnnxTarget, cuda_present, open_session

SIDE = 8
PREPROCESSING = Preprocessing(input_size=SIDE)
WEIGHT = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def foreign_onnx(
    path: Path, *, softmax: bool, batch: int | str = "n", channels: int = 3, output: str = "matrix"
) -> Path:
    """Global average pooling, then a linear layer: an ONNX file without any description of ours."""
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["f"])]
    nodes.append(helper.make_node("MatMul", ["f", "w"], ["z"]))
    nodes.append(
        helper.make_node("Softmax", ["z"], ["y"], axis=1) if softmax else helper.make_node("Identity", ["z"], ["y"])
    )
    if output == "scalar":
        nodes[-1] = helper.make_node("ReduceSum", ["z"], ["y"])
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, channels, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.resize(WEIGHT, (channels, 4)), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(count))


def expected(inputs: torch.Tensor) -> torch.Tensor:
    return torch.softmax(inputs.mean(dim=(2, 3)) @ torch.from_numpy(WEIGHT), dim=1)


@pytest.mark.parametrize("softmax", [True, False])
def test_a_foreign_file_gives_probabilities_whatever_it_puts_out(tmp_path: Path, softmax: bool) -> None:
    path = foreign_onnx(tmp_path / "net.onnx", softmax=softmax)
    target = OnnxTarget(path, provider="cpu", preprocessing=PREPROCESSING)
    assert isinstance(target, Classifier)
    assert target.output_kind == ("probabilities" if softmax else "logits")
    assert not target.output_declared
    assert torch.allclose(target.probabilities(images(5)), expected(images(5)), atol=1e-6)
    assert target.class_names == ("class 0", "class 1", "class 2", "class 3")


def test_a_declared_output_is_not_measured(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "net.onnx", softmax=True)
    target = OnnxTarget(path, provider="cpu", preprocessing=PREPROCESSING, output="logits")
    assert target.output_declared
    assert torch.allclose(target.probabilities(images(2)), torch.softmax(expected(images(2)), dim=1), atol=1e-6)


def test_a_foreign_file_without_description_says_what_to_write(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "net.onnx", softmax=True)
    with pytest.raises(ModelError, match=r"net\.onnx\.json"):
        OnnxTarget(path, provider="cpu")


def test_a_sidecar_describes_a_foreign_file(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "net.onnx", softmax=False)
    document = {
        "preprocessing": {"input_size": SIDE},
        "name": "theirs",
        "output": "logits",
        "class_names": list("abcd"),
    }
    sidecar_path(path).write_text(json.dumps(document))
    target = OnnxTarget(path, provider="cpu")
    assert (target.name, target.class_names, target.preprocessing) == ("theirs", tuple("abcd"), PREPROCESSING)
    assert torch.allclose(target.probabilities(images(3)), expected(images(3)), atol=1e-6)


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"preprocessing": {}, "colour": 1}', '{"preprocessing": {"input_size": 0}}']
)
def test_a_broken_sidecar_is_named(tmp_path: Path, text: str) -> None:
    path = foreign_onnx(tmp_path / "net.onnx", softmax=True)
    sidecar_path(path).write_text(text)
    with pytest.raises(ModelError, match=r"net\.onnx\.json"):
        OnnxTarget(path, provider="cpu")


def test_a_fixed_batch_size_is_served_in_pieces(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "net.onnx", softmax=True, batch=2)
    target = OnnxTarget(path, provider="cpu", preprocessing=PREPROCESSING)
    assert torch.allclose(target.probabilities(images(5)), expected(images(5)), atol=1e-6)


def test_inputs_of_another_shape_are_refused(tmp_path: Path) -> None:
    grey = foreign_onnx(tmp_path / "grey.onnx", softmax=True, channels=1)
    with pytest.raises(ModelError, match="input does not fit"):
        OnnxTarget(grey, provider="cpu", preprocessing=PREPROCESSING)
    path = foreign_onnx(tmp_path / "net.onnx", softmax=True)
    with pytest.raises(ModelError, match="input does not fit"):
        OnnxTarget(path, provider="cpu", preprocessing=Preprocessing(input_size=16))


def test_outputs_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "net.onnx", softmax=True, output="scalar")
    with pytest.raises(ModelError, match="output does not fit"):
        OnnxTarget(path, provider="cpu", preprocessing=PREPROCESSING)


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x08\x07\x12"])
def test_a_file_that_is_no_model_is_a_model_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"net\.onnx"):
        OnnxTarget(path, provider="cpu", preprocessing=PREPROCESSING)


def test_the_provider_is_read_back(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "net.onnx", softmax=True)
    target = OnnxTarget(path, provider="cpu", preprocessing=PREPROCESSING)
    assert target.provider == "CPUExecutionProvider"
    assert target.runtime == "onnxruntime/CPUExecutionProvider"


@pytest.mark.parametrize(("provider", "present"), [("cuda", False), ("cuda", True), ("auto", True)])
def test_falling_to_the_cpu_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: targets.Provider, present: bool
) -> None:
    # The CUDA provider is hidden, as where its libraries cannot be loaded.
    monkeypatch.setattr(targets.onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(targets, "cuda_present", lambda: present)
    path = foreign_onnx(tmp_path / "net.onnx", softmax=True)
    with pytest.raises(ProviderError, match="--provider cpu"):
        open_session(path, provider)


def test_auto_takes_the_cpu_where_there_is_no_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "cuda_present", lambda: False)
    session = open_session(foreign_onnx(tmp_path / "net.onnx", softmax=True), "auto")
    assert session.get_providers() == ["CPUExecutionProvider"]


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_hidden_device_does_not_count(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert cuda_present()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert not cuda_present()


@pytest.mark.gpu
def test_auto_runs_on_cuda(tmp_path: Path) -> None:
    target = OnnxTarget(foreign_onnx(tmp_path / "net.onnx", softmax=True), preprocessing=PREPROCESSING)
    assert target.runtime == "onnxruntime/CUDAExecutionProvider"
    assert torch.allclose(target.probabilities(images(5)), expected(images(5)), atol=1e-5)
