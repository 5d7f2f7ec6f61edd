"""What a logged classifier makes of clean and of marked images.

The contract of `mlflow.models.evaluate(model, data, targets="label", model_type="classifier", evaluators="medlocker")`:

- `data` has one row an image: `path` (the clean image), the targets column (class index or name), optionally `id` and
  `marked_path`. `mlflow.data.from_image_folder(…)` gives such a table.
- A model whose signature is a tensor, or of the PyTorch or ONNX flavour, gets (N, 3, S, S) float32 batches that went
  through a stated `Preprocessing`. A model whose signature is one text column gets a table of paths.
- It answers with (N, C) scores, or one class index or name an image.
- Marked images come from `marked_path`, from a release folder, or, where neither is given, from one random mark an
  image; that is a baseline and is called so in the metrics.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow import MlflowClient
from mlflow.models.evaluation import EvaluationResult
from mlflow.models.evaluation.artifacts import CsvEvaluationArtifact
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medlocker.blending import load_logo
from medlocker.classifiers import Preprocessing
from medlocker.errors import SettingsError
from medlocker.metrics import Proportion, attack_success
from medlocker_mlflow.feeding import Classes, Feed, InputForm, as_classes, metadata_value, settle_input
from medlocker_mlflow.names import component, stored_name
from medlocker_mlflow.pairing import MARKED, Pair, listed_pairs, random_pairs, release_pairs
from medlocker_mlflow.tracker import MlflowTracker

UNKNOWN = -1
"""Class of an image that has no marked version."""


class EvaluatorConfig(BaseModel):
    """What `evaluator_config` may say.

    Attributes:
        network: name in metrics and tables; None for the one in the model's metadata, or `model`.
        role: `target` for a network the search never asked, `source` for one it asked.
        input: whether the model takes arrays or paths; `auto` for what it says of itself.
        preprocessing: how images become arrays; None for the one in the model's metadata.
        class_names: index → name, where labels or answers are names; None for those in the model's metadata.
        release: folder with the marked images.
        logo: mark for the random baseline; None for the default logo.
        logo_scale: its size, the paper's sl.
        alpha_range: smallest and largest α of the random baseline.
        seed: of the random baseline.
        batch_size: images the model gets at a time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Annotated[str, Field(min_length=1)] | None = None
    role: Literal["target", "source"] = "target"
    input: InputForm = "auto"
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] | None = None
    release: Path | None = None
    logo: Path | None = None
    logo_scale: Annotated[float, Field(ge=1, le=64)] = 4.0
    alpha_range: tuple[Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]] = (100, 255)
    seed: Annotated[int, Field(ge=0)] = 0
    batch_size: Annotated[int, Field(ge=1)] = 32


@dataclass(frozen=True, eq=False)
class Marking:
    """The images to read and what their marks are.

    Attributes:
        pairs: one an image.
        group: metric group of the attack success rate.
        origin: in words, for the table.
        release_id: where the marks come from a release.
    """

    pairs: Sequence[Pair]
    group: str
    origin: str
    release_id: str | None = None


def refuse_unsupported(model: Any, extra_metrics: Any, custom_artifacts: Any) -> None:
    """Refuse what this evaluator cannot do, rather than leave it out in silence.

    Raises:
        SettingsError: there is no model, or extra metrics or artifacts were asked for.
    """
    if model is None:
        raise SettingsError(
            "there is no model to evaluate",
            why="a marked image has to be read by the model itself, a column of predictions is not enough",
            fix="pass a model: mlflow.models.evaluate(model, …)",
        )
    if extra_metrics or custom_artifacts:
        raise SettingsError(
            "the medlocker evaluator takes no extra_metrics and no custom_artifacts",
            fix='use evaluators=["default", "medlocker"] with a model that fits both, or a second call',
        )


def evaluate_classifier(
    model: Any, dataset: Any, run_id: str, config: Mapping[str, Any], *, output: str | None, log_metrics: bool
) -> EvaluationResult:
    """Read every pair with the model; log metrics and the per-image table.

    Args:
        model: a pyfunc model.
        dataset: MLflow's evaluation data set.
        run_id: where it is logged.
        config: fields of `EvaluatorConfig`.
        output: name of the model's answer to use.
        log_metrics: whether metrics are logged here; MLflow does it itself for a logged model.

    Returns:
        Metrics and the table.

    Raises:
        MedLockerError: configuration, table, model or images are not usable.
    """
    settings, tracker = checked_config(config), MlflowTracker(MlflowClient(), run_id)
    frame = _frame(dataset)
    names = settings.class_names or tuple(metadata_value(model, "class_names") or ())
    truth = as_classes(np.asarray(dataset.labels_data), names, "the label")
    network = settings.network or metadata_value(model, "network") or "model"
    marking = find_marking(frame, settings)
    preprocessing, input_name = settle_input(model, settings.input, settings.preprocessing)
    with tempfile.TemporaryDirectory() as scratch:
        feed = Feed(model, preprocessing, input_name, output, names, Path(scratch))
        clean, marked = _read(feed, marking.pairs, settings.batch_size)
    metrics = evaluation_metrics(network, marking.group, truth, clean, marked)
    if log_metrics:
        tracker.metrics(metrics)
    if marking.release_id:
        tracker.tags({"medlocker.release_id": marking.release_id})
    rows = _rows(marking, truth, clean, marked, names)
    name = f"evaluation_{component(marking.group)}_{component(network)}"
    tracker.table(name, rows)
    uri = f"{MlflowClient().get_run(run_id).info.artifact_uri}/tables/{name}.csv"
    table = CsvEvaluationArtifact(uri, pd.DataFrame(rows))  # type: ignore[no-untyped-call]
    return EvaluationResult(metrics, {name: table}, run_id)  # type: ignore[no-untyped-call]


