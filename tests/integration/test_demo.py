"""The README's first command as a user runs it, and a real kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def environment(tmp_path, empty_database):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MEDLOCKER_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return kept | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "PATH": path}


def runs(folder: Path):
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return client.search_runs([e.experiment_id for e in client.search_experiments()])


def test_mlflow_run_locks_the_demo_and_a_second_command_unlocks_it(tmp_path, environment):
    command = ["mlflow", "run", str(ROOT), "-e", "protect", "--env-manager=local", "-P", f"out={tmp_path}/demo"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    (run,) = runs(tmp_path)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["unlock/restored"] == run.data.metrics["unlock/tried"] == 20
    assert run.data.metrics["asr/source/demo_resnet"] > run.data.metrics["asr/baseline/random_single/demo_resnet"]
    assert {"asr/transfer/demo_efficientnet", "asr/transfer/demo_darknet"} <= set(run.data.metrics)
    assert (tmp_path / "demo.owner" / "report.html").stat().st_size > 50_000
    command = ["mlflow", "run", str(ROOT), "-e", "unlock", "--env-manager=local"]
    command += ["-P", f"release={tmp_path}/demo", "-P", f"out={tmp_path}/originals"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    unlock = next(r for r in runs(tmp_path) if r.data.tags.get("medlocker.verb") == "unlock")
    assert (unlock.info.status, unlock.data.metrics["unlock/restored"]) == ("FINISHED", 20)


def test_mlflow_run_with_bad_input_ends_failed(tmp_path, environment):
    command = ["mlflow", "run", str(ROOT), "-e", "protect", "--env-manager=local", "-P", f"data={tmp_path}/none"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    (run,) = runs(tmp_path)
    assert run.info.status == "FAILED"


def test_sigkill_at_any_moment_loses_nothing(tmp_path, environment):
    def protect(out: str) -> list[str]:
        words = "protect --data demo --per-class 2 --profile fast --baselines random_single --targets demo_darknet"
        return [sys.executable, "-m", "medlocker", *words.split(), "--json", "--out", str(tmp_path / out)]

    options = {"cwd": tmp_path, "env": environment, "text": True}
    begun, kills = tmp_path / "demo.owner/job.json", 0
    for pause in (0.5, 3.0, 3.0):
        with subprocess.Popen(protect("demo"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options) as job:
            while not begun.exists() and job.poll() is None:
                time.sleep(0.1)
            time.sleep(pause if not kills else pause + 8.0)
            kills += job.poll() is None
            job.send_signal(signal.SIGKILL)
        if not (tmp_path / "whole").exists():
            # From the job document on, a copy shares the release's secret and must end the same.
            for name in ("demo", "demo.owner", "demo.data"):
                shutil.copytree(tmp_path / name, tmp_path / name.replace("demo", "whole"))
            for finished in [*(tmp_path / "whole").rglob("*.png"), *(tmp_path / "whole.owner/records").iterdir()]:
                finished.unlink()
    assert kills
    ends = {}
    for out in ("demo", "whole"):
        done = subprocess.run(protect(out), capture_output=True, check=False, **options)
        assert done.returncode == 0, done.stderr[-4000:]
        assert json.loads(done.stdout)["unlock"] == {"restored": 10, "tried": 10}
        folder = tmp_path / out
        ends[out] = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert ends["demo"] == ends["whole"]
