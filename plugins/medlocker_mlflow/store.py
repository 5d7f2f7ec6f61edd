"""Reaching the tracking store: quickly, quietly, and with errors that name the next step."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
from mlflow import MlflowClient

from medlocker.errors import MedLockerError, TrackingError

PROBE_SECONDS = 20.0
"""Longest wait for the first answer. MLflow's own retries of a database or server take minutes."""
SQLITE_SECONDS = 180.0
"""The same for a SQLite file: making the schema of a new one takes 5 s on an idle processor, and more on a busy one."""
_PROBE_HTTP = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
_QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
_CHATTY_LOGGERS = ("mlflow", "alembic", "git")


def quieten() -> None:
    """Keep MLflow's notices off the terminal: standard output belongs to `--json`, standard error to our progress.

    A value the user set for one of MLflow's environment variables stays.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def environment_defaults(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables the user has not set, for a while."""
    ours = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def printable(uri: str) -> str:
    """A URI without its password."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", uri)


CHECK = "check the tracking URI (MLFLOW_TRACKING_URI), that its server runs and that you may write to it"
UNREACHABLE = (
    f"{CHECK}; or record the run in a folder with --offline FOLDER and bring it in later with medlocker runs merge"
)

_REFUSED = {
    401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, for that server",
    403: "ask whoever runs that server for the right to write there",
}
"""What to do where a server answers with this HTTP status."""


@contextmanager
def store_errors(what: str, fix: str = CHECK) -> Iterator[None]:
    """Turn whatever MLflow, its database driver or the network raises into a `TrackingError`.

    Args:
        what: what was being done, e.g. `the settings were not logged`.
        fix: what the user can do, where the reason is not a matter of rights.
    """
    try:
        yield
    except MedLockerError:
        raise
    # MLflow passes on errors of requests, SQLAlchemy, boto and the file system; they share no narrower base.
    except Exception as error:
        raise TrackingError(
            f"{what} at {printable(mlflow.get_tracking_uri())}",
            why=_reason(error),
            fix=_REFUSED.get(getattr(error, "get_http_status_code", lambda: 0)(), fix),
        ) from error


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return printable(lines[0]) if lines else type(error).__name__


def connect(tracking_uri: str | None) -> MlflowClient:
    """Choose the tracking store, as `mlflow.set_tracking_uri` does, and make sure that it answers.

    Args:
        tracking_uri: the store; None for MLFLOW_TRACKING_URI or MLflow's default.

    Returns:
        A client of it.

    Raises:
        TrackingError: the store cannot be reached within `PROBE_SECONDS` (`SQLITE_SECONDS` for a file), or refuses.
    """
    quieten()
    if tracking_uri:
        with store_errors("the tracking store cannot be used"):
            mlflow.set_tracking_uri(tracking_uri)
    _check_sqlite_folder(mlflow.get_tracking_uri())
    with store_errors("the tracking store does not answer", UNREACHABLE):
        is_file = mlflow.get_tracking_uri().startswith("sqlite:")
        return _answering_client(SQLITE_SECONDS if is_file else PROBE_SECONDS)


def _check_sqlite_folder(uri: str) -> None:
    # MLflow retries a database it cannot open for more than a minute; a missing folder will not appear meanwhile.
    parts = urlsplit(uri)
    if parts.scheme.split("+")[0] != "sqlite" or ":memory:" in uri:
        return
    folder = Path(unquote(parts.path).removeprefix("/")).parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise TrackingError(
            f"the tracking store {uri} cannot be opened",
            why=f"the folder {folder.absolute()} does not exist or cannot be written",
            fix="create the folder or give another tracking URI (MLFLOW_TRACKING_URI)",
        )


def _answering_client(seconds: float) -> MlflowClient:
    answer: list[MlflowClient | BaseException] = []

    def ask() -> None:
        try:
            client = MlflowClient()
            client.search_experiments(max_results=1)
            answer.append(client)
        except BaseException as error:
            answer.append(error)

    with environment_defaults(_PROBE_HTTP):
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(seconds)
    if not answer:
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    if isinstance(answer[0], BaseException):
        raise answer[0]
    return answer[0]
