"""How fast a ledger takes events and is verified; prints one JSON object.

Usage: python benchmarks/ledger.py [--events N] [--appends N] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from medlocker.audit import Entry, Event, KeyIssued, Ledger, prove_inclusion, read_events, verify_ledger, who
from medlocker.audit.events import EVENT_TYPE, NO_PREVIOUS
from medlocker.audit.merkle import leaf_hash
from medlocker.sealing import canonical_json
from medlocker.signing import SigningIdentity, new_signing_identity, sign_model


def key_event(number: int) -> KeyIssued:
    """A key for one of 1000 recipients."""
    return KeyIssued(
        release_id="0" * 32,
        recipient=f"recipient {number % 1000}",
        key_version=number // 1000 + 1,
        recipient_key_sha256=f"{number % 1000:064x}",
        key_sha256=f"{number:064x}",
        images=100_000,
    )


def write_ledger(path: Path, owner: SigningIdentity, count: int) -> None:
    """As so many appends would write it, without waiting for the disk after each."""
    previous, start = NO_PREVIOUS, datetime(2026, 1, 1, tzinfo=UTC)
    with path.open("wb") as file:
        for number in range(count):
            event = Event(
                sequence=number,
                time=start + timedelta(seconds=number),
                actor="owner",
                previous=previous,
                details=key_event(number),
            )
            line = canonical_json(Entry(event=event, signature=sign_model(owner, EVENT_TYPE, event).hex()))
            previous = leaf_hash(line).hex()
            file.write(line + b"\n")


def timed_appends(ledger: Ledger, count: int) -> list[float]:
    """Seconds of each append."""
    seconds = []
    for number in range(count):
        start = time.perf_counter()
        ledger.append(key_event(number), actor="owner")
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Measure on one thread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--appends", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="where to write; its disk decides the append rate")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "ledger.jsonl"
        owner = new_signing_identity(Path(folder) / "signing.pem")
        write_ledger(path, owner, options.events)
        timings: dict[str, float] = {}

        def measure(name: str, action: object) -> object:
            start, cpu = time.perf_counter(), time.process_time()
            result = action()  # type: ignore[operator]
            timings[name] = round(time.perf_counter() - start, 3)
            timings[f"{name}_cpu"] = round(time.process_time() - cpu, 3)
            return result

        ledger = Ledger(path, owner)
        head = measure("first_append_without_head", lambda: ledger.append(key_event(0), actor="owner"))
        appends = timed_appends(ledger, options.appends)
        report = measure("verify", lambda: verify_ledger(path, owner.public, [head]))
        assert report.ok and report.size == options.events + options.appends + 1
        measure("prove_inclusion", lambda: prove_inclusion(path, options.events // 2, head))
        events = measure("read_without_signatures", lambda: read_events(path))
        measure("who", lambda: who(events, now=datetime.now(UTC)))
        result = {
            "events": report.size,
            "bytes": path.stat().st_size,
            "seconds": timings,
            "append_ms": {
                "n": len(appends),
                "median": round(statistics.median(appends) * 1e3, 2),
                "p90": round(sorted(appends)[int(len(appends) * 0.9)] * 1e3, 2),
            },
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
