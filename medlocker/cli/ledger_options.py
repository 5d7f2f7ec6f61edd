"""What the verbs of `medlocker audit` share: which ledger, which events, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

import click

from medlocker.audit import Event, Holding, LedgerReport
from medlocker.audit.events import EventKind
from medlocker.cli.base import PATH, CommaList, option
from medlocker.signing import PublicKey, read_public_key

F = TypeVar("F", bound=Callable[..., Any])


class Moment(click.ParamType[datetime]):
    """A date or time by ISO 8601; UTC where it names no zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parse."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time such as 2026-01-31 or 2026-01-31T12:00:00+01:00.", param, ctx)


class OwnerKey(click.ParamType[PublicKey]):
    """A public key, as text or in a file."""

    name = "file|key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> PublicKey:
        """Read it."""
        return value if isinstance(value, PublicKey) else read_public_key(str(value))


def ledger_options(function: F) -> F:
    """Which ledger, and whose."""
    for add in (
        option("--owner-key", "owner_keys", type=OwnerKey(), multiple=True,
               help="The owner's public signing key: a file, or ssh-ed25519 AAAA…. Repeat it, oldest first, if the "
                    "owner changed keys."),
        option("--ledger", type=PATH, help="The ledger.  [default: RELEASE.owner/ledger.jsonl]"),
        click.argument("release", type=PATH, required=False),
    ):  # fmt: skip
        function = add(function)
    return function


def filter_options(function: F) -> F:
    """Which events."""
    for add in (
        option("--until", type=Moment(), help="Last moment."),
        option("--since", type=Moment(), help="First moment."),
        option("--kind", "kinds", type=CommaList(get_args(EventKind)), help="Kinds of events, e.g. key.issued."),
        option("--version", type=int, help="Key version."),
        option("--release-id", "release_id", help="Release or edition id."),
        option("--recipient", help="Recipient's name."),
        option("--image", help="Image id, as in the manifest."),
    ):
        function = add(function)
    return function


def event_line(event: Event) -> str:
    """One event on one line."""
    details = event.details
    words = [str(event.sequence), event.time.isoformat(timespec="seconds"), event.actor, details.kind]
    words += [str(value) for name in ("recipient", "reason") if (value := getattr(details, name, None))]
    if version := getattr(details, "key_version", None):
        words.append(f"version {version}")
    words += [one.recipient for one in getattr(details, "accused", ())]
    return "  ".join(words)


def holding_line(one: Holding) -> str:
    """One key version on one line."""
    ended = f" {one.ended_at:%Y-%m-%d} ({one.reason})" if one.ended_at else ""
    expiry = f", expires {one.expires_at:%Y-%m-%d}" if one.expires_at else ""
    key = f"version {one.key_version}  {one.images} images  issued {one.issued_at:%Y-%m-%d}{expiry}"
    return f"{one.recipient}  {key}  {one.state}{ended}"


def tell_report(report: LedgerReport) -> None:
    """Print findings on standard error, and a summary."""
    for finding in (*report.faults, *report.warnings):
        where = f"line {finding.line}: " if finding.line else ""
        click.echo(f"{where}{finding.kind}: {finding.message}", err=True)
    click.echo(
        f"{report.size} events, {report.receipts} signed heads compared: {report.fault_count} faults, "
        f"{len(report.warnings)} warnings. Root {report.root}"
    )
