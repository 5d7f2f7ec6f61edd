"""Several networks with one command: trained into a folder, continued, exported from it."""

from __future__ import annotations

from pathlib import Path

import pytest

TRAIN = "train demo_resnet,demo_efficientnet --data data --epochs 1 --validation 0.5 --out nets"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLOCKER_CACHE", str(tmp_path / "cache"))


def test_networks_are_trained_once_and_exported_once(shell):
    first = shell.json(*TRAIN.split())["networks"]
    assert list(first) == ["demo_resnet", "demo_efficientnet"]
    assert all(Path(network["weights"]).is_file() for network in first.values())
    before = {path: path.read_bytes() for path in Path("nets").glob("*.safetensors")}
    Path("nets/demo_efficientnet.safetensors").unlink()
    again = shell.json(*TRAIN.split())["networks"]
    assert again["demo_resnet"]["finished_before"]
    assert again["demo_efficientnet"]["resumed"]
    assert {path: path.read_bytes() for path in Path("nets").glob("*.safetensors")} == before
    other = shell(*TRAIN.replace("--epochs 1", "--epochs 2").split(), code=1)
    assert "another recipe" in other.stderr

    exported = shell.json("export", "nets", "--out", "onnx")["networks"]
    assert [document["parity"]["probability"] < 1e-4 for document in exported] == [True, True]
    assert all("parity" not in document for document in shell.json("export", "nets", "--out", "onnx")["networks"])
    Path("onnx/demo_resnet.onnx").write_bytes(b"damaged")
    repaired = shell("export", "nets", "--out", "onnx").stdout
    assert "demo_resnet.onnx: " in repaired
    assert "demo_efficientnet.onnx: written before" in repaired


@pytest.mark.parametrize(
    ("command", "code", "word"),
    [
        ("train demo_resnet,demo_resnet --data data --out nets", 2, "twice"),
        ("train demo_resnet, --data data --out nets", 2, "empty"),
        ("train paper --data data --out nets.safetensors", 2, "folder"),
        ("train paper --data data --out nets --init none.safetensors", 2, "--init"),
        ("train demo_resnet,none --data data --out nets", 1, "none"),
        ("export data --out onnx", 1, "data"),
        ("export data --out onnx --network resnet18", 2, "--network"),
    ],
)
def test_what_cannot_be_is_named(shell, command, code, word):
    assert word in shell(*command.split(), code=code).stderr


def test_the_papers_seven():
    from medlocker.cli.train import chosen_names

    assert chosen_names("paper") == [
        "densenet121",
        "inception_v3",
        "mobilenetv3_large_100",
        "resnet18",
        "resnet50",
        "vgg16",
        "vit_small_patch16_224",
    ]
