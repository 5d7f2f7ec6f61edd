"""A small ledger with known times, and the means to forge one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from medlocker.audit import Entry, Event, KeyIssued, Ledger, RecipientAdded, ReleaseCreated, SignedTreeHead
from medlocker.audit.events import EVENT_TYPE, NO_PREVIOUS, Details
from medlocker.audit.heads import sidecar_path
from medlocker.audit.merkle import leaf_hash
from medlocker.sealing import canonical_json
from medlocker.signing import SigningIdentity, sign_model

START = datetime(2026, 1, 1, tzinfo=UTC)
RELEASE = "0" * 31 + "1"
NAMES = ("Ada", "Ben", "Cy", "Dee", "Eli")


def issued(name: str, version: int = 1, **more: object) -> KeyIssued:
    """A key for all three images."""
    return KeyIssued.model_validate(
        {
            "release_id": RELEASE,
            "recipient": name,
            "key_version": version,
            "recipient_key_sha256": "b" * 64,
            "key_sha256": f"{version:064x}",
            "images": 3,
            **more,
        }
    )


def six_events() -> list[Details]:
    """A release and five keys."""
    return [ReleaseCreated(release_id=RELEASE, manifest_sha256="a" * 64, images=3), *map(issued, NAMES)]


def minute(number: float) -> datetime:
    """Minutes after the start."""
    return START + timedelta(minutes=number)


def fill(ledger: Ledger, events: Iterable[Details], times: Sequence[datetime] | None = None) -> list[SignedTreeHead]:
    """Append one event a minute; the head after each."""
    events = list(events)
    times = times or [minute(number) for number in range(len(events))]
    return [ledger.append(one, actor="owner", now=time) for one, time in zip(events, times, strict=True)]


def lines_of(path: Path) -> list[bytes]:
    """Lines without line breaks."""
    return path.read_bytes().splitlines()


def rewrite(path: Path, lines: Iterable[bytes], *, keep_head: bool = False) -> None:
    """Put other lines in place, as someone would who controls the disk."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    if not keep_head:
        sidecar_path(path).unlink(missing_ok=True)


def forge(
    identity: SigningIdentity, details: Sequence[Details], *, start: int = 0, previous: str = NO_PREVIOUS
) -> list[bytes]:
    """Lines that are chained and signed as they should be, with whatever content."""
    lines = []
    for number, one in enumerate(details, start):
        event = Event(sequence=number, time=minute(number), actor="owner", previous=previous, details=one)
        line = canonical_json(Entry(event=event, signature=sign_model(identity, EVENT_TYPE, event).hex()))
        previous = leaf_hash(line).hex()
        lines.append(line)
    return lines


def recipient(name: str) -> RecipientAdded:
    """A registration."""
    return RecipientAdded(recipient=name, recipient_key_sha256="b" * 64)
