"""A tracking store in a folder, for work without a reachable one; `medlocker_mlflow.merging` brings its runs home."""

from __future__ import annotations

import os
from pathlib import Path

from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_RUN_ID

from medlocker.errors import SettingsError, TrackingError
from medlocker_mlflow.names import component
from medlocker_mlflow.store import connect

DATABASE_NAME = "mlflow.db"
ARTIFACTS_NAME = "artifacts"
MARK_NAME = ".medlocker-offline"
"""Tells an offline folder from any other folder with an `mlflow.db`."""


def store_uri(folder: Path) -> str:
    """The tracking URI of an offline folder."""
    return f"sqlite:///{folder.absolute() / DATABASE_NAME}"


def open_offline(folder: Path, tracking_uri: str | None) -> MlflowClient:
    """Make a folder the tracking store of this process; an existing one is used further.

    Args:
        folder: holds the database and, below `artifacts`, all artifacts.
        tracking_uri: what the user gave beside it; must be None.

    Returns:
        A client of it.

    Raises:
        SettingsError: a tracking URI was given as well, or `mlflow run` has made a run elsewhere already.
        TrackingError: the folder cannot be made or written.
    """
    if tracking_uri:
        raise SettingsError("--offline and --tracking-uri were both given", fix="leave one of them out")
    if MLFLOW_RUN_ID.name in os.environ:
        raise SettingsError(
            "--offline does not work under mlflow run",
            why="mlflow run has made its run in the tracking store already",
            fix="start the verb as medlocker …, or point MLFLOW_TRACKING_URI of mlflow run at a local store",
        )
    try:
        (folder / ARTIFACTS_NAME).mkdir(parents=True, exist_ok=True)
        (folder / ARTIFACTS_NAME / MARK_NAME).touch()
    except OSError as error:
        raise TrackingError(
            f"{folder}: the offline folder cannot be made", why=error.strerror, fix="name another with --offline"
        ) from error
    return connect(store_uri(folder))


def offline_folder(uri: str) -> Path | None:
    """The folder of a tracking URI, where it is an offline one."""
    folder = Path(uri.removeprefix("sqlite:///")).parent
    is_one = uri.startswith("sqlite:///") and (folder / ARTIFACTS_NAME / MARK_NAME).exists()
    return folder if is_one else None


def artifact_location(folder: Path, experiment: str) -> str:
    """Where an experiment of an offline folder keeps its artifacts; the folder can be moved as a whole."""
    place = folder.absolute() / ARTIFACTS_NAME / component(experiment)
    place.mkdir(exist_ok=True)
    return place.as_uri()
