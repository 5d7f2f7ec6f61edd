"""The life of a run: it is started or joined before work begins, and it never stays RUNNING."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage
from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING, MLFLOW_RUN_ID

import medlocker
from medlocker.errors import TrackingError
from medlocker_mlflow.offline import artifact_location, offline_folder, open_offline
from medlocker_mlflow.store import connect, environment_defaults, quieten, store_errors
from medlocker_mlflow.tracker import MlflowTracker

SYSTEM_METRICS_SECONDS = "5"
"""Seconds between two samples of processor, memory and GPU use; MLflow's own default is 10."""


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM); exits with 143, as the shell reports that signal."""

    def __init__(self) -> None:
        super().__init__(143)


@contextmanager
def tracked_run(
    name: str, *, experiment: str | None, tracking_uri: str | None, verb: str, offline: Path | None = None
) -> Iterator[MlflowTracker]:
    """One MLflow run around a piece of work.

    Under `mlflow run` the run that it made is joined and keeps its experiment and name; inside a run of the caller's
    own, a nested one is started; otherwise a new one. The run ends FINISHED, FAILED with the reason in the tags
    `medlocker.error` and `medlocker.error_type` and in the description, or KILLED (Ctrl-C, SIGTERM). Exceptions go on
    to the caller.

    Args:
        name: the run's name, when it is started here.
        experiment: its experiment, made when missing; None for MLflow's own choice.
        tracking_uri: the store; None for MLFLOW_TRACKING_URI or MLflow's default.
        verb: the command that runs, stored as tag `medlocker.verb`.
        offline: folder to record in instead, until `medlocker runs merge`.

    Yields:
        The run's tracker.

    Raises:
        TrackingError: the store cannot be reached or refuses; raised before the work starts.
        SettingsError: `offline` does not fit the other arguments.
    """
    quieten()
    client = connect(tracking_uri) if offline is None else open_offline(offline, tracking_uri)
    tags = {"medlocker.verb": verb, "medlocker.version": medlocker.__version__}
    with _termination() as termination:
        run_id = _begin(client, name, experiment, tags)
        with _ended(MlflowTracker(client, run_id)) as tracker:
            termination.arm()
            yield tracker


def _begin(client: MlflowClient, name: str, experiment: str | None, tags: dict[str, str]) -> str:
    """Join the run of `mlflow run`, whose experiment and name are settled, or start one."""
    with store_errors("the run could not be started"):
        if MLFLOW_RUN_ID.name in os.environ:
            return _start(None, None, tags, system_metrics=_system_metrics_wanted())
        return _start(name, experiment_id(client, experiment), tags, system_metrics=_system_metrics_wanted())


@contextmanager
def nested_run(client: MlflowClient, name: str, tags: Mapping[str, str]) -> Iterator[MlflowTracker]:
    """A child of the run that is active; see `MlflowTracker.child_run`."""
    with store_errors("the child run could not be started"):
        run_id = _start(name, None, dict(tags), system_metrics=False)
    with _ended(MlflowTracker(client, run_id)) as tracker:
        yield tracker


def _start(name: str | None, experiment_id: str | None, tags: dict[str, str], *, system_metrics: bool) -> str:
    parent = mlflow.active_run()
    if experiment_id is None and parent is not None:
        experiment_id = parent.info.experiment_id
    with environment_defaults({"MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": SYSTEM_METRICS_SECONDS}):
        run = mlflow.start_run(
            run_name=name, experiment_id=experiment_id, nested=True, tags=tags, log_system_metrics=system_metrics
        )
    return str(run.info.run_id)


def _system_metrics_wanted() -> bool:
    # MLflow raises when psutil is missing; a user's own choice in the environment comes first.
    if MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.name in os.environ:
        return bool(MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get())  # type: ignore[no-untyped-call]
    return importlib.util.find_spec("psutil") is not None


def experiment_id(client: MlflowClient, name: str | None) -> str | None:
    """The experiment's id; it is made when missing.

    `mlflow.set_experiment` is not used: it would change later runs of the same process.

    Args:
        client: of the store.
        name: the experiment; None for MLflow's own choice, which gives None.

    Raises:
        TrackingError: the experiment is deleted.
    """
    if name is None:
        return None
    found = client.get_experiment_by_name(name)
    if found is None:
        folder = offline_folder(client.tracking_uri)
        return str(client.create_experiment(name, artifact_location(folder, name) if folder else None))
    if found.lifecycle_stage == LifecycleStage.DELETED:
        raise TrackingError(
            f"the experiment {name} is deleted",
            fix=f"restore it (mlflow experiments restore --experiment-id {found.experiment_id}) or name another",
        )
    return str(found.experiment_id)


@contextmanager
def _ended(tracker: MlflowTracker) -> Iterator[MlflowTracker]:
    try:
        yield tracker
    except BaseException as error:
        _end_early(tracker, error)
        raise
    with store_errors("the run could not be marked FINISHED"):
        mlflow.end_run("FINISHED")


def _end_early(tracker: MlflowTracker, error: BaseException) -> None:
    """End the run as the error asks; trouble with the store is added to the error and does not replace it."""
    if _exit_code(error) == 0:
        mlflow.end_run("FINISHED")
        return
    status = "KILLED" if isinstance(error, KeyboardInterrupt | Terminated) else "FAILED"
    try:
        tracker.record_failure(_reason(error), type(error).__name__)
    except TrackingError as trouble:
        error.add_note(f"the reason could not be written to the run: {trouble}")
    try:
        with store_errors(f"the run could not be marked {status}"):
            mlflow.end_run(status)
    except TrackingError as trouble:
        error.add_note(str(trouble))


def _exit_code(error: BaseException) -> int | None:
    # click leaves a command with an exception of its own that has `exit_code`; SystemExit has `code`.
    code = getattr(error, "exit_code", error.code if isinstance(error, SystemExit) else -1)
    return code if isinstance(code, int) else 0 if code is None else -1


def _reason(error: BaseException) -> str:
    if isinstance(error, Terminated):
        return "The process was asked to end (SIGTERM)."
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted by the user."
    return str(error) or type(error).__name__


class _Termination:
    """SIGTERM as an exception: held back until the run exists and can be ended, raised from then on."""

    def __init__(self) -> None:
        self._armed = self._pending = False

    def arm(self) -> None:
        """Raise from now on, at once if the signal has already come.

        Raises:
            Terminated: it has.
        """
        self._armed = True
        if self._pending:
            raise Terminated

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """The signal handler; a second signal does not disturb the writing of the run's end."""
        if self._pending:
            return
        self._pending = True
        if self._armed:
            raise Terminated


@contextmanager
def _termination() -> Iterator[_Termination]:
    """Watch for SIGTERM; a handler that someone else installed stays, and only the main thread may install one."""
    termination = _Termination()
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield termination
        return
    signal.signal(signal.SIGTERM, termination.handle)
    try:
        yield termination
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
