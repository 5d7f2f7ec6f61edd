"""Train a UNet++ on images with lesion masks."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from medlocker import __version__
from medlocker.datasets import Dataset, dataset_digest
from medlocker.errors import ModelError
from medlocker.segmenting import LESIONS
from medlocker.tracking import NullTracker, Tracker
from medlocker_zoo.checkpoints import RunState, load_checkpoint, save_checkpoint
from medlocker_zoo.labels import hold_out
from medlocker_zoo.optimisation import epoch_seed, make_adamw, rate_factor
from medlocker_zoo.segmentation.description import (
    SegmentationInput,
    SegmentationRecipe,
    SegmenterMetadata,
    UnetSettings,
)
from medlocker_zoo.segmentation.loss import LesionLoss
from medlocker_zoo.segmentation.measuring import (
    Counts,
    LesionReport,
    best_threshold,
    collect_counts,
    flat,
    lesion_reports,
    mean_precision,
    rows,
)
from medlocker_zoo.segmentation.network import initial_unet
from medlocker_zoo.segmentation.patches import LesionCache, augment_pair, cache_lesions, check_lesions, draw_batch
from medlocker_zoo.segmentation.segmenter import TorchSegmenter
from medlocker_zoo.segmentation.tiling import normalised
from medlocker_zoo.storage import round_to_half
from medlocker_zoo.training import Phase, Progress

UNTRAINED_THRESHOLD = 0.5


@dataclass(frozen=True)
class SegmentationEpoch:
    """What one epoch gave.

    Attributes:
        epoch: 0-based.
        train_loss: mean over its steps.
        mean_aupr: over the lesion types, on the validation images.
        aupr: one a lesion type; NaN where the validation images have none.
        seconds: wall time.
    """

    epoch: int
    train_loss: float
    mean_aupr: float
    aupr: tuple[float, ...]
    seconds: float

    @property
    def score(self) -> float:
        """By which the best epoch is chosen."""
        return self.mean_aupr


@dataclass(frozen=True)
class SegmentationJob:
    """What a training run was asked for.

    Attributes:
        network: which UNet++.
        input: resolution, tiles, normalisation.
        recipe: how to train.
        lesions: types, one an output.
        init: a classifier's .safetensors file for the encoder.
        imagenet: start the encoder from timm's weights.
        validation: share of the training images held out to choose epoch and thresholds.
        seed: of everything random.
        device: where it trains.
        checkpoints: folder of checkpoints; None keeps none.
    """

    network: UnetSettings = field(default_factory=UnetSettings)
    input: SegmentationInput = field(default_factory=SegmentationInput)
    recipe: SegmentationRecipe = field(default_factory=SegmentationRecipe)
    lesions: tuple[str, ...] = LESIONS
    init: Path | None = None
    imagenet: bool = False
    validation: float = 0.15
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    checkpoints: Path | None = None


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """A finished training run.

    Attributes:
        segmenter: the best epoch's weights, rounded as they will be stored, with thresholds and figures as metadata.
        history: one record an epoch.
        best_epoch: 0-based.
        validation: figures on the held-out images; optimistic, since epoch and thresholds were chosen there.
        test: figures on the test images, where there were any.
        resumed: whether the run continued from a checkpoint.
    """

    segmenter: TorchSegmenter
    history: tuple[SegmentationEpoch, ...]
    best_epoch: int
    validation: tuple[LesionReport, ...]
    test: tuple[LesionReport, ...]
    resumed: bool


def train_segmenter(
    job: SegmentationJob,
    train: Dataset,
    *,
    test: Dataset | None = None,
    tracker: Tracker | None = None,
    progress: Progress | None = None,
) -> SegmentationResult:
    """Train a segmentation network, keeping the epoch with the highest mean average precision on held-out images.

    Args:
        job: what to train and how.
        train: images with masks; a share of them is held out.
        test: measured once, at the end.
        tracker: gets settings, data sets, a curve an epoch and the final figures.
        progress: as for classifiers.

    Returns:
        The network and how it came about.

    Raises:
        DatasetError: a lesion type has no mask, or a mask does not fit.
        ModelError: initial weights or checkpoint do not fit, or training diverged.
    """
    check_lesions(train, job.lesions)
    parts = hold_out(train, job.validation, job.seed)
    network, origin = initial_unet(job.network, len(job.lesions), init=job.init, imagenet=job.imagenet, seed=job.seed)
    network = network.to(device=job.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    metadata = _metadata(job, parts[0], origin)
    tracker = tracker or NullTracker()
    _announce(tracker, job, parts, test, origin)
    state: RunState[SegmentationEpoch] = RunState(network, make_adamw(network, job.recipe))
    settings = _settings(metadata, parts)
    resumed = bool(job.checkpoints and load_checkpoint(job.checkpoints, state, settings, _epoch_record))
    _run_epochs(state, job, metadata, parts, settings, tracker, progress)
    state.network.load_state_dict(round_to_half(state.best))
    return _finish(state, job, metadata, parts[1], test, resumed, tracker, progress)


def _epoch_record(**fields: object) -> SegmentationEpoch:
    return SegmentationEpoch(**{**fields, "aupr": tuple(fields["aupr"])})  # type: ignore[arg-type]


def _metadata(job: SegmentationJob, train: Dataset, origin: str) -> SegmenterMetadata:
    return SegmenterMetadata(
        medlocker_version=__version__,
        network=job.network,
        lesions=job.lesions,
        thresholds=(UNTRAINED_THRESHOLD,) * len(job.lesions),
        input=job.input,
        recipe=job.recipe,
        seed=job.seed,
        trained_on=f"{train.name}, {len(train.records)} images, sha256:{dataset_digest(train)}",
        initial_weights=origin,
    )


def _settings(metadata: SegmenterMetadata, parts: tuple[Dataset, Dataset]) -> dict[str, object]:
    described: dict[str, object] = json.loads(metadata.model_dump_json(exclude={"medlocker_version", "metrics"}))
    return described | {"validation": dataset_digest(parts[1])}


def _announce(
    tracker: Tracker, job: SegmentationJob, parts: tuple[Dataset, Dataset], test: Dataset | None, origin: str
) -> None:
    facts = {"initial_weights": origin, "lesions": job.lesions, "seed": job.seed, "device": str(job.device)}
    described = (job.network, job.input, job.recipe)
    settings = {name: value for model in described for name, value in model.model_dump(mode="json").items()}
    augmentation = {f"augmentation_{name}": value for name, value in settings.pop("augmentation").items()}
    tracker.settings(facts | settings | augmentation)
    tracker.dataset(parts[0], "train")
    tracker.dataset(parts[1], "validation")
    if test:
        tracker.dataset(test, "test")


def _run_epochs(
    state: RunState[SegmentationEpoch],
    job: SegmentationJob,
    metadata: SegmenterMetadata,
    parts: tuple[Dataset, Dataset],
    settings: dict[str, object],
    tracker: Tracker,
    progress: Progress | None,
) -> None:
    if state.exhausted(job.recipe.epochs, None):
        return
    cache = cache_lesions(parts[0], job.lesions, job.input, _bound(progress, "decode", f"reading {parts[0].name}"))
    while not state.exhausted(job.recipe.epochs, None):
        started, epoch = time.perf_counter(), len(state.history)
        line = f"epoch {epoch + 1} of {job.recipe.epochs}"
        if state.history:
            line += f", mean AUPR {state.history[-1].mean_aupr:.3f}"
        loss = train_epoch(state, cache, job, epoch, _bound(progress, "train", line))
        counts = collect_counts(TorchSegmenter(state.network, metadata, job.device), parts[1])
        aupr = tuple(float(mean_precision(counts[:, [kind]])) for kind in range(len(job.lesions)))
        seconds = time.perf_counter() - started
        state.finish_epoch(SegmentationEpoch(epoch, loss, mean_precision(counts), aupr, seconds))
        if job.checkpoints:
            save_checkpoint(job.checkpoints, state, settings)
        _log_epoch(tracker, state.history[-1], job.lesions)


def _log_epoch(tracker: Tracker, record: SegmentationEpoch, lesions: Sequence[str]) -> None:
    curve = {
        "train_loss": record.train_loss,
        "validation_mean_aupr": record.mean_aupr,
        "epoch_seconds": record.seconds,
    } | {f"validation_{lesion}_aupr": value for lesion, value in zip(lesions, record.aupr, strict=True)}
    tracker.metrics(curve, step=record.epoch)


def train_epoch(
    state: RunState[SegmentationEpoch],
    cache: LesionCache,
    job: SegmentationJob,
    epoch: int,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Train for one epoch; everything random in it follows from (seed, epoch).

    Args:
        state: network and optimiser; changed.
        cache: training images.
        job: see there.
        epoch: 0-based.
        progress: called with steps done and steps in all.

    Returns:
        Mean loss.

    Raises:
        ModelError: training diverged.
    """
    recipe, seed = job.recipe, epoch_seed(job.seed, epoch)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    loss_of = LesionLoss(recipe)
    state.network.train().requires_grad_(True)
    total = 0.0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for step in range(recipe.steps_per_epoch):
            done = epoch * recipe.steps_per_epoch + step + 1
            for group in state.optimiser.param_groups:
                group["lr"] = recipe.learning_rate * rate_factor(
                    done / recipe.steps, recipe.warmup_steps / recipe.steps
                )
            images, masks = augment_pair(*draw_batch(cache, recipe, rng), recipe.augmentation, generator)
            inputs = torch.from_numpy(normalised(images.numpy(), job.input))
            total += _step(state, loss_of, inputs, masks, job)
            if progress:
                progress(step + 1, recipe.steps_per_epoch)
    if not math.isfinite(total):
        raise ModelError(
            f"training diverged in epoch {epoch + 1}", why="the loss is not a number", fix="lower the learning rate"
        )
    return total / recipe.steps_per_epoch


