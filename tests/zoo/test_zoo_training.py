from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from zoo_data import ARCHITECTURE, brightness_dataset, small_card

from medlocker.datasets.base import Dataset
from medlocker.errors import DatasetError, ModelError, SettingsError
from medlocker.tracking import NullTracker
from medlocker_zoo import training
from medlocker_zoo.checkpoints import FILE_NAME, EpochRecord, RunState
from medlocker_zoo.classifier import inference_state
from medlocker_zoo.initialisation import initial_network
from medlocker_zoo.optimisation import class_weights, epoch_batches, rate_factor, use_bfloat16
from medlocker_zoo.pixels import PixelCache
from medlocker_zoo.registry import Recipe, build_network
from medlocker_zoo.storage import load_classifier, save_classifier
from medlocker_zoo.training import train_classifier


class CurveTracker(NullTracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.curve: list[tuple[int | None, dict[str, float]]] = []

    def metrics(self, values, step=None) -> None:  # type: ignore[no-untyped-def]
        """Keep the values."""
        self.curve.append((step, dict(values)))


class InterruptedRunError(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return brightness_dataset(tmp_path_factory.mktemp("train"), 12)


def cache_of(labels: list[int], classes: int) -> PixelCache:
    return PixelCache(torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8), torch.tensor(labels), classes)


def test_training_learns_a_separable_task(data: Dataset, tmp_path: Path) -> None:
    tracker = CurveTracker()
    result = train_classifier(
        small_card(epochs=10, learning_rate=5e-3), data, 0.25, test=data, seed=1, precision="float32", tracker=tracker
    )
    assert result.test is not None
    assert result.test.accuracy.rate > 0.9
    assert [step for step, _ in tracker.curve] == [*range(10), None]
    assert result.classifier.metadata.metrics["test_accuracy"] == result.test.accuracy.rate
    save_classifier(tmp_path / "net.safetensors", result.classifier)
    assert load_classifier(tmp_path / "net.safetensors").fingerprint == result.classifier.fingerprint


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, save = small_card(), training.save_checkpoint

    def save_then_die(*arguments: object) -> None:
        save(*arguments)  # type: ignore[arg-type]
        raise InterruptedRunError

    whole = train_classifier(card, data, seed=3, precision="float32")
    monkeypatch.setattr(training, "save_checkpoint", save_then_die)
    for _ in range(2):
        with pytest.raises(InterruptedRunError):
            train_classifier(card, data, seed=3, precision="float32", checkpoint_dir=tmp_path)
    monkeypatch.undo()
    torch.rand(7)  # the state of the global generator must not matter
    resumed = train_classifier(card, data, seed=3, precision="float32", checkpoint_dir=tmp_path)
    assert resumed.resumed
    assert resumed.classifier.fingerprint == whole.classifier.fingerprint
    assert [record.train_loss for record in resumed.history] == [record.train_loss for record in whole.history]


def test_another_seed_gives_another_network(data: Dataset) -> None:
    first, second = (train_classifier(small_card(), data, seed=seed, epochs=1, precision="float32") for seed in (0, 1))
    assert first.classifier.fingerprint != second.classifier.fingerprint


def test_a_checkpoint_of_other_settings_is_refused(data: Dataset, tmp_path: Path) -> None:
    train_classifier(small_card(), data, epochs=1, checkpoint_dir=tmp_path, precision="float32")
    with pytest.raises(ModelError, match="another recipe"):
        train_classifier(small_card(learning_rate=0.1), data, epochs=1, checkpoint_dir=tmp_path, precision="float32")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 torn"])
def test_a_torn_checkpoint_is_refused(data: Dataset, tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(ModelError, match="not a readable checkpoint"):
        train_classifier(small_card(), data, epochs=1, checkpoint_dir=tmp_path, precision="float32")


def test_training_ends_when_validation_stops_improving() -> None:
    state = RunState(torch.nn.Linear(1, 1), None)  # type: ignore[arg-type]
    for epoch, kappa in enumerate([0.1, 0.5, 0.5, float("nan")]):
        assert not state.exhausted(9, 2)
        state.finish_epoch(EpochRecord(epoch, 0, 0, 0, kappa, 0))
    assert state.best_epoch == 1
    assert state.exhausted(9, 2)
    assert not state.exhausted(9, None)
    assert state.exhausted(4, None)


def test_the_rate_rises_then_falls_to_zero() -> None:
    assert rate_factor(0.05, 0.1) == pytest.approx(0.5)
    assert rate_factor(0.1, 0.1) == pytest.approx(1)
    assert rate_factor(0.55, 0.1) == pytest.approx(0.5)
    assert rate_factor(1.0, 0.1) == pytest.approx(0, abs=1e-12)
    assert rate_factor(1.0, 1.0) == pytest.approx(1)


def test_class_weights_equalise_at_power_one_and_do_nothing_at_zero() -> None:
    cache = cache_of([0] * 6 + [1] * 2, 3)
    weights = class_weights(cache, 1.0)
    assert weights.tolist() == pytest.approx([8 / 12, 2.0, 0.0])
    assert class_weights(cache, 0.0).tolist() == pytest.approx([1, 1, 0])


def test_the_balanced_sampler_draws_rare_classes_as_often() -> None:
    cache = cache_of([0] * 3600 + [1] * 400, 2)
    recipe = Recipe(balancing="sampler", balancing_power=1.0)
    drawn = torch.cat(epoch_batches(cache, recipe, torch.Generator().manual_seed(0)))
    assert float(cache.labels[drawn].float().mean()) == pytest.approx(0.5, abs=0.03)


def test_an_unbalanced_epoch_sees_each_image_once() -> None:
    batches = epoch_batches(cache_of([0, 1] * 10, 2), Recipe(balancing="none", batch_size=5), torch.Generator())
    assert sorted(torch.cat(batches).tolist()) == list(range(20))


def test_too_few_images_still_make_one_batch() -> None:
    batches = epoch_batches(cache_of([0, 1, 1], 2), Recipe(balancing="none", batch_size=32), torch.Generator())
    assert [len(batch) for batch in batches] == [3]


def test_unlabelled_training_data_are_refused(data: Dataset) -> None:
    from dataclasses import replace

    records = (replace(data.records[0], label=None), *data.records[1:])
    with pytest.raises(DatasetError, match="no usable label"):
        train_classifier(small_card(), replace(data, records=records), data, epochs=1)


def test_local_weights_keep_the_body_and_get_a_new_head(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        given = build_network(ARCHITECTURE, 1000)
    half = {name: value.half() for name, value in inference_state(given).items()}
    save_file(half, tmp_path / "in1k.safetensors")
    started, origin = initial_network(ARCHITECTURE, 3, init=tmp_path / "in1k.safetensors", imagenet=False, seed=0)
    state = started.state_dict()
    assert state["classifier.weight"].shape == (3, 256)
    assert all(torch.equal(state[name], half[name].float()) for name in half if not name.startswith("classifier"))
    assert origin.startswith("in1k.safetensors sha256:")


def test_local_weights_with_left_over_tensors_are_listed(tmp_path: Path) -> None:
    state = inference_state(build_network(ARCHITECTURE, 1000)) | {"extra.weight": torch.zeros(2)}
    save_file(state, tmp_path / "in1k.safetensors")
    with pytest.raises(ModelError, match=r"unknown extra\.weight"):
        initial_network(ARCHITECTURE, 3, init=tmp_path / "in1k.safetensors", imagenet=False, seed=0)


def test_two_origins_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="both"):
        initial_network(ARCHITECTURE, 3, init=tmp_path / "x.safetensors", imagenet=True, seed=0)


def test_imagenet_weights_without_a_network_are_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("cannot reach the hub")

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(ModelError, match="--init"):
        initial_network(ARCHITECTURE, 3, init=None, imagenet=True, seed=0)


def test_bfloat16_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    assert use_bfloat16("auto", cpu)
    assert not use_bfloat16("float32", cpu)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True})
    assert not use_bfloat16("auto", cpu)
    with pytest.raises(SettingsError, match="bfloat16"):
        use_bfloat16("bfloat16", cpu)
