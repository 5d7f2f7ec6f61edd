"""What a key for many images costs to issue and to open, and a long ledger to verify; prints one JSON object.

Parameters are synthetic: no image is made or read. A key is issued as `medlocker key issue` does it: document,
signature, seal, file, event, receipt; and opened as `medlocker unlock` does it: seal, signature, schema. Each repeat is
a process of its own, so that the peak memory is that of the one task.

Usage: python benchmarks/keys.py [--images N] [--events N] [--repeats N] [--folder DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from ledger import write_ledger

from medlocker.audit import verify_ledger
from medlocker.blending import load_logo
from medlocker.keys import VaultDocument, VaultImage, encode_logo, load_identity, new_identity, read_key
from medlocker.keys.copies import MarkedCopy
from medlocker.keys.lifecycle import issue
from medlocker.keys.owner import load_owner, new_owner
from medlocker.keys.recipients import Recipient
from medlocker.keys.recording import OwnerLedger
from medlocker.release import ReleaseImage, ReleaseManifest

RELEASE, NOW = "ab" * 16, datetime(2026, 1, 1, tzinfo=UTC)


def vault_image(number: int, rng: np.random.Generator) -> VaultImage:
    """One image's parameters, as a search might have left them."""
    return VaultImage(
        id=f"ward/{number:06d}",
        file=f"ward/{number:06d}.png",
        shape=(1024, 1024, 3),
        dtype="uint8",
        logo_scale=4.0,
        alpha=int(rng.integers(100, 256)),
        x=int(rng.integers(768)),
        y=int(rng.integers(768)),
        original_sha256=hashlib.sha256(b"original %d" % number).hexdigest(),
        marked_sha256=hashlib.sha256(b"marked %d" % number).hexdigest(),
    )


def synthetic_copy(folder: Path, count: int) -> MarkedCopy:
    """A release of so many images, without any image."""
    rng, logo = np.random.default_rng(0), load_logo()
    images = tuple(vault_image(number, rng) for number in range(count))
    vault = VaultDocument(
        release_id=RELEASE,
        created_at=NOW,
        secret=rng.bytes(32),
        logo=encode_logo(logo),
        logo_sha256=logo.sha256,
        rule="alpha_channel",
        images=images,
    )
    public = tuple(
        ReleaseImage(
            id=one.id,
            file=one.file,
            marked_sha256=one.marked_sha256,
            packet="embedded",
            packet_bytes=1,
            file_bytes=1,
            outcome="fooled",
            clean_confidence=0.9,
            final_confidence=0.1,
            queries=1,
        )
        for one in images
    )
    manifest = ReleaseManifest(
        release_id=RELEASE, created_at=NOW, medlocker_version="0", dataset="synthetic", dataset_digest="0",
        placement="anywhere", search="random", logo_scale=4.0, alpha_range=(100, 255), sources=(), images=public,
    )  # fmt: skip
    return MarkedCopy(folder, folder, manifest, vault, None)


def task_issue(folder: Path, count: int) -> dict[str, float]:
    """Issue one key; reading the vault is not counted."""
    copy, owner = synthetic_copy(folder, count), load_owner(folder / "owner.txt")
    ledger = OwnerLedger(folder / f"ledger-{os.getpid()}.jsonl", owner, actor="benchmark")
    recipient = Recipient(name="Ada", key=load_identity(folder / "ada.txt").public_key, added_at=NOW)
    before, start, cpu = peak_mib(), time.perf_counter(), time.process_time()
    issued = issue(copy, ledger, recipient, folder / f"{os.getpid()}.key")
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    size = issued.path.stat().st_size
    issued.path.replace(folder / "ada.key")
    return {"seconds": seconds, "cpu_seconds": cpu, "bytes": size, "peak_mib": peak_mib(), "of_which_before": before}


def task_open(folder: Path, _count: int) -> dict[str, float]:
    """Open the key that was issued last."""
    identity, owner = load_identity(folder / "ada.txt"), load_owner(folder / "owner.txt")
    before, start, cpu = peak_mib(), time.perf_counter(), time.process_time()
    document = read_key(folder / "ada.key", identity, owner.public_keys)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    assert document.images
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak_mib(), "of_which_before": before}


def task_verify(folder: Path, count: int) -> dict[str, float]:
    """Verify the long ledger: every line, signature and link, and the tree."""
    owner = load_owner(folder / "owner.txt")
    before, start, cpu = peak_mib(), time.perf_counter(), time.process_time()
    report = verify_ledger(folder / "long.jsonl", owner.public_keys)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    assert report.ok and report.size == count
    size = (folder / "long.jsonl").stat().st_size
    return {"seconds": seconds, "cpu_seconds": cpu, "bytes": size, "peak_mib": peak_mib(), "of_which_before": before}


TASKS = {"issue": task_issue, "open": task_open, "verify": task_verify}


def peak_mib() -> float:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def repeated(task: str, folder: Path, count: int, repeats: int) -> dict[str, object]:
    """Median and range over processes that do one task each."""
    words = [sys.executable, __file__, "--task", task, "--folder", str(folder), "--count", str(count)]
    runs = [
        json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout) for _ in range(repeats)
    ]
    return {name: spread([run[name] for run in runs]) for name in runs[0]}


def spread(values: list[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": round(statistics.median(values), 2), "min": round(min(values), 2), "max": round(max(values), 2)}


def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Everything, in one folder."""
    owner = new_owner(folder / "owner.txt")
    new_identity(folder / "ada.txt")
    write_ledger(folder / "long.jsonl", owner.signing, options.events)
    return {
        "images": options.images,
        "events": options.events,
        "repeats": options.repeats,
        "issue": repeated("issue", folder, options.images, options.repeats),
        "open": repeated("open", folder, options.images, options.repeats),
        "verify": repeated("verify", folder, options.events, options.repeats),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "load_1min": os.getloadavg()[0],
    }


def main() -> None:
    """Measure, or do one task for the process that measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(TASKS[options.task](options.folder, options.count)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(json.dumps(measure(Path(folder), options), indent=2))


if __name__ == "__main__":
    main()