def _step(
    state: RunState[SegmentationEpoch],
    loss_of: LesionLoss,
    inputs: torch.Tensor,
    masks: torch.Tensor,
    job: SegmentationJob,
) -> float:
    state.optimiser.zero_grad(set_to_none=True)
    logits = state.network(inputs.to(job.device).contiguous(memory_format=torch.channels_last))
    loss = loss_of(logits.float(), masks.to(job.device))
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), job.recipe.gradient_clip)
    state.optimiser.step()
    return float(loss.detach())


def _finish(
    state: RunState[SegmentationEpoch],
    job: SegmentationJob,
    metadata: SegmenterMetadata,
    validation: Dataset,
    test: Dataset | None,
    resumed: bool,
    tracker: Tracker,
    progress: Progress | None,
) -> SegmentationResult:
    trained = TorchSegmenter(state.network, metadata, job.device)
    parts = {"validation": validation} | ({"test": test} if test else {})
    counts = {
        name: collect_counts(trained, part, _bound(progress, "evaluate", f"measuring {part.name}"))
        for name, part in parts.items()
    }
    thresholds = tuple(best_threshold(_pooled(counts["validation"], kind)) for kind in range(len(job.lesions)))
    reports = {name: lesion_reports(found, job.lesions, thresholds, job.seed) for name, found in counts.items()}
    metrics = {key: value for name, report in reports.items() for key, value in flat(report, name).items()}
    tracker.metrics(metrics | {"best_epoch": float(state.best_epoch)})
    for name, report in reports.items():
        tracker.table(f"{name}_lesions", rows(report))
    described = metadata.model_copy(update={"metrics": metrics, "thresholds": thresholds})
    return SegmentationResult(
        TorchSegmenter(state.network, described, job.device),
        tuple(state.history),
        state.best_epoch,
        reports["validation"],
        reports.get("test", ()),
        resumed,
    )


def _pooled(counts: Counts, kind: int) -> Counts:
    pooled: Counts = counts[:, kind].sum(axis=0)
    return pooled


def _bound(progress: Progress | None, phase: Phase, line: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, count: progress(phase, done, count, line)
