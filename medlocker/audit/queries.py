"""Ask a ledger: which events, and who holds which key version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from medlocker.audit.checking import Checker, read_lines
from medlocker.audit.events import (
    Event,
    EventKind,
    KeyIssued,
    KeyReissued,
    KeyRevoked,
    LedgerError,
    UtcTime,
    image_sha256,
)
from medlocker.signing import PublicKey

KeyState = Literal["active", "expired", "superseded", "revoked"]


class EventFilter(BaseModel):
    """Which events are wanted; what is None does not restrict.

    Attributes:
        release: release or edition id.
        recipient: name.
        image: id of an image as in the manifest; events that concern a whole release concern each of its images.
        version: of the key.
        kinds: of events.
        since: first moment, UTC.
        until: last moment, UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: str | None = None
    recipient: str | None = None
    image: str | None = None
    version: int | None = None
    kinds: tuple[EventKind, ...] = ()
    since: UtcTime | None = None
    until: UtcTime | None = None

    def accepts(self, event: Event) -> bool:
        """Whether an event is wanted."""
        details = event.details
        releases = (getattr(details, "release_id", None), getattr(details, "edition_id", None))
        return (
            (not self.kinds or details.kind in self.kinds)
            and (self.release is None or self.release in releases)
            and (self.recipient is None or self.recipient in _recipients(event))
            and (self.version is None or getattr(details, "key_version", None) == self.version)
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time <= self.until)
            and (self.image is None or covers(event, self.image))
        )


class Holding(BaseModel):
    """One key version and what became of it. Whatever its state, a key that was delivered still opens the images.

    Attributes:
        recipient: name.
        release_id: of the release.
        edition_id: of the edition, where it is for one.
        key_version: from 1.
        state: at the moment asked for.
        images: how many it unlocks.
        key_sha256: of the sealed file.
        issued_at: UTC.
        expires_at: UTC.
        ended_at: when it was revoked or replaced.
        reason: of that.
        sequence: of the event that issued it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipient: str
    release_id: str
    edition_id: str | None
    key_version: int
    state: KeyState
    images: int
    key_sha256: str
    issued_at: datetime
    expires_at: datetime | None
    ended_at: datetime | None = None
    reason: str | None = None
    sequence: int


def read_events(path: Path, keys: Sequence[PublicKey] = ()) -> list[Event]:
    """All events of a ledger, each line checked; a torn last line is left out.

    Args:
        path: the ledger.
        keys: the owner's public keys; empty leaves signatures unchecked.

    Raises:
        LedgerError: the ledger is missing, or a line is at fault.
    """
    checker = Checker(keys)
    events = []
    for line in read_lines(path):
        entry = checker.take(line[:-1]) if line.endswith(b"\n") else None
        if checker.faults:
            first = checker.faults[0]
            raise LedgerError(f"{path}: line {first.line}: {first.message}", fix="run medlocker audit verify")
        if entry is not None:
            events.append(entry.event)
    return events


def select(events: Iterable[Event], wanted: EventFilter) -> Iterator[Event]:
    """The events that a filter accepts, in order."""
    return (event for event in events if wanted.accepts(event))


def covers(event: Event, image_id: str) -> bool:
    """Whether an event concerns an image, given that the image is in the event's release."""
    release_id = getattr(event.details, "release_id", None)
    if release_id is None:
        return False
    scope: str | tuple[str, ...] = getattr(event.details, "scope", "all")
    return scope == "all" or image_sha256(release_id, image_id) in scope


def who(
    events: Iterable[Event], *, now: datetime, release: str | None = None, image: str | None = None
) -> list[Holding]:
    """Who holds which key version, now and ever.

    Args:
        events: all of the ledger, in order.
        now: the moment asked for, with a time zone; later events do not count.
        release: release or edition id; None for all.
        image: image id; None for all.

    Returns:
        One holding a key version, in the order of issue.
    """
    wanted = EventFilter(release=release, until=now)
    held: _Held = {}
    for event in select(events, wanted):
        details = event.details
        if isinstance(details, KeyIssued | KeyReissued) and (image is None or covers(event, image)):
            held.setdefault(_key(details, details.key_version), []).append(_held(event, details))
        if isinstance(details, KeyReissued):
            _end(held, details, details.replaces, "superseded", event.time)
        if isinstance(details, KeyRevoked):
            _end(held, details, details.key_version, "revoked", event.time)
    made = sorted((one for versions in held.values() for one in versions), key=lambda one: one.sequence)
    return [_expired(one, now) for one in made]


_Key = tuple[str, str | None, str, int]
_Held = dict[_Key, list[Holding]]


def _held(event: Event, details: KeyIssued | KeyReissued) -> Holding:
    return Holding(
        recipient=details.recipient,
        release_id=details.release_id,
        edition_id=details.edition_id,
        key_version=details.key_version,
        state="active",
        images=details.images,
        key_sha256=details.key_sha256,
        issued_at=event.time,
        expires_at=details.expires_at,
        sequence=event.sequence,
    )


def _end(held: _Held, details: KeyReissued | KeyRevoked, version: int, state: KeyState, when: datetime) -> None:
    key = _key(details, version)
    ending = {"state": state, "ended_at": when, "reason": details.reason}
    # A revoked key stays revoked, whatever is issued after it.
    held[key] = [one if one.state == "revoked" else one.model_copy(update=ending) for one in held.get(key, ())]


def _key(details: KeyIssued | KeyReissued | KeyRevoked, version: int) -> _Key:
    return details.release_id, details.edition_id, details.recipient, version


def _expired(holding: Holding, now: datetime) -> Holding:
    over = holding.expires_at is not None and holding.expires_at <= now
    return holding.model_copy(update={"state": "expired"}) if over and holding.state == "active" else holding


def _recipients(event: Event) -> tuple[str, ...]:
    accused = getattr(event.details, "accused", ())
    return (getattr(event.details, "recipient", ""), *(one.recipient for one in accused))
