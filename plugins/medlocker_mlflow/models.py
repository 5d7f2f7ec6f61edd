"""Trained and exported networks as MLflow models: signature, example, preprocessing, metrics, registered versions."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import mlflow.onnx
import mlflow.pyfunc
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from mlflow import MlflowClient
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import Schema, TensorSpec

import medlocker
from medlocker.errors import SettingsError
from medlocker_mlflow.feeding import METADATA_KEYS
from medlocker_mlflow.names import FINGERPRINT_TAG, component, setting_text
from medlocker_mlflow.store import store_errors
from medlocker_mlflow.tracker import MlflowTracker
from medlocker_zoo.classifier import ClassifierMetadata, TorchClassifier

MODEL_NAME = "model"
"""What a run's model is called: `runs:/<run id>/model`."""
ONE_FILE_BYTES = 2**31 - 2**20
"""Largest ONNX file; protobuf cannot hold more, and larger weights get a file of their own."""
ONNX_RUNTIME = "onnxruntime-gpu"
_TORCH_PACKAGES = ("mlflow", "numpy", "pydantic", "safetensors", "timm", "torch")
_ONNX_PACKAGES = ("mlflow", "numpy", "onnx")
_REGISTERED_NAME = re.compile(r"[^/:]+")
_ALIAS = re.compile(r"(?!v\d+$|latest$)[\w\-]{1,255}", re.IGNORECASE)


@dataclass(frozen=True)
class Registration:
    """What a user wants a model to be registered as.

    Attributes:
        name: of the registered model; made when missing.
        alias: set to the new version; None for none.
    """

    name: str
    alias: str | None = None


@dataclass(frozen=True)
class LoggedNetwork:
    """A model as it is in MLflow now.

    Attributes:
        uri: `models:/m-…`.
        model_id: `m-…`.
        registered: `models:/name/version`, None where it was not registered.
        alias: of that version.
    """

    uri: str
    model_id: str
    registered: str | None = None
    alias: str | None = None

    def __str__(self) -> str:
        if self.registered is None:
            return self.uri
        name = self.registered.removeprefix("models:/").rpartition("/")[0]
        return self.registered + (f" (models:/{name}@{self.alias})" if self.alias else "")


def checked_registration(name: str | None, alias: str | None, *, offline: bool) -> Registration | None:
    """What was asked for, checked before any work.

    Raises:
        SettingsError: a name or alias is not one MLflow takes, or they cannot be had together.
    """
    if name is None:
        if alias is not None:
            raise SettingsError(f"--alias {alias}: of which model?", fix="name the registered model with --register")
        return None
    if not _REGISTERED_NAME.fullmatch(name):
        raise SettingsError(f"--register {name}: not a model name", fix="use a name without / and :")
    if alias is not None and not _ALIAS.fullmatch(alias):
        raise SettingsError(
            f"--alias {alias}: not an alias", fix="use letters, digits, - and _; neither `latest` nor `v1` and the like"
        )
    if offline:
        raise SettingsError(
            "--register does not go with --offline", fix="merge first (medlocker runs merge), then register in MLflow"
        )
    return Registration(name, alias)


def log_classifier(
    tracker: MlflowTracker, weights: Path, classifier: TorchClassifier, registration: Registration | None
) -> LoggedNetwork:
    """Log a weights file as a pyfunc model of the run and register it, if asked to.

    Args:
        tracker: of the run.
        weights: the .safetensors file.
        classifier: what it holds.
        registration: name and alias, or None.

    Raises:
        TrackingError: the store or the registry refuses.
    """
    with _logging_a_model(weights):
        info = Model.log(
            artifact_path=None,
            name=MODEL_NAME,
            flavor=mlflow.pyfunc,
            run_id=tracker.run_id,
            loader_module="medlocker_mlflow.loading",
            data_path=str(weights),
            pip_requirements=[f"{name}=={version(name)}" for name in _TORCH_PACKAGES],
            **_common(classifier, "pytorch"),
        )
    return _finish(tracker, str(info.model_id), classifier.metadata, registration, classifier.fingerprint)


def log_onnx(
    tracker: MlflowTracker, path: Path, classifier: TorchClassifier, registration: Registration | None
) -> LoggedNetwork:
    """Log an exported file as a model of the ONNX flavour, which runs without MedLocker; register it, if asked to.

    Args:
        tracker: of the run.
        path: the .onnx file.
        classifier: what it was exported from.
        registration: name and alias, or None.

    Raises:
        TrackingError: the store or the registry refuses.
    """
    with _logging_a_model(path):
        info = Model.log(
            artifact_path=None,
            name=MODEL_NAME,
            flavor=mlflow.onnx,
            run_id=tracker.run_id,
            onnx_model=onnx.load(str(path)),
            save_as_external_data=path.stat().st_size > ONE_FILE_BYTES,
            # Without this list MLflow asks for `onnxruntime`, whose files would replace those of the GPU runtime.
            pip_requirements=[
                *(f"{name}=={version(name)}" for name in _ONNX_PACKAGES),
                f"{ONNX_RUNTIME}[cuda,cudnn]=={version(ONNX_RUNTIME)}",
            ],
            **_common(classifier, "onnx"),
        )
    return _finish(tracker, str(info.model_id), classifier.metadata, registration, classifier.fingerprint)


