"""Kill protect jobs at random moments and see whether each ends byte-identical; prints one JSON object.

Every trial goes on from the same begun release, so that all share its secret. It runs the whole job of `medlocker
protect` (all but its MLflow run) in a process of its own, on synthetic images with a demo network, and one thing is
killed with SIGKILL at a moment drawn from the seed, anywhere between the start and the end of the job:

- `driver`: the process itself, which works alone, with worker processes or with Ray actors; the same job is then begun
  again.
- `worker`: a worker process or a Ray actor; the job must go on by itself.
- `node`: a whole node of a Ray cluster of three (`ray.cluster_utils.Cluster`); the job must go on by itself.

The release folder must then hold the same bytes as that of a job nobody killed. Needs the extra `ray`.

Usage: python benchmarks/kills.py [--trials N] [--images N] [--seed N] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from medlocker.cli.executor_options import chosen_executor
from medlocker.cli.loading import ZooLoader
from medlocker.cli.progress import TerminalProgress
from medlocker.datasets import DatasetSpec
from medlocker.datasets.synthetic import write_synthetic_dataset
from medlocker.jobs.protecting import ProtectRequest, run_protect
from medlocker.keys import new_identity
from medlocker.keys.owner import add_signing, load_owner
from medlocker.keys.recording import OwnerLedger
from medlocker.protecting import ProtectSettings
from medlocker.search import SearchSettings
from medlocker.tracking import NullTracker

KINDS = ("driver", "worker", "node")
MODES = {
    "driver": ("local", "processes", "ray"),
    "worker": ("processes", "ray"),
    "node": ("ray",),
}
SECONDS_A_JOB = 300
OBJECT_STORE = 80_000_000


class KeptCluster:
    """A Ray cluster of a head and two nodes, kept by a process of its own: one that has used gRPC must not fork."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._keeper = context.Process(target=keep_cluster, args=(theirs,), daemon=True)
        self._keeper.start()
        self.address, self.raylets = self._pipe.recv()

    def lose_node(self, number: int) -> None:
        """Kill a node that works, and add another."""
        self._pipe.send(number)
        self.address, self.raylets = self._pipe.recv()

    def shutdown(self) -> None:
        """End it."""
        self._pipe.close()
        self._keeper.join()


def keep_cluster(pipe: Connection) -> None:
    """Make a cluster, tell its address and the process ids of its raylets, and do as told."""
    from ray.cluster_utils import Cluster

    from medlocker.executors.ray import OWN_RAY

    os.environ.update(OWN_RAY)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": OBJECT_STORE})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE)
        while True:
            raylets = [r.process.pid for node in cluster.list_all_nodes() for r in node.all_processes["raylet"]]
            pipe.send((cluster.address, raylets))
            number = pipe.recv()
            nodes = sorted(cluster.worker_nodes, key=lambda node: node.unique_id)
            cluster.remove_node(nodes[number % len(nodes)], allow_graceful=False)
            cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE)
    except EOFError:
        return
    finally:
        cluster.shutdown()


@dataclass
class Lab:
    """Everything that trials share: a begun release, a data set, a cluster."""

    root: Path
    cluster: KeptCluster
    images: int

    def protect(self, mode: str, folder: Path) -> None:
        """The job; in a process of its own."""
        with (folder / "log.txt").open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        options = {
            "executor": "ray" if mode == "ray" else "local",
            "workers": 1 if mode == "local" else 2,
            "threads": 1,
        }
        options["ray_address"] = self.cluster.address if mode == "ray" else None
        owner = load_owner(self.root / "owner.txt")
        request = ProtectRequest(
            DatasetSpec(root=self.root / "data", limit=self.images),
            folder / "out",
            folder / "out.owner",
            sources=("demo_resnet",),
            settings=ProtectSettings(search=SearchSettings(population=8, generations=1)),
            baselines=("random_single",),
        )
        progress = TerminalProgress()
        ledger = OwnerLedger(folder / "ledger.jsonl", owner)
        with chosen_executor(options, progress.say, local="processes") as executor:
            run_protect(request, ZooLoader("cpu"), owner.identity, NullTracker(), progress, ledger, executor)

    @contextmanager
    def job(self, mode: str, folder: Path) -> Iterator[ForkProcess]:
        """A running job; it is not left running."""
        job = multiprocessing.get_context("fork").Process(target=self.protect, args=(mode, folder))
        job.start()
        try:
            yield job
        finally:
            if job.is_alive():
                job.kill()
                job.join()

    def finish(self, mode: str, folder: Path) -> float:
        """Run a command to its end; its seconds.

        Raises:
            RuntimeError: it failed.
        """
        started = time.monotonic()
        with self.job(mode, folder) as job:
            wait_for_success(job, folder)
        return time.monotonic() - started

    def begun(self, folder: Path) -> Path:
        """A copy of the begun release."""
        for name in ("out", "out.owner"):
            shutil.copytree(self.root / "begun" / name, folder / name)
        return folder

    def workers(self, mode: str, job: ForkProcess) -> list[psutil.Process]:
        """Worker processes that run now."""
        try:
            if mode == "processes":
                return [p for p in psutil.Process(job.pid).children() if "spawn_main" in " ".join(p.cmdline())]
            children = [p for raylet in self.cluster.raylets for p in psutil.Process(raylet).children()]
            return [p for p in children if "".join(p.cmdline()[:1]).startswith("ray::_Actor")]
        except psutil.NoSuchProcess:
            return []


