"""What the verbs of `medlocker audit` share: which ledger, which events, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from medlocker.audit import Event, Holding, LedgerReport
from medlocker.audit.events import EventKind
from medlocker.cli.base import PATH, CommaList, option
from medlocker.cli.times import Moment
from medlocker.signing import PublicKey, read_public_keys

F = TypeVar("F", bound=Callable[..., Any])


class OwnerKey(click.ParamType[tuple[PublicKey, ...]]):
    """Public keys, as text or in a file with one a line."""

    name = "file|key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[PublicKey, ...]:
        """Read them."""
        return value if isinstance(value, tuple) else read_public_keys(str(value))


def owner_key_option(function: F) -> F:
    """`--owner-key`, as one tuple of keys."""
    return option(
        "--owner-key", "owner_keys", type=OwnerKey(), multiple=True, callback=_flattened,
        help="The owner's public signing key: a file (OWNER.signing.pub), or ssh-ed25519 AAAA…. Repeat it, oldest "
             "first, if the owner changed keys and the file does not list them.",
    )(function)  # fmt: skip


def _flattened(
    _ctx: click.Context, _param: click.Parameter, values: tuple[tuple[PublicKey, ...], ...]
) -> tuple[PublicKey, ...]:
    return tuple(key for keys in values for key in keys)


def ledger_options(function: F) -> F:
    """Which ledger, and whose."""
    for add in (
        owner_key_option,
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
    key = f"version {one.key_version}  {counted(one.images, 'image')}  issued {one.issued_at:%Y-%m-%d}{expiry}"
    return f"{one.recipient}  {key}  {one.state}{ended}"


def counted(number: int, thing: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def tell_report(report: LedgerReport) -> None:
    """Print findings on standard error, and a summary."""
    for finding in (*report.faults, *report.warnings):
        where = f"line {finding.line}: " if finding.line else ""
        click.echo(f"{where}{finding.kind}: {finding.message}", err=True)
    click.echo(
        f"{report.size} events, {report.receipts} signed heads compared: {report.fault_count} faults, "
        f"{len(report.warnings)} warnings. Root {report.root}"
    )
