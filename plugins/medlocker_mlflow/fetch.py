"""From an MLflow model URI to the one network file in it."""

from __future__ import annotations

from pathlib import Path

import mlflow

from medlocker.errors import ModelError, TrackingError
from medlocker_mlflow.store import connect, quieten, store_errors

SCHEMES = ("models:/", "runs:/")
SUFFIXES = (".safetensors", ".onnx")


def is_model_uri(text: str) -> bool:
    """Whether a source or target option names something in MLflow."""
    return text.startswith(SCHEMES)


def fetch_model(uri: str) -> Path:
    """Download a model or artifact and find its network file.

    Args:
        uri: `models:/name/version`, `models:/name@alias` or `runs:/run_id/path`, of a folder or of the file itself.

    Returns:
        The single .safetensors or .onnx file, on this machine; files beside it are downloaded too.

    Raises:
        ModelError: not such a URI, nothing is there, or it holds no network file or several.
        TrackingError: the tracking store does not answer.
    """
    if not is_model_uri(uri):
        raise ModelError(f"{uri} is not an MLflow URI", fix="write models:/name@alias, models:/name/1 or runs:/id/path")
    quieten()
    connect(None)
    try:
        with store_errors(f"{uri} could not be downloaded"):
            fetched = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except TrackingError as error:
        raise ModelError(error.what, why=error.why, fix="check the name, version or alias in the MLflow UI") from error
    return _network_file(fetched, uri)


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