def wait_for_success(job: ForkProcess, folder: Path) -> None:
    """Wait for a job.

    Raises:
        RuntimeError: it failed, or took longer than any should.
    """
    job.join(SECONDS_A_JOB)
    if job.exitcode != 0:
        tail = (folder / "log.txt").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the job ended with {job.exitcode}:\n{tail}")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a release."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def trial(lab: Lab, kind: str, mode: str, moment: float, rng: np.random.Generator, folder: Path) -> dict[str, Any]:
    """One job, one kill, one end.

    Returns:
        What happened; `delivered` is False where the job was over before the kill.
    """
    started = time.monotonic()
    with lab.job(mode, lab.begun(folder)) as job:
        job.join(moment)
        killed = job.is_alive() and kill(lab, kind, mode, job, rng)
        if kind == "driver":
            job.join()
        finished = len(list((folder / "out.owner" / "records").glob("*.mlrec")))
        if kind != "driver":
            wait_for_success(job, folder)
    elapsed = time.monotonic() - started
    if kind == "driver":
        lab.finish(mode, folder)
    return {
        "kind": kind,
        "mode": mode,
        "moment": round(moment, 2),
        "seconds": round(elapsed, 2),
        "delivered": killed,
        "images_done": finished,
    }


def kill(lab: Lab, kind: str, mode: str, job: ForkProcess, rng: np.random.Generator) -> bool:
    """Kill what is to be killed, as soon as it is there; False where the job ends before."""
    if kind == "driver":
        job.kill()
        return True
    if kind == "node":
        lab.cluster.lose_node(int(rng.integers(2)))
        return job.is_alive()
    while job.is_alive():
        if workers := lab.workers(mode, job):
            workers[int(rng.integers(len(workers)))].kill()
            return True
        time.sleep(0.05)
    return False


def prepare(root: Path, cluster: KeptCluster, images: int) -> Lab:
    """Data, an owner, and a release that was begun and holds nothing yet."""
    lab = Lab(root, cluster, images)
    write_synthetic_dataset(root / "data", per_grade=-(-images // 5), seed=1, split="test")
    new_identity(root / "owner.txt")
    add_signing(root / "owner.txt", None)
    (root / "begun").mkdir()
    lab.finish("local", root / "begun")
    for finished in [*(root / "begun/out").rglob("*"), *(root / "begun/out.owner").rglob("*")]:
        if finished.is_file() and finished.name not in ("job.json", "secret.age"):
            finished.unlink()
    return lab


def run(options: argparse.Namespace, root: Path) -> dict[str, Any]:
    """All trials."""
    cluster = KeptCluster()
    rng = np.random.default_rng(options.seed)
    try:
        lab = prepare(root, cluster, options.images)
        seconds, wholes = {}, {}
        for mode in ("local", "processes", "ray"):
            (root / f"whole-{mode}").mkdir()
            seconds[mode] = lab.finish(mode, lab.begun(root / f"whole-{mode}"))
            wholes[mode] = contents(root / f"whole-{mode}" / "out")
        rows: list[dict[str, Any]] = []
        tries = 0
        while sum(row["delivered"] for row in rows) < options.trials:
            kind = KINDS[sum(row["delivered"] for row in rows) % len(KINDS)]
            mode = MODES[kind][int(rng.integers(len(MODES[kind])))]
            folder = root / f"trial-{tries}"
            folder.mkdir()
            row = trial(lab, kind, mode, float(rng.uniform(0, seconds[mode])), rng, folder)
            row["identical"] = contents(folder / "out") == wholes["local"]
            rows.append(row)
            if not row["delivered"]:  # The machine is less busy than it was: draw from a shorter time.
                seconds[mode] = min(seconds[mode], row["seconds"])
            print(json.dumps(row), file=sys.stderr, flush=True)
            if row["identical"]:
                shutil.rmtree(folder)
            tries += 1
    finally:
        cluster.shutdown()
    return outcome(options, rows, wholes, seconds)


def outcome(
    options: argparse.Namespace, rows: list[dict[str, Any]], wholes: dict[str, Any], seconds: dict[str, float]
) -> dict[str, Any]:
    """What is printed."""
    delivered = [row for row in rows if row["delivered"]]
    return {
        "kills": len(delivered),
        "resumed_identical": sum(row["identical"] for row in delivered),
        "by_kind": dict(Counter(f"{row['kind']}/{row['mode']}" for row in delivered)),
        "images_done_at_kill": dict(sorted(Counter(row["images_done"] for row in delivered).items())),
        "too_late": len(rows) - len(delivered),
        "unkilled_identical": all(whole == wholes["local"] for whole in wholes.values()),
        "images": options.images,
        "seed": options.seed,
        "seconds_unkilled": {mode: round(value, 1) for mode, value in seconds.items()},
        "environment": {"ray": version("ray"), "python": platform.python_version(), "cores": os.cpu_count()},
    }


def main() -> None:
    """Run and print; exits with 1 where any release differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="Work in this folder and leave it.")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True)
        found = run(options, options.keep)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = run(options, Path(folder))
    print(json.dumps(found, indent=2))
    sys.exit(found["kills"] != found["resumed_identical"])


if __name__ == "__main__":
    main()
