"""A real `mlflow server` on this machine: SQLite or PostgreSQL behind it, artifacts in a folder or in an S3 bucket."""

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
from dataclasses import dataclass, field
from pathlib import Path

import pytest

START_SECONDS = 300.0
BASIC_AUTH = "basic-auth"


BUCKET = "artifacts"


@dataclass(frozen=True)
class Artifacts:
    """Where only the server puts artifacts.

    Attributes:
        destination: a folder or an `s3://` address.
        names: tells the names of all files there.
        environment: what the server needs to reach it.
    """

    destination: str
    names: Callable[[], set[str]]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """A running server: its address, and where it puts artifacts."""

    uri: str
    artifacts: Artifacts


def folder_artifacts(folder: Path) -> Artifacts:
    """Artifacts in a folder of the server's own."""
    folder.mkdir()
    return Artifacts(str(folder), lambda: {path.name for path in folder.rglob("*") if path.is_file()})


@contextmanager
def bucket_artifacts() -> Iterator[Artifacts]:
    """Artifacts in a bucket of an S3 server in this process (moto); skips where moto is not installed."""
    moto, boto3 = pytest.importorskip("moto.server"), pytest.importorskip("boto3")
    serving = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    serving.start()
    try:
        endpoint = f"http://127.0.0.1:{serving.get_host_and_port()[1]}"
        names = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        client = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        client.create_bucket(Bucket=BUCKET)

        def stored() -> set[str]:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
            return {one["Key"].rpartition("/")[2] for page in pages for one in page.get("Contents", ())}

        yield Artifacts(f"s3://{BUCKET}/below", stored, {**names, "MLFLOW_S3_ENDPOINT_URL": endpoint})
    finally:
        serving.stop()


@contextmanager
def mlflow_server(
    folder: Path,
    backend: str,
    artifacts: Artifacts | None = None,
    app: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start `mlflow server`, with an app of its own where one is named, and end it afterwards."""
    artifacts, port = artifacts or folder_artifacts(folder / "artifacts"), free_port()
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--backend-store-uri", backend]
    words += ["--serve-artifacts", "--artifacts-destination", artifacts.destination]
    words += ["--app-name", app] if app else []
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            | dict(artifacts.environment)
            | dict(environment or {}),
        )
        try:
            uri = f"http://127.0.0.1:{port}"
            asking = f"{uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
            until(process, lambda: answers(asking, refusal=app == BASIC_AUTH), folder / "server.log")
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
                yield f"postgresql+pg8000://mlflow@127.0.0.1:{port}/postgres"
            finally:
                end(process)


def postgres_binaries() -> Path:
    """The folder with `initdb` and `postgres`; skips the test where something is missing."""
    found = [Path(p).resolve().parent for p in [shutil.which("postgres")] if p]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    complete = [folder for folder in found if all((folder / tool).is_file() for tool in ("initdb", "pg_isready"))]
    if not complete:
        pytest.skip("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    if importlib.util.find_spec("pg8000") is None:
        pytest.skip("MLflow needs a PostgreSQL driver (pip install pg8000)")
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


def answers(address: str, *, refusal: bool = False) -> bool:
    """Whether a GET succeeds, or, where a refusal will do, is answered by one."""
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        return refusal and error.code == 401
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
