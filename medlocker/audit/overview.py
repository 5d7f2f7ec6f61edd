"""A whole ledger at a glance: releases, key versions, recipients and traces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from medlocker.audit.checking import Checker, read_lines
from medlocker.audit.events import EditionMade, Event, RecipientAdded, ReleaseCreated, TraceReported
from medlocker.audit.queries import Holding, who


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReleasedCopy(_Row):
    """A release, or an edition of one.

    Attributes:
        release_id: of this copy.
        edition_of: release an edition was made from; None for a release.
        recipient: whose edition it is; None for a release.
        images: how many.
        made_at: UTC.
        run_id: MLflow run that made it, where there is one.
        holdings: the key versions for it, in the order of issue.
    """

    release_id: str
    edition_of: str | None
    recipient: str | None
    images: int
    made_at: datetime
    run_id: str | None
    holdings: tuple[Holding, ...]

    @property
    def active_keys(self) -> int:
        """How many key versions are active."""
        return sum(one.state == "active" for one in self.holdings)


class RecipientRecord(_Row):
    """Someone keys were or may be issued to.

    Attributes:
        name: as the owner calls them.
        organisation: theirs, where it was recorded.
        purpose: what for, where it was recorded.
        registered_at: UTC; None for one who was issued a key without being registered.
        holdings: their key versions, in the order of issue.
        accused_by: sequence numbers of the traces that name them.
    """

    name: str
    organisation: str | None
    purpose: str | None
    registered_at: datetime | None
    holdings: tuple[Holding, ...]
    accused_by: tuple[int, ...]

    @property
    def active_keys(self) -> int:
        """How many key versions are active."""
        return sum(one.state == "active" for one in self.holdings)


class Overview(_Row):
    """What a ledger says.

    Attributes:
        copies: releases and editions, in the order of their making.
        recipients: by name.
        holdings: all key versions, in the order of issue.
        traces: events of leaked copies that were examined, in order.
        events: every event that could be read, in order.
    """

    copies: tuple[ReleasedCopy, ...]
    recipients: tuple[RecipientRecord, ...]
    holdings: tuple[Holding, ...]
    traces: tuple[Event, ...]
    events: tuple[Event, ...]


def ledger_overview(path: Path, *, now: datetime) -> Overview:
    """Read a ledger, faulty lines left out and signatures unchecked.

    Unlike `read_events` this does not stop at a fault: whoever looks must see what is written. Whether it is to be
    trusted is for `verify_ledger` to say.

    Args:
        path: the ledger.
        now: the moment for which the states of keys are told, with a time zone.

    Raises:
        LedgerError: the ledger is missing or cannot be read.
    """
    return overview_of(_readable_events(path), now=now)


def overview_of(read: Iterable[Event], *, now: datetime) -> Overview:
    """What events say, as `ledger_overview`.

    Args:
        read: all events of a ledger, in order.
        now: as there.
    """
    events = tuple(read)
    holdings = tuple(who(events, now=now))
    return Overview(
        copies=tuple(_copies(events, holdings)),
        recipients=tuple(_recipients(events, holdings)),
        holdings=holdings,
        traces=tuple(event for event in events if isinstance(event.details, TraceReported)),
        events=events,
    )


def _readable_events(path: Path) -> Iterable[Event]:
    checker = Checker(())
    for line in read_lines(path):
        entry = checker.take(line[:-1]) if line.endswith(b"\n") else None
        if entry is not None:
            yield entry.event


def _copies(events: Iterable[Event], holdings: Sequence[Holding]) -> Iterable[ReleasedCopy]:
    for event in events:
        details = event.details
        if not isinstance(details, ReleaseCreated | EditionMade):
            continue
        edition = details if isinstance(details, EditionMade) else None
        copy_id = edition.edition_id if edition else details.release_id
        yield ReleasedCopy(
            release_id=copy_id,
            edition_of=edition.release_id if edition else None,
            recipient=edition.recipient if edition else None,
            images=details.images,
            made_at=event.time,
            run_id=event.run_id,
            holdings=tuple(one for one in holdings if (one.edition_id or one.release_id) == copy_id),
        )


def _recipients(events: Sequence[Event], holdings: Sequence[Holding]) -> Iterable[RecipientRecord]:
    # A recipient may be registered anew, with another key or purpose; the latest counts.
    registered = {
        event.details.recipient: (event.time, event.details)
        for event in events
        if isinstance(event.details, RecipientAdded)
    }
    accused: dict[str, list[int]] = {}
    for event in events:
        for one in event.details.accused if isinstance(event.details, TraceReported) else ():
            accused.setdefault(one.recipient, []).append(event.sequence)
    for name in sorted({*registered, *accused, *(one.recipient for one in holdings)}):
        when, details = registered.get(name, (None, None))
        yield RecipientRecord(
            name=name,
            organisation=details.organisation if details else None,
            purpose=details.purpose if details else None,
            registered_at=when,
            holdings=tuple(one for one in holdings if one.recipient == name),
            accused_by=tuple(accused.get(name, ())),
        )
