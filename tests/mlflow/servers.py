"""A real `mlflow server` on this machine, with a SQLite or a PostgreSQL backend store and proxied artifacts."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

START_SECONDS = 300.0


@dataclass(frozen=True)
class Server:
    """A running server: its address, and the folder only it writes artifacts to."""

    uri: str
    artifacts: Path


@contextmanager
def mlflow_server(
    folder: Path, backend: str, app: str | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Start `mlflow server`, with an app of its own where one is named, and end it afterwards."""
    artifacts, port = folder / "artifacts", free_port()
    artifacts.mkdir()
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--backend-store-uri", backend]
    words += ["--app-name", app] if app else []
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words, "--artifacts-destination", str(artifacts)],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            | dict(environment or {}),
        )
        try:
            uri = f"http://127.0.0.1:{port}"
            asking = f"{uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
            until(process, lambda: answers(asking), folder / "server.log")
            yield Server(uri, artifacts)
        finally:
            end(process)


@contextmanager
def postgres() -> Iterator[str]:
    """Start a PostgreSQL server of its own in a temporary folder; skips where there is none."""
    binaries = postgres_binaries()
    user = "postgres" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root.
    with tempfile.TemporaryDirectory(prefix="medlocker-pg-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data = folder / "data"
        making = [str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", "mlflow", "-E", "UTF8", "--no-sync"]
        subprocess.run(making, check=True, user=user, cwd=folder, capture_output=True)
        words = ["-D", str(data), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-F"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [str(binaries / "postgres"), *words], user=user, cwd=folder, stdout=log, stderr=subprocess.STDOUT
            )
            ready = [str(binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
            try:
                until(process, lambda: subprocess.run(ready, check=False).returncode == 0, folder / "log")
                yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
            finally:
                end(process)


def postgres_binaries() -> Path:
    """The folder with `initdb` and `postgres`; skips the test where something is missing."""
    found = [Path(p).resolve().parent for p in [shutil.which("postgres")] if p]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    complete = [folder for folder in found if all((folder / tool).is_file() for tool in ("initdb", "pg_isready"))]
    if not complete:
        pytest.skip("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    if importlib.util.find_spec("psycopg2") is None:
        pytest.skip("MLflow needs a PostgreSQL driver (pip install psycopg2-binary)")
    if os.getuid() == 0 and not any(entry.pw_name == "postgres" for entry in pwd.getpwall()):
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    return complete[0]


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    """Wait until a server answers; fails with its log when it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        try:
            process.wait(0.25)
        except subprocess.TimeoutExpired:
            if time.monotonic() < deadline:
                continue
        pytest.fail(f"{process.args} did not start:\n{log.read_text()[-4000:]}")


def answers(address: str) -> bool:
    """Whether a GET succeeds."""
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process of ours to end, and make sure that it does."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
