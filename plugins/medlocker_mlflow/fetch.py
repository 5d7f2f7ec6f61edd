"""From an MLflow model URI to the version it means and to the one network file in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from medlocker.errors import ModelError, TrackingError
from medlocker.tracking import ModelOrigin
from medlocker_mlflow.names import FINGERPRINT_TAG
from medlocker_mlflow.store import connect, quieten, store_errors

SCHEMES = ("models:/", "runs:/")
SUFFIXES = (".safetensors", ".onnx")


def is_model_uri(text: str) -> bool:
    """Whether a source or target option names something in MLflow."""
    return text.startswith(SCHEMES)


def fetch_model(uri: str) -> Path:
    """Download a model or artifact and find its network file.

    Args:
        uri: `models:/name/version`, `models:/name@alias`, `models:/m-…` or `runs:/run_id/path`, of a logged model, of a
            folder or of the file itself.

    Returns:
        The single .safetensors or .onnx file, on this machine; files beside it are downloaded too.

    Raises:
        ModelError: not such a URI, nothing is there, or it holds no network file or several.
        TrackingError: the tracking store does not answer.
    """
    with _asking(uri):
        fetched = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    return _network_file(fetched, uri)


def pin_model(uri: str) -> ModelOrigin:
    """Find the fixed version that a URI means at this moment, and the run that made it.

    Args:
        uri: as for `fetch_model`.

    Returns:
        Its origin; an alias or `latest` is replaced by the version's number. The network has no name yet.

    Raises:
        ModelError: not such a URI, or nothing is there.
        TrackingError: the tracking store does not answer.
    """
    with _asking(uri):
        return _pinned(MlflowClient(), uri)


def find_by_weights(fingerprint: str) -> ModelOrigin | None:
    """The newest registered version with these weights, among those that `train` and `export` registered.

    Args:
        fingerprint: SHA-256 of the weights.

    Raises:
        TrackingError: the tracking store does not answer.
    """
    with store_errors("the registered models could not be searched"):
        found = MlflowClient().search_model_versions(f"tags.`{FINGERPRINT_TAG}` = '{fingerprint}'", max_results=100)
    newest = max(found, key=lambda version: int(version.creation_timestamp), default=None)
    return replace(_version_origin(newest), by_weights=True) if newest else None


@contextmanager
def _asking(uri: str) -> Iterator[None]:
    """Errors about a URI as ours; the store must answer first."""
    if not is_model_uri(uri):
        raise ModelError(f"{uri} is not an MLflow URI", fix="write models:/name@alias, models:/name/1 or runs:/id/path")
    quieten()
    connect(None)
    try:
        with store_errors(f"{uri} could not be downloaded"):
            yield
    except TrackingError as error:
        raise ModelError(error.what, why=error.why, fix="check the name, version or alias in the MLflow UI") from error


def _pinned(client: MlflowClient, uri: str) -> ModelOrigin:
    rest = uri.split(":/", 1)[1].strip("/")
    if uri.startswith("runs:/"):
        run_id, _, path = rest.partition("/")
        outputs = client.get_run(run_id).outputs
        models = [client.get_logged_model(o.model_id) for o in (outputs.model_outputs if outputs else [])]
        model_id = next((str(m.model_id) for m in models if m.name == path), None)
        return ModelOrigin("", f"runs:/{rest}", run_id, model_id)
    name, at, alias = rest.partition("@")
    if at:
        return _version_origin(client.get_model_version_by_alias(name, alias))
    name, _, number = rest.partition("/")
    if not number:
        return ModelOrigin("", f"models:/{name}", client.get_logged_model(name).source_run_id, name)
    if number == "latest":
        found = client.search_model_versions(f"name = '{name}'")
        return _version_origin(max(found, key=lambda version: int(version.version)))
    return _version_origin(client.get_model_version(name, number))


def _version_origin(version: ModelVersion) -> ModelOrigin:
    source = str(version.source or "")
    model_id = version.model_id or (source.removeprefix("models:/") if source.startswith("models:/m-") else None)
    return ModelOrigin("", f"models:/{version.name}/{version.version}", version.run_id or None, model_id)


def _network_file(fetched: Path, uri: str) -> Path:
    candidates = [fetched] if fetched.is_file() else sorted(path for path in fetched.rglob("*") if path.is_file())
    found = [path for path in candidates if path.suffix.lower() in SUFFIXES]
    if not found:
        raise ModelError(
            f"{uri} holds no .safetensors or .onnx file",
            why=f"it holds {', '.join(path.name for path in candidates[:5]) or 'no file'}",
            fix="log the weights file itself, or export the model to ONNX first",
        )
    if len(found) > 1:
        raise ModelError(
            f"{uri} holds {len(found)} network files",
            why=", ".join(str(path.relative_to(fetched)) for path in found),
            fix="name one of them: runs:/<run id>/<path of the file>",
        )
    return found[0]
