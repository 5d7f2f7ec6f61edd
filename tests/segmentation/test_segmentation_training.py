"""Training finds plain lesions, resumes, and its file and ONNX file answer alike."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lesion_data import KINDS, lesion_dataset, lesion_image, small_job
from safetensors.torch import save_file

from medlocker.errors import ModelError
from medlocker_zoo.registry import Architecture, build_network
from medlocker_zoo.segmentation import (
    SegmenterMetadata,
    TorchSegmenter,
    UnetSettings,
    export_segmenter,
    is_segmenter,
    load_segmenter,
    resolve_segmenter,
    save_segmenter,
    train_segmenter,
    training,
)
from medlocker_zoo.segmentation.network import build_unet, initial_unet
from medlocker_zoo.storage import load_classifier


class InterruptedRunError(Exception):
    """Stands for a kill."""


def untrained(seed: int = 0) -> TorchSegmenter:
    job = small_job()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_unet(job.network, 2)
        torch.nn.init.normal_(network.segmentation_head[0].weight, std=50.0)  # type: ignore[index,union-attr,arg-type]
    metadata = SegmenterMetadata(
        medlocker_version="0", network=job.network, lesions=KINDS, thresholds=(0.3, 0.6), input=job.input
    )
    return TorchSegmenter(network, metadata, torch.device("cpu"))


def test_it_learns_lesions_that_are_plain_to_see(tmp_path: Path) -> None:
    job = small_job(epochs=4, steps_per_epoch=25, batch_size=8, learning_rate=1e-2)
    result = train_segmenter(job, lesion_dataset(tmp_path / "a", 16), test=lesion_dataset(tmp_path / "b", 8, seed=9))
    assert [report.lesion for report in result.test] == list(KINDS)
    assert all(report.average_precision.value > 0.7 for report in result.test)
    assert result.segmenter.metadata.metrics["test_HE_dice"] == result.test[0].dice.value
    assert result.segmenter.thresholds == tuple(report.threshold for report in result.test)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, save = lesion_dataset(tmp_path / "data", 8), training.save_checkpoint

    def save_then_die(*arguments: object) -> None:
        save(*arguments)  # type: ignore[arg-type]
        raise InterruptedRunError

    whole = train_segmenter(small_job(), data)
    job = small_job(tmp_path / "checkpoints")
    monkeypatch.setattr(training, "save_checkpoint", save_then_die)
    with pytest.raises(InterruptedRunError):
        train_segmenter(job, data)
    monkeypatch.undo()
    torch.rand(3)
    resumed = train_segmenter(job, data)
    assert resumed.resumed
    assert resumed.segmenter.fingerprint == whole.segmenter.fingerprint
    assert [e.mean_aupr for e in resumed.history] == [e.mean_aupr for e in whole.history]
    with pytest.raises(ModelError, match="another recipe"):
        train_segmenter(small_job(tmp_path / "checkpoints", epochs=3), data)


def test_the_file_gives_the_same_network_back(tmp_path: Path) -> None:
    first, pixels = untrained(), lesion_image(np.random.default_rng(0))[0]
    save_segmenter(tmp_path / "s.safetensors", first)
    assert is_segmenter(tmp_path / "s.safetensors")
    again = load_segmenter(tmp_path / "s.safetensors")
    assert (again.lesions, again.thresholds) == (KINDS, (0.3, 0.6))
    np.testing.assert_allclose(again.probabilities(pixels), first.probabilities(pixels), atol=2e-2)
    with pytest.raises(ModelError, match="do not say which network"):
        load_classifier(tmp_path / "s.safetensors")


def test_onnx_runtime_answers_as_pytorch_on_a_whole_image(tmp_path: Path) -> None:
    segmenter, pixels = untrained(), lesion_image(np.random.default_rng(1), 80, 100)[0]
    report = export_segmenter(segmenter, tmp_path / "s.onnx")
    assert report.parity.probability < 1e-4
    assert not list(tmp_path.glob("*.data"))
    served = resolve_segmenter(str(tmp_path / "s.onnx"), provider="cpu")
    assert (served.lesions, served.thresholds, served.fingerprint) == (KINDS, (0.3, 0.6), segmenter.fingerprint)
    assert served.runtime == "onnxruntime/CPUExecutionProvider"
    expected = segmenter.probabilities(pixels)
    assert expected.std() > 0.01
    np.testing.assert_allclose(served.probabilities(pixels), expected, atol=1e-4)


def test_the_encoder_starts_from_a_classifiers_weights(tmp_path: Path) -> None:
    classifier = build_network(Architecture(timm_name="test_efficientnet"), 7)
    save_file(classifier.state_dict(), tmp_path / "c.safetensors")
    settings = UnetSettings(encoder="test_efficientnet", decoder_channels=(8, 8, 8, 8, 8))
    network, origin = initial_unet(settings, 2, init=tmp_path / "c.safetensors", imagenet=False, seed=0)
    assert origin.startswith("c.safetensors sha256:")
    assert torch.equal(network.encoder.model.conv_stem.weight, classifier.conv_stem.weight)  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="do not fit the encoder"):
        initial_unet(
            settings.model_copy(update={"encoder": "test_resnet"}),
            2,
            init=tmp_path / "c.safetensors",
            imagenet=False,
            seed=0,
        )


@pytest.mark.parametrize("encoder", ["nonsense", "vit_tiny_patch16_224"])
def test_what_cannot_be_an_encoder_is_named(encoder: str) -> None:
    with pytest.raises(ModelError, match=encoder):
        build_unet(UnetSettings(encoder=encoder), 2)


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    assert not is_segmenter(tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="not a segmentation network"):
        load_segmenter(tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="no such"):
        resolve_segmenter(str(tmp_path / "none.onnx"), provider="cpu")
