"""Two ledgers as they look after a year: releases, editions, every state of a key, traces; one of them at fault."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from medlocker.audit import (
    Accusation,
    EditionMade,
    KeyIssued,
    KeyReissued,
    KeyRevoked,
    KeyUsed,
    Ledger,
    RecipientAdded,
    ReleaseCreated,
    TraceReported,
    text_sha256,
)
from medlocker.signing_identity import SigningIdentity

START = datetime(2026, 1, 12, 8, 30, tzinfo=UTC)
RUNS = {"retina-2025": "3f0c8a5e7b1d4c6f9a2e5d8b7c4f1a60", "retina-2026": "9b2d4f6a8c0e1f3a5b7d9c2e4f6a8b0d"}
PEOPLE = {
    "Dr Ada Lovelace": ("St. Mary Eye Hospital", "Second reading of referable eyes"),
    "Prof. Björn Ångström-Villanueva": ("Uppsala, Department of Ophthalmology", "Inter-reader agreement, study 41"),
    "Screening programme North": ("Regional Health Board", "Yearly quality control"),
    "Grace H. (pseudonym R-17)": ("", ""),
    "Vision Analytics Ltd.": ("Vision Analytics Ltd.", "Device trial under contract 2026-118"),
}


def digest(text: str) -> str:
    return text_sha256(text)


def release_id(name: str) -> str:
    return digest(name)[:32]


def key(name: str, release: str, version: int = 1, *, edition: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "release_id": release_id(release),
        "edition_id": release_id(edition) if edition else None,
        "recipient": name,
        "key_version": version,
        "recipient_key_sha256": digest(f"public {name}"),
        "key_sha256": digest(f"key {name} {release} {version} {edition}"),
        "images": 412,
        **more,
    }


def year(names: tuple[str, ...], now: datetime) -> Iterator[tuple[Any, str | None]]:
    """Events with the MLflow run of each, oldest first."""
    ada, reader, north, grace, vision = names
    first, second = RUNS.values()
    yield ReleaseCreated(release_id=release_id("2025"), manifest_sha256=digest("m1"), images=412), first
    for name in (ada, reader, north):
        organisation, purpose = PEOPLE[name]
        yield (
            RecipientAdded(
                recipient=name,
                recipient_key_sha256=digest(f"public {name}"),
                organisation=organisation,
                purpose=purpose,
            ),
            None,
        )
    yield KeyIssued(**key(ada, "2025", expires_at=now + timedelta(days=200))), None
    yield KeyIssued(**key(reader, "2025", expires_at=now - timedelta(days=20))), None
    scope = tuple(sorted(digest(f"image {n}") for n in range(3)))
    yield KeyIssued(**key(north, "2025", scope=scope) | {"images": 3}), None
    yield KeyUsed(**used(ada, "2025"), images=412, restored=412), None
    yield (
        KeyReissued(
            **key(ada, "2025", 2, expires_at=now + timedelta(days=330)),
            replaces=1,
            reason="New work station, new key",
        ),
        None,
    )
    yield ReleaseCreated(release_id=release_id("2026"), manifest_sha256=digest("m2"), images=1830), second
    for name in (ada, vision, grace):
        if PEOPLE[name][0] and name != ada:
            organisation, purpose = PEOPLE[name]
            yield (
                RecipientAdded(
                    recipient=name,
                    recipient_key_sha256=digest(f"public {name}"),
                    organisation=organisation,
                    purpose=purpose,
                ),
                None,
            )
        edition = f"edition {name}"
        yield (
            EditionMade(
                release_id=release_id("2026"),
                edition_id=release_id(edition),
                recipient=name,
                manifest_sha256=digest(edition),
                images=1830,
            ),
            second,
        )
        yield KeyIssued(**key(name, "2026", edition=edition) | {"images": 1830}), None
    yield (
        TraceReported(
            release_id=release_id("2026"),
            evidence_sha256=digest("leak 1"),
            images=37,
            accused=(
                Accusation(recipient=vision, edition_id=release_id(f"edition {vision}"), false_accusation=3.1e-7),
            ),
        ),
        None,
    )
    yield (
        KeyRevoked(
            release_id=release_id("2026"),
            edition_id=release_id(f"edition {vision}"),
            recipient=vision,
            key_version=1,
            reason="Copy found on a public file share; contract ended",
        ),
        None,
    )
    yield TraceReported(release_id=release_id("2026"), evidence_sha256=digest("leak 2"), images=2), None


def used(name: str, release: str) -> dict[str, Any]:
    made = key(name, release)
    return {field: made[field] for field in ("release_id", "recipient", "key_version", "key_sha256")}


def write_ledgers(folder: Path, owner: SigningIdentity, now: datetime | None = None) -> Path:
    """`retina.owner`, whole, and `oct-pilot.owner`, in which somebody changed a reason."""
    now = now or datetime.now(UTC)
    for name in ("retina", "oct-pilot"):
        path = folder / f"{name}.owner" / "ledger.jsonl"
        path.parent.mkdir(parents=True)
        ledger = Ledger(path, owner)
        for number, (event, run) in enumerate(year(tuple(PEOPLE), now)):
            moment = min(START + timedelta(days=13 * number, hours=number % 7), now)
            ledger.append(event, actor="Dr Owner", run_id=run, now=moment)
    path = folder / "oct-pilot.owner" / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b"contract ended", b"contract kept_"))
    return folder