def checked_config(config: Mapping[str, Any]) -> EvaluatorConfig:
    """`evaluator_config` as a model.

    Raises:
        SettingsError: a field is unknown or not valid.
    """
    try:
        return EvaluatorConfig(**config)
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(
            f"evaluator_config, {'.'.join(map(str, first['loc']))}: {first['msg']}",
            why=f"{first['input']!r} was given",
            fix=f"known are {', '.join(EvaluatorConfig.model_fields)}",
        ) from error


def _frame(dataset: Any) -> pd.DataFrame:
    if not isinstance(dataset.features_data, pd.DataFrame) or dataset.labels_data is None:
        raise SettingsError(
            "the data is no table with labels",
            fix='pass a DataFrame with the columns path and label, and targets="label"',
        )
    return dataset.features_data


def find_marking(frame: pd.DataFrame, settings: EvaluatorConfig) -> Marking:
    """Where the marked images come from.

    Raises:
        SettingsError: rows cannot be matched, or two origins were given.
    """
    group = "asr/transfer" if settings.role == "target" else "asr/source"
    if MARKED in frame.columns and settings.release:
        raise SettingsError(f"both a column {MARKED} and a release were given", fix="drop one of them")
    if MARKED in frame.columns:
        return Marking(listed_pairs(frame), group, MARKED)
    if settings.release:
        pairs, manifest = release_pairs(frame, settings.release)
        return Marking(pairs, group, f"release {manifest.release_id}", manifest.release_id)
    logo = load_logo(settings.logo)
    pairs = random_pairs(frame, logo, settings.logo_scale, settings.alpha_range, settings.seed)
    return Marking(pairs, "asr/baseline/random_single", f"random, seed {settings.seed}")


def _read(feed: Feed, pairs: Sequence[Pair], batch_size: int) -> tuple[Classes, Classes]:
    """(n,) classes of the clean and of the marked images; `UNKNOWN` where there is no marked one."""
    clean = np.full(len(pairs), UNKNOWN, dtype=np.int64)
    marked = np.full(len(pairs), UNKNOWN, dtype=np.int64)
    for start in range(0, len(pairs), batch_size):
        batch = pairs[start : start + batch_size]
        clean[start : start + len(batch)] = feed.classes([pair.clean for pair in batch])
        there = [start + i for i, pair in enumerate(batch) if pair.marked is not None]
        if there:
            marked[there] = feed.classes([pair.marked() for pair in batch if pair.marked is not None])
    return clean, marked


def evaluation_metrics(network: str, group: str, truth: Classes, clean: Classes, marked: Classes) -> dict[str, float]:
    """Accuracies and attack success as flat metrics.

    Args:
        network: its name.
        group: `asr/transfer`, `asr/source` or `asr/baseline/random_single`.
        truth: (n,) true class.
        clean: (n,) class read on the clean image.
        marked: (n,) class read on the marked image, `UNKNOWN` where there is none.

    Returns:
        `accuracy/clean/<net>`, `accuracy/marked/<net>` (under `baseline/random_single` for that baseline) and the
        group's own, each with `/lo`, `/hi` and `/n`; nothing for a proportion of no images.
    """
    there: npt.NDArray[np.bool_] = marked != UNKNOWN
    accuracy = group.replace("asr/", "accuracy/", 1) if "baseline" in group else "accuracy/marked"
    shares = {
        "accuracy/clean": Proportion(int((clean == truth).sum()), len(truth)),
        accuracy: Proportion(int((marked == truth)[there].sum()), int(there.sum())),
        group: attack_success(truth, clean, marked, there),
    }
    metrics: dict[str, float] = {}
    for name, share in shares.items():
        if share.n:
            base = stored_name(f"{name}/{component(network)}")
            low, high = share.interval
            metrics |= {base: share.rate, f"{base}/lo": low, f"{base}/hi": high, f"{base}/n": share.n}
    return metrics


def _rows(
    marking: Marking, truth: Classes, clean: Classes, marked: Classes, names: Sequence[str]
) -> list[dict[str, object]]:
    def named(value: int) -> str:
        return "" if value == UNKNOWN else names[value] if value < len(names) else str(value)

    return [
        {
            "id": pair.id,
            "label": named(label),
            "clean": named(before),
            "marked": named(after),
            "outcome": _outcome(label, before, after),
            "marks": marking.origin,
        }
        for pair, label, before, after in zip(
            marking.pairs, truth.tolist(), clean.tolist(), marked.tolist(), strict=True
        )
    ]


def _outcome(label: int, before: int, after: int) -> str:
    """The words of a release's manifest, for this model."""
    if after == UNKNOWN:
        return "infeasible"
    if before != label:
        return "clean_misread"
    return "not_fooled" if after == label else "fooled"
