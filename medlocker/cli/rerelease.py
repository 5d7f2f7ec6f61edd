"""`medlocker rerelease`: the same images under a new secret."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from medlocker.audit import Holding, who
from medlocker.cli.base import PATH, json_option, option, print_json, tracking, tracking_options
from medlocker.cli.mirroring import mirror_after, mirror_option
from medlocker.cli.owning import copy_options, opened_copy, owner_ledger, signing_owner
from medlocker.cli.progress import TerminalProgress
from medlocker.jobs.rereleasing import PLACINGS, RereleaseRequest, make_rerelease
from medlocker.keys.recording import OwnerLedger
from medlocker.workspace import default_owner_dir

LIMIT = (
    "Note: copies of the former release that were given away stay what they are; whoever holds one and the lost key "
    "can restore its images for ever. Stop handing it out."
)
REDRAWN = (
    "Whoever holds the former and the new copy of an image can put together what neither mark covers. Where the former "
    "release is in strangers' hands, --placements keep avoids that; but then the lost key undoes the new marks "
    "inexactly, by formula."
)


@click.command()
@click.argument("release", type=PATH)
@option("--out", type=PATH, required=True, help="Folder for the new release.")
@option("--reason", required=True, help="Why; recorded in both ledgers.")
@option(
    "--new-owner", type=PATH, help="Whose the new release is, e.g. after their secret was lost.  [default: --owner]"
)
@option("--new-owner-dir", type=PATH, help="Folder for what the owner keeps of it.  [default: OUT.owner]")
@option("--new-ledger", type=PATH, help="Ledger of the new release.  [default: ledger.jsonl in its owner's folder]")
@option("--placements", "placing", type=click.Choice(PLACINGS), default="redraw", help="Where the new marks lie.")
@option("--originals", type=PATH, help="A folder with the originals, where the release is damaged.")
@option("--workers", type=click.IntRange(1), default=2, help="Threads.")
@copy_options
@mirror_option
@option("--run-name", help="Name of the MLflow run.")
@tracking_options
@json_option
def rerelease(release: Path, out: Path, reason: str, as_json: bool, **options: Any) -> None:
    """Release the images of RELEASE anew under another secret, after a key or the owner's secret was lost.

    Former keys open nothing of the new release. No network is asked anything: marks move to other places that the
    search kept. Both ledgers record it. The same command continues after an interruption.
    """
    from medlocker_mlflow.runs import tracked_run

    copy, owner = opened_copy(release, options["owner_dir"], options["owner"])
    heir = signing_owner(options["new_owner"]) if options["new_owner"] else owner
    owner_dir = options["new_owner_dir"] or default_owner_dir(out)
    with tracked_run(
        options["run_name"] or f"rerelease {release.name}",
        **tracking(options),
        verb="rerelease",
    ) as tracker:
        former = owner_ledger(owner, copy.owner_dir, options["ledger"], options["actor"], tracker.run_id)
        ledger = owner_ledger(heir, owner_dir, options["new_ledger"], options["actor"], tracker.run_id)
        request = RereleaseRequest(out, owner_dir, reason, options["placing"], options["originals"], options["workers"])
        made = make_rerelease(copy, request, former, ledger, TerminalProgress(quiet=as_json))
        tracker.tags({"medlocker.release_id": made.release_id, "medlocker.rerelease_of": copy.release_id})
        tracker.metrics({"rerelease/images": made.images, "rerelease/moved": made.moved})
    held = _holders(former, copy.release_id)
    if as_json:
        print_json({"release": str(out), "release_id": made.release_id, "rerelease_of": copy.release_id,
                    "owner_dir": str(owner_dir), "images": made.images, "moved": made.moved, "resumed": made.resumed,
                    "active_keys_to_the_former": [one.recipient for one in held]})  # fmt: skip
    else:
        click.echo(f"{out}: release {made.release_id} of {made.images} images; {made.moved} marks lie elsewhere now")
        click.echo(f"{owner_dir}: what you keep of it")
        for one in held:
            click.echo(f"{one.recipient} holds a key to the former release: medlocker key issue {out} --to …")
        click.echo(LIMIT, err=True)
        if made.moved:
            click.echo(REDRAWN, err=True)
    mirror_after(ledger, options["mirror"])


def _holders(ledger: OwnerLedger, release_id: str) -> list[Holding]:
    """Who holds an active key to the former release, and wants one to the new."""
    held = who(ledger.events(), now=datetime.now(UTC), release=release_id)
    return [one for one in held if one.state == "active" and one.edition_id is None]
