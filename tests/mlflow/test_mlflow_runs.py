from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import mlflow
import pytest
from mlflow_store import Store

from medlocker.errors import LogoError, TrackingError
from medlocker_mlflow.runs import Terminated, tracked_run


class ClickExitError(RuntimeError):
    """What click raises to leave a command: an exception with `exit_code`."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def test_a_run_is_started_named_and_finished(store: Store) -> None:
    with tracked_run("lock aptos", experiment="clinic", tracking_uri=store.uri, verb="protect") as tracker:
        assert store.only_run().info.status == "RUNNING"
    run = store.only_run()
    assert (run.info.run_id, run.info.run_name, run.info.status) == (tracker.run_id, "lock aptos", "FINISHED")
    assert store.client.get_experiment(run.info.experiment_id).name == "clinic"
    assert run.data.tags["medlocker.verb"] == "protect"
    assert run.data.tags["medlocker.version"]


def test_the_run_of_mlflow_run_is_joined(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = store.client.create_run(store.client.create_experiment("given"), run_name="quiet-fox-1")
    store.client.log_param(made.info.run_id, "seed", "1e0")
    monkeypatch.setenv("MLFLOW_RUN_ID", made.info.run_id)
    with tracked_run("mine", experiment="other", tracking_uri=None, verb="train") as tracker:
        tracker.settings({"seed": 1})
        with tracker.child_run("child"):
            pass
    runs = {run.info.run_name: run for run in store.runs()}
    assert runs.keys() == {"quiet-fox-1", "child"}
    assert runs["quiet-fox-1"].data.params == {"seed": "1e0", "cfg/seed": "1"}
    assert runs["quiet-fox-1"].data.tags["medlocker.verb"] == "train"
    assert runs["child"].info.experiment_id == made.info.experiment_id
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert store.client.get_experiment_by_name("other") is None


def test_inside_a_run_of_the_caller_a_nested_one_is_made(store: Store) -> None:
    with mlflow.start_run(experiment_id=store.client.create_experiment("notebook")) as outer:
        with tracked_run("inner", experiment=None, tracking_uri=None, verb="protect") as tracker:
            pass
        assert mlflow.active_run().info.run_id == outer.info.run_id
    inner = store.client.get_run(tracker.run_id)
    assert inner.data.tags["mlflow.parentRunId"] == outer.info.run_id
    assert inner.info.experiment_id == outer.info.experiment_id


@pytest.mark.parametrize(
    ("error", "status", "kind", "reason"),
    [
        (LogoError("x.png: no such file", fix="give a PNG"), "FAILED", "LogoError", "x.png: no such file. Give"),
        (ValueError("a bug"), "FAILED", "ValueError", "a bug"),
        (KeyError(), "FAILED", "KeyError", "KeyError"),
        (SystemExit(1), "FAILED", "SystemExit", "1"),
        (ClickExitError(1), "FAILED", "ClickExitError", "1"),
        (KeyboardInterrupt(), "KILLED", "KeyboardInterrupt", "Interrupted by the user."),
        (Terminated(), "KILLED", "Terminated", "SIGTERM"),
    ],
)
def test_a_run_that_ends_early_says_why(
    store: Store, error: BaseException, status: str, kind: str, reason: str
) -> None:
    with (
        pytest.raises(type(error)) as caught,
        tracked_run("run", experiment="e", tracking_uri=None, verb="protect") as tracker,
    ):
        tracker.describe("Half way.")
        raise error
    assert caught.value is error
    run = store.only_run()
    assert (run.info.status, run.data.tags["medlocker.error_type"]) == (status, kind)
    assert reason.lower() in run.data.tags["medlocker.error"].lower()
    description = run.data.tags["mlflow.note.content"]
    assert description.startswith("**Did not finish:**")
    assert description.endswith("Half way.")


@pytest.mark.parametrize("leave", [SystemExit(0), SystemExit(None), ClickExitError(0)])
def test_leaving_with_success_is_no_failure(store: Store, leave: BaseException) -> None:
    with pytest.raises(type(leave)), tracked_run("run", experiment="e", tracking_uri=None, verb="verify"):
        raise leave
    assert store.only_run().info.status == "FINISHED"
    assert "medlocker.error" not in store.only_run().data.tags


def test_sigterm_ends_the_run_as_killed(store: Store) -> None:
    def work() -> None:
        with tracked_run("run", experiment="e", tracking_uri=None, verb="protect"):
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(10)

    with pytest.raises(Terminated) as caught:
        work()
    assert caught.value.code == 143
    assert store.only_run().info.status == "KILLED"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_sigterm_while_the_run_is_being_started_leaves_no_running_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = mlflow.start_run

    def start_and_signal(**arguments: object) -> mlflow.ActiveRun:
        run = start(**arguments)
        os.kill(os.getpid(), signal.SIGTERM)
        return run

    monkeypatch.setattr(mlflow, "start_run", start_and_signal)
    with pytest.raises(Terminated), tracked_run("run", experiment="e", tracking_uri=None, verb="protect"):
        pytest.fail("the work must not begin")
    assert store.only_run().info.status == "KILLED"


def test_a_failed_child_that_is_caught_leaves_its_parent_alone(store: Store) -> None:
    with (
        tracked_run("parent", experiment="e", tracking_uri=None, verb="protect") as parent,
        pytest.raises(ValueError, match="impossible"),
        parent.child_run("bad"),
    ):
        raise ValueError("this setting is impossible")
    assert {run.info.run_name: run.info.status for run in store.runs()} == {"parent": "FINISHED", "bad": "FAILED"}


def test_trouble_with_the_store_does_not_hide_the_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("gone")

    with (
        pytest.raises(LogoError) as caught,
        tracked_run("run", experiment="e", tracking_uri=None, verb="protect") as tracker,
    ):
        monkeypatch.setattr(tracker._client, "log_batch", refuse)
        raise LogoError("bad logo")
    assert any("gone" in note for note in caught.value.__notes__)
    assert store.only_run().info.status == "FAILED"


UNUSABLE = {
    "nothing listens": "http://127.0.0.1:9",
    "missing folder": "sqlite:////nonexistent/folder/mlflow.db",
    "unknown scheme": "carrier-pigeon://coop",
    "file store": "file:/tmp/mlruns-of-a-test",
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_store_that_cannot_be_used_stops_the_work_before_it_starts(store: Store, case: str) -> None:
    begin = time.monotonic()
    with (
        pytest.raises(TrackingError) as caught,
        tracked_run("run", experiment="e", tracking_uri=UNUSABLE[case], verb="protect"),
    ):
        pytest.fail("the work must not begin")
    assert time.monotonic() - begin < 8
    assert caught.value.why
    assert caught.value.fix


def test_a_store_that_accepts_and_never_answers_is_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from medlocker_mlflow import store as store_module

    monkeypatch.setattr(store_module, "SQLITE_SECONDS", 0.01)
    monkeypatch.setattr(store_module, "MlflowClient", lambda: threading.Event().wait(1))
    with (
        pytest.raises(TrackingError, match="no answer within"),
        tracked_run("run", experiment="e", tracking_uri=None, verb="protect"),
    ):
        pytest.fail("the work must not begin")


def test_a_deleted_experiment_is_not_revived(store: Store) -> None:
    store.client.delete_experiment(store.client.create_experiment("old"))
    with (
        pytest.raises(TrackingError, match="experiment old is deleted"),
        tracked_run("run", experiment="old", tracking_uri=None, verb="protect"),
    ):
        pytest.fail("the work must not begin")


def test_a_password_in_the_tracking_uri_is_not_shown(store: Store) -> None:
    with (
        pytest.raises(TrackingError) as caught,
        tracked_run("run", experiment="e", tracking_uri="http://me:hunter22@127.0.0.1:9", verb="protect"),
    ):
        pytest.fail("the work must not begin")
    assert "hunter22" not in str(caught.value)


def test_system_metrics_are_on_unless_the_user_says_otherwise(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from medlocker_mlflow import runs

    asked: list[bool] = []
    start = mlflow.start_run

    def record(**arguments: object) -> mlflow.ActiveRun:
        asked.append(bool(arguments["log_system_metrics"]))
        return start(**{**arguments, "log_system_metrics": False})

    monkeypatch.setattr(runs.mlflow, "start_run", record)
    for choice in (None, "false"):
        if choice is None:
            monkeypatch.delenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING")
        else:
            monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", choice)
        with tracked_run("run", experiment="e", tracking_uri=None, verb="protect"):
            pass
    assert asked == [True, False]


SCRIPT = """
from medlocker_mlflow.runs import tracked_run
with tracked_run("run", experiment="e", tracking_uri=None, verb="protect") as tracker:
    tracker.tags({"fact": "x"})
    print('{"json": true}')
"""


@pytest.mark.slow
def test_nothing_but_our_own_output_reaches_the_terminal(tmp_path: Path) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/new.db"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == '{"json": true}\n'
    assert done.stderr == ""