def model_metrics(metadata: ClassifierMetadata) -> dict[str, float]:
    """How good a network is, as flat metrics: `accuracy`, `kappa`, `accuracy/class/<name>`, with `/lo`, `/hi`, `/n`.

    Args:
        metadata: of a weights file; its figures on the test part where there was one, else on the validation part.

    Returns:
        Nothing for a network that was never measured.
    """
    part, found = measured_on(metadata), metadata.metrics
    if part is None:
        return {}
    names = {
        "accuracy": "accuracy",
        "accuracy/lo": "accuracy_low",
        "accuracy/hi": "accuracy_high",
        "accuracy/n": "images",
        "balanced_accuracy": "balanced_accuracy",
        "kappa": "kappa",
        "kappa/lo": "kappa_low",
        "kappa/hi": "kappa_high",
    }
    names |= {
        f"accuracy/class/{component(label)}": f"accuracy_class_{index}"
        for index, label in enumerate(metadata.class_names)
    }
    return {name: found[f"{part}_{key}"] for name, key in names.items() if f"{part}_{key}" in found}


def measured_on(metadata: ClassifierMetadata) -> str | None:
    """`test`, `validation`, or None for a network without figures."""
    return next((part for part in ("test", "validation") if f"{part}_accuracy" in metadata.metrics), None)


@contextmanager
def _logging_a_model(path: Path) -> Iterator[None]:
    """Errors as ours, and no talk: ONNX Runtime reports a missing GPU, MLflow its own opinion of requirements."""
    logger = logging.getLogger("mlflow")
    earlier = logger.level
    logger.setLevel(logging.ERROR)
    onnxruntime.set_default_logger_severity(4)
    try:
        with store_errors(f"{path} was not logged as a model"):
            yield
    finally:
        onnxruntime.set_default_logger_severity(2)
        logger.setLevel(earlier)


def _common(classifier: TorchClassifier, runtime: str) -> dict[str, Any]:
    """What both kinds of models say of themselves."""
    side, classes = classifier.preprocessing.input_size, classifier.num_classes
    metadata = classifier.metadata
    facts = {
        "network": metadata.network,
        "classes": classes,
        "input_size": side,
        "seed": metadata.seed,
        "trained_on": metadata.trained_on,
        "initial_weights": metadata.initial_weights,
    }
    return {
        "signature": ModelSignature(
            Schema([TensorSpec(np.dtype("float32"), (-1, 3, side, side))]),
            Schema([TensorSpec(np.dtype("float32"), (-1, classes))]),
        ),
        "input_example": input_example(side),
        "metadata": {
            METADATA_KEYS["preprocessing"]: classifier.preprocessing.model_dump(mode="json"),
            METADATA_KEYS["network"]: classifier.name,
            METADATA_KEYS["class_names"]: list(metadata.class_names),
            FINGERPRINT_TAG: classifier.fingerprint,
        },
        "params": {name: setting_text(value)[:500] for name, value in facts.items() if value is not None},
        "tags": {FINGERPRINT_TAG: classifier.fingerprint, "medlocker.runtime": runtime},
        "model_type": "classifier",
    }


def input_example(side: int) -> npt.NDArray[np.float32]:
    """(1, 3, S, S) float32: an even grey, as small as an example can be."""
    return np.zeros((1, 3, side, side), dtype=np.float32)


def _finish(
    tracker: MlflowTracker,
    model_id: str,
    metadata: ClassifierMetadata,
    registration: Registration | None,
    fingerprint: str,
) -> LoggedNetwork:
    tracker.model_metrics(model_id, model_metrics(metadata))
    tracker.tags({FINGERPRINT_TAG: fingerprint})
    logged = LoggedNetwork(f"models:/{model_id}", model_id)
    if registration is None:
        return logged
    with store_errors(f"{registration.name} was not registered"):
        number = _register(tracker.client, logged, tracker.run_id, registration, metadata, fingerprint)
    registered = f"models:/{registration.name}/{number}"
    tracker.tags({"medlocker.registered": registered})
    return LoggedNetwork(logged.uri, model_id, registered, registration.alias)


def _register(
    client: MlflowClient,
    logged: LoggedNetwork,
    run_id: str,
    registration: Registration,
    metadata: ClassifierMetadata,
    fingerprint: str,
) -> str:
    _ensure_registered(client, registration.name)
    made = client.create_model_version(
        registration.name,
        logged.uri,
        run_id,
        tags={
            FINGERPRINT_TAG: fingerprint,
            "medlocker.network": metadata.network,
            "medlocker.version": medlocker.__version__,
        },
        description=describe_model(metadata),
        model_id=logged.model_id,
    )
    if registration.alias:
        client.set_registered_model_alias(registration.name, registration.alias, made.version)
    return str(made.version)


def _ensure_registered(client: MlflowClient, name: str) -> None:
    try:
        client.get_registered_model(name)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name)


def describe_model(metadata: ClassifierMetadata) -> str:
    """A network in words, outcome first."""
    part, found = measured_on(metadata), metadata.metrics
    lines = []
    if part is not None:
        interval = f"{found[part + '_accuracy_low']:.1%}–{found[part + '_accuracy_high']:.1%}"
        lines.append(
            f"**Accuracy {found[part + '_accuracy']:.1%}** ({interval}) on {found[part + '_images']:.0f} {part} images"
            + (f", quadratic kappa {found[part + '_kappa']:.3f}." if f"{part}_kappa" in found else ".")
        )
    lines.append(f"{metadata.network}, {len(metadata.class_names)} classes: {', '.join(metadata.class_names)}.")
    if metadata.trained_on:
        lines.append(f"Trained on {metadata.trained_on}.")
    return "\n\n".join(lines)
