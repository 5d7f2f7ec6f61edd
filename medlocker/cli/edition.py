"""`medlocker edition`: a marked copy of a recipient's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medlocker.audit import read_events
from medlocker.audit.overview import ReleasedCopy, overview_of
from medlocker.cli.base import PATH, LazyGroup, json_option, option, print_json, tracking, tracking_options
from medlocker.cli.ledger_options import owner_key_option
from medlocker.cli.mirroring import mirror_after, mirror_option
from medlocker.cli.owning import copy_options, named_recipient, opened_copy, owner_ledger, recipient_options
from medlocker.cli.progress import TerminalProgress
from medlocker.cli.times import present
from medlocker.keys import load_manifest
from medlocker.keys.recording import ledger_file
from medlocker.signing import PublicKey
from medlocker.tracing.capacity import Capacity
from medlocker.workspace import default_owner_dir

_NAMES = {"make": "make", "list": "list_editions"}


@click.group(cls=LazyGroup, verbs={verb: f"{__name__}:{function}" for verb, function in _NAMES.items()})
def edition() -> None:
    """Give each recipient a marked copy of their own, so that a leaked one names them (medlocker trace)."""


@click.command()
@click.argument("release", type=PATH)
@recipient_options
@option("--out", type=PATH, required=True, help="Folder for the edition.")
@option("--edition-owner-dir", type=PATH, help="Folder for what the owner keeps of it.  [default: OUT.owner]")
@option("--originals", type=PATH, help="A folder with the originals, where the release is damaged.")
@click.option("--another", is_flag=True, help="Make one more for somebody who has one.")
@option("--workers", type=click.IntRange(1), default=2, help="Threads.")
@copy_options
@mirror_option
@option("--run-name", help="Name of the MLflow run.")
@tracking_options
@json_option
def make(release: Path, name: str, out: Path, as_json: bool, **options: Any) -> None:
    """Make a recipient's own edition of RELEASE: each image marked at a place drawn for them in secret.

    The drawn place is one of those that the search kept, so that no network is asked anything. The originals are
    restored from the release with the owner's vault. The edition is a release in its own right: issue its key with
    medlocker key issue OUT. The same command continues after an interruption, and changes nothing once it is done.
    """
    from medlocker.jobs.editions import EditionRequest, make_edition
    from medlocker_mlflow.runs import tracked_run

    copy, owner = opened_copy(release, options["owner_dir"], options["owner"])
    recipient = named_recipient(name, owner, options["registry"], options["public_key"])
    with tracked_run(
        options["run_name"] or f"edition of {release.name}",
        **tracking(options),
        verb="edition",
    ) as tracker:
        ledger = owner_ledger(owner, copy.owner_dir, options["ledger"], options["actor"], tracker.run_id)
        ledger.record_recipient(recipient)
        request = EditionRequest(
            out,
            options["edition_owner_dir"] or default_owner_dir(out),
            recipient,
            options["another"],
            options["originals"],
            options["workers"],
        )
        made = make_edition(copy, request, ledger, TerminalProgress(quiet=as_json))
        tracker.tags({"medlocker.release_id": copy.release_id, "medlocker.edition_id": made.edition_id,
                      "medlocker.recipient": name})  # fmt: skip
        tracker.metrics({"edition/images": made.images, "edition/images_that_carry_nothing": made.capacity.silent,
                         "edition/editions": made.editions})  # fmt: skip
    facts = {"edition": str(out), "edition_id": made.edition_id, "release_id": copy.release_id, "recipient": name,
             "images": made.images, "resumed": made.resumed, "editions": made.editions,
             "owner_dir": str(request.owner_dir), "capacity": made.capacity.model_dump(mode="json")}  # fmt: skip
    if as_json:
        print_json(facts)
    else:
        click.echo(f"{out}: edition {made.edition_id} of {made.images} images, for {name} alone")
        click.echo(f"{request.owner_dir}: what you keep of it")
        click.echo(capacity_text(made.capacity))
        click.echo(f"Next: medlocker key issue {out} --owner IDENTITY --to {name!r} --out FILE")
    mirror_after(ledger, options["mirror"])


@click.command("list")
@click.argument("release", type=PATH)
@option("--owner-dir", type=PATH, help="The owner's folder.  [default: RELEASE.owner]")
@option("--ledger", type=PATH, help="The ledger.  [default: ledger.jsonl in the owner's folder of the release]")
@owner_key_option
@json_option
def list_editions(
    release: Path, owner_dir: Path | None, ledger: Path | None, owner_keys: tuple[PublicKey, ...], as_json: bool
) -> None:
    """List the editions of a release that its ledger records. Needs no secret."""
    release_id = load_manifest(release).release_id
    events = read_events(ledger or ledger_file(owner_dir or default_owner_dir(release)), owner_keys)
    made = [one for one in overview_of(events, now=present()).copies if one.edition_of == release_id]
    if as_json:
        print_json({"release_id": release_id, "editions": [_facts(one) for one in made]})
        return
    for one in made:
        click.echo(
            f"{one.recipient}  {one.release_id}  {one.images} images  made {one.made_at:%Y-%m-%d}  "
            f"{one.active_keys} active {'key' if one.active_keys == 1 else 'keys'}"
        )
    click.echo(f"{len(made)} editions for {len({one.recipient for one in made})} recipients.")


def capacity_text(capacity: Capacity) -> str:
    """How far the kept placements go, in words."""
    counts = ", ".join(f"{n} with {size}" for size, n in capacity.placements.items())
    lines = [f"Usable placements: {counts} (of {capacity.images} images)."]
    if capacity.silent:
        lines.append(
            f"{capacity.silent} images carry nothing: the search kept one usable placement there. Protect with a "
            "larger --keep or --population, or a smaller logo, to have more."
        )
    needed = ", ".join(
        f"{n if n is not None else 'more than all'} for {'one recipient' if c == 1 else f'a coalition of {c}'}"
        for c, n in capacity.images_needed.items()
    )
    lines.append(
        f"Images of a leak that name somebody, among {capacity.recipients} recipients at {capacity.epsilon:g}: "
        f"about {needed}."
    )
    return "\n".join(lines)


def _facts(one: ReleasedCopy) -> dict[str, object]:
    return {"recipient": one.recipient, "edition_id": one.release_id, "images": one.images,
            "made_at": one.made_at.isoformat(), "active_keys": one.active_keys, "run_id": one.run_id}  # fmt: skip
