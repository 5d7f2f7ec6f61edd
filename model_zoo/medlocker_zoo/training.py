"""Train a network of the zoo on a labelled data set."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from medlocker import __version__
from medlocker.datasets import Dataset, dataset_digest
from medlocker.errors import ModelError
from medlocker.tracking import NullTracker, Tracker
from medlocker_zoo.checkpoints import EpochRecord, RunState, load_checkpoint, save_checkpoint
from medlocker_zoo.classifier import ClassifierMetadata, TorchClassifier
from medlocker_zoo.evaluation import EvalReport, confusion_matrix, evaluate_classifier, quadratic_kappa
from medlocker_zoo.initialisation import initial_network, origin_of
from medlocker_zoo.labels import split_dataset
from medlocker_zoo.optimisation import Precision, Setup, make_optimiser, predict, train_epoch, use_bfloat16
from medlocker_zoo.pixels import PixelCache, cache_pixels
from medlocker_zoo.registry import Card, get_card
from medlocker_zoo.storage import read_metadata, round_to_half

Phase = Literal["decode", "train", "evaluate"]
Progress = Callable[[Phase, int, int, str], None]
"""Called with the phase, items done, items in all, and a line on how it goes."""


@dataclass(frozen=True, eq=False)
class TrainResult:
    """A finished training run.

    Attributes:
        classifier: the best epoch's weights, rounded as they will be stored, with their metrics as metadata.
        history: one record per epoch, in order.
        best_epoch: 0-based.
        validation: the classifier on the validation images.
        test: the classifier on the test images, where there were any.
        precision: of the training arithmetic.
        resumed: whether the run continued from a checkpoint.
    """

    classifier: TorchClassifier
    history: tuple[EpochRecord, ...]
    best_epoch: int
    validation: EvalReport
    test: EvalReport | None
    precision: Literal["float32", "bfloat16"]
    resumed: bool


def train_classifier(
    network: Card | str,
    train: Dataset,
    validation: Dataset | float = 0.15,
    *,
    test: Dataset | None = None,
    init: Path | None = None,
    imagenet: bool = False,
    seed: int = 0,
    epochs: int | None = None,
    device: torch.device | str | None = None,
    precision: Precision = "auto",
    checkpoint_dir: Path | None = None,
    half: bool = True,
    tracker: Tracker | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train a classifier, keeping the epoch with the highest quadratic kappa on the validation images.

    Args:
        network: a card, or the name of one; a changed card (`model_copy`) trains by its changed recipe.
        train: fully labelled.
        validation: data of their own, or the share of `train` to hold out.
        test: measured once, at the end; never looked at before.
        init: local .safetensors weights to start from.
        imagenet: start from timm's ImageNet weights, fetched over the network.
        seed: of the split, the initial weights, the order, the augmentation and dropout.
        epochs: instead of the recipe's.
        device: CUDA where there is one, by default.
        precision: `auto` trains in bfloat16 where the hardware has it.
        checkpoint_dir: where to keep a checkpoint after each epoch, and to continue from one that is there.
        half: round matrices and kernels to float16, as they will be stored, before the final measurement.
        tracker: gets settings, data sets, a curve per epoch and the final figures.
        progress: see `Progress`.

    Returns:
        The classifier and how it came about.

    Raises:
        DatasetError: an image has no label.
        ModelError: the initial weights or the checkpoint do not fit.
        SettingsError: options that contradict each other.
    """
    card = get_card(network) if isinstance(network, str) else network
    if epochs is not None:
        card = card.model_copy(update={"recipe": card.recipe.model_copy(update={"epochs": epochs})})
    parts = split_dataset(train, validation, seed) if isinstance(validation, float) else (train, validation)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    setup = Setup(card.recipe, card.preprocessing, seed, place, use_bfloat16(precision, place))
    built, origin = initial_network(card.architecture, len(train.class_names), init=init, imagenet=imagenet, seed=seed)
    metadata = _metadata(card, parts[0], origin, seed)
    tracker = tracker or NullTracker()
    _announce(tracker, metadata, parts, test, setup)
    built = built.to(device=place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    state: RunState[EpochRecord] = RunState(built, make_optimiser(built, card.recipe))
    settings = _settings(metadata, parts, setup)
    resumed = bool(checkpoint_dir and load_checkpoint(checkpoint_dir, state, settings, EpochRecord))
    _run_epochs(state, parts, setup, checkpoint_dir, settings, tracker, progress)
    state.network.load_state_dict(round_to_half(state.best) if half else state.best)
    return _finish(state, metadata, parts[1], test, setup, resumed, tracker, progress)


def finished_before(
    path: Path, card: Card, train: Dataset, validation: float, *, init: Path | None, imagenet: bool, seed: int
) -> bool:
    """Whether a weights file already holds what a training run would give.

    Args:
        path: the weights file; need not exist.
        card: network and recipe.
        train: fully labelled.
        validation: share held out.
        init: as for `train_classifier`.
        imagenet: likewise.
        seed: likewise.

    Raises:
        ModelError: it holds the outcome of another run, and would be overwritten.
    """
    if not path.is_file():
        return False
    wanted = _metadata(card, split_dataset(train, validation, seed)[0], origin_of(init, imagenet), seed)
    found = read_metadata(path)
    fields = (
        "network",
        "architecture",
        "class_names",
        "preprocessing",
        "recipe",
        "seed",
        "trained_on",
        "initial_weights",
    )
    changed = [name for name in fields if getattr(found, name) != getattr(wanted, name)]
    if changed:
        raise ModelError(
            f"{path}: holds the outcome of a run with another {', '.join(changed)}",
            fix="repeat the earlier command, or name another --out",
        )
    return True


def _metadata(card: Card, train: Dataset, origin: str, seed: int) -> ClassifierMetadata:
    return ClassifierMetadata(
        medlocker_version=__version__,
        network=card.name,
        architecture=card.architecture,
        class_names=train.class_names,
        preprocessing=card.preprocessing,
        recipe=card.recipe,
        seed=seed,
        trained_on=f"{train.name}, {len(train.records)} images, sha256:{dataset_digest(train)}",
        initial_weights=origin,
    )


def _settings(metadata: ClassifierMetadata, parts: tuple[Dataset, Dataset], setup: Setup) -> dict[str, object]:
    described: dict[str, object] = json.loads(metadata.model_dump_json(exclude={"medlocker_version", "metrics"}))
    return described | {"validation": dataset_digest(parts[1]), "bfloat16": setup.bfloat16}


def _announce(
    tracker: Tracker,
    metadata: ClassifierMetadata,
    parts: tuple[Dataset, Dataset],
    test: Dataset | None,
    setup: Setup,
) -> None:
    recipe = setup.recipe.model_dump(exclude={"augmentation"})
    augmentation = {f"augmentation_{name}": value for name, value in setup.recipe.augmentation.model_dump().items()}
    facts = {
        "network": metadata.network,
        "seed": setup.seed,
        "classes": len(metadata.class_names),
        "initial_weights": metadata.initial_weights,
        "input_size": setup.preprocessing.input_size,
        "device": str(setup.device),
        "precision": "bfloat16" if setup.bfloat16 else "float32",
    }
    tracker.settings(facts | recipe | augmentation)
    tracker.dataset(parts[0], "train")
    tracker.dataset(parts[1], "validation")
    if test is not None:
        tracker.dataset(test, "test")


def _run_epochs(
    state: RunState[EpochRecord],
    parts: tuple[Dataset, Dataset],
    setup: Setup,
    checkpoint_dir: Path | None,
    settings: dict[str, object],
    tracker: Tracker,
    progress: Progress | None,
) -> None:
    recipe = setup.recipe
    if state.exhausted(recipe.epochs, recipe.patience):
        return
    caches = [
        cache_pixels(part, setup.preprocessing, _bound(progress, "decode", f"reading {part.name}")) for part in parts
    ]
    while not state.exhausted(recipe.epochs, recipe.patience):
        record = _one_epoch(state, caches[0], caches[1], setup, progress)
        state.finish_epoch(record)
        if checkpoint_dir:
            save_checkpoint(checkpoint_dir, state, settings)
        curve = {
            "train_loss": record.train_loss,
            "validation_loss": record.validation_loss,
            "validation_accuracy": record.accuracy,
            "validation_kappa": record.kappa,
            "epoch_seconds": record.seconds,
        }
        tracker.metrics(curve, step=record.epoch)


def _one_epoch(
    state: RunState[EpochRecord], train: PixelCache, validation: PixelCache, setup: Setup, progress: Progress | None
) -> EpochRecord:
    started, epoch = time.perf_counter(), len(state.history)
    line = f"epoch {epoch + 1} of {setup.recipe.epochs}"
    if state.history:
        line += f", kappa {state.history[-1].kappa:.3f}"
    loss = train_epoch(state.network, state.optimiser, train, epoch, setup, _bound(progress, "train", line))
    predictions, validation_loss = predict(state.network, validation, setup)
    confusion = confusion_matrix(validation.labels.numpy(), predictions.numpy(), validation.classes)
    accuracy = float((predictions == validation.labels).float().mean())
    kappa = quadratic_kappa(confusion).value
    if not math.isfinite(loss):
        raise ModelError(
            f"training diverged in epoch {epoch + 1}", why="the loss is not a number", fix="lower the learning rate"
        )
    return EpochRecord(epoch, loss, validation_loss, accuracy, kappa, time.perf_counter() - started)


def _finish(
    state: RunState[EpochRecord],
    metadata: ClassifierMetadata,
    validation: Dataset,
    test: Dataset | None,
    setup: Setup,
    resumed: bool,
    tracker: Tracker,
    progress: Progress | None,
) -> TrainResult:
    trained = TorchClassifier(state.network, metadata, setup.device)
    reports = {"validation": validation} | ({"test": test} if test else {})
    measured = {
        name: evaluate_classifier(trained, part, progress=_bound(progress, "evaluate", f"measuring {part.name}"))
        for name, part in reports.items()
    }
    metrics = {key: value for name, report in measured.items() for key, value in report.flat(name).items()}
    tracker.metrics(metrics | {"best_epoch": float(state.best_epoch)})
    for name, report in measured.items():
        tracker.table(f"{name}_classes", report.rows())
    described = TorchClassifier(state.network, metadata.model_copy(update={"metrics": metrics}), setup.device)
    return TrainResult(
        described,
        tuple(state.history),
        state.best_epoch,
        measured["validation"],
        measured.get("test"),
        "bfloat16" if setup.bfloat16 else "float32",
        resumed,
    )


def _bound(progress: Progress | None, phase: Phase, line: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, count: progress(phase, done, count, line)
