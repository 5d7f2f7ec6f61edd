"""`medlocker transfer`: measure a release on networks that were never queried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medlocker.cli.base import PATH, CommaList, json_option, option, print_json, tracking, tracking_options
from medlocker.cli.executor_options import chosen_executor, executor_options, threads_option
from medlocker.cli.loading import ZooLoader
from medlocker.cli.owning import asked_identity, owner_file, owner_option
from medlocker.cli.progress import TerminalProgress
from medlocker.cli.summaries import success_text, transfer_json
from medlocker.jobs.transferring import TransferRequest, run_transfer
from medlocker.transfer import BASELINES, success_table
from medlocker.workspace import default_owner_dir
from medlocker_mlflow.runs import tracked_run


@click.command()
@click.argument("release", type=PATH)
@option("--targets", type=CommaList(), help="Networks to measure.  [default: those named when the release was made]")
@option("--baselines", type=CommaList(BASELINES), default=",".join(BASELINES), help="Placements to compare with.")
@option("--data", type=PATH, help="Where the originals are now, if they moved.")
@owner_option
@option("--owner-dir", type=PATH, help="The owner's folder.  [default: RELEASE.owner]")
@option("--device", help="Where sources run.  [default: cuda where there is one]")
@option("--provider", type=click.Choice(("auto", "cpu", "cuda")), default="auto", help="Where targets run.")
@option("--batch-size", type=click.IntRange(1), help="Rows of one forward pass.  [default: the release's own]")
@executor_options
@threads_option
@tracking_options
@json_option
def transfer(release: Path, owner: Path | None, owner_dir: Path | None, as_json: bool, **options: Any) -> None:
    """Measure attack success on saved files, with baselines and intervals.

    Reads the originals and the vault, so it needs the owner's identity.
    """
    owner_dir = owner_dir or default_owner_dir(release)
    identity = asked_identity(owner_file(owner, owner_dir))
    loader = ZooLoader(options["device"], options["provider"])
    request = TransferRequest(
        release,
        owner_dir,
        targets=options["targets"] or (),
        baselines=options["baselines"],
        data=options["data"],
        batch_size=options["batch_size"],
    )
    with tracked_run(
        f"transfer {release.name}",
        **tracking(options),
        verb="transfer",
    ) as tracker:
        progress = TerminalProgress()
        with chosen_executor(options, progress.say, local="processes") as executor:
            result = run_transfer(request, loader, identity, tracker, progress, executor)
        if as_json:
            print_json(transfer_json(result))
        else:
            click.echo(success_text(success_table(result.readings)))
