"""`medlocker report`: write a release's HTML report again."""

from __future__ import annotations

from pathlib import Path

import click

from medlocker.cli.base import PATH, json_option, option, print_json
from medlocker.cli.owning import asked_identity, owner_file, owner_option
from medlocker.cli.progress import TerminalProgress
from medlocker.jobs.transferring import TransferRequest, run_report
from medlocker.workspace import default_owner_dir


@click.command()
@click.argument("release", type=PATH)
@owner_option
@option("--owner-dir", type=PATH, help="The owner's folder.  [default: RELEASE.owner]")
@option("--data", type=PATH, help="Where the originals are now, if they moved.")
@json_option
def report(release: Path, owner: Path | None, owner_dir: Path | None, data: Path | None, as_json: bool) -> None:
    """Write the report of a release as one self-contained HTML file in the owner's folder."""
    owner_dir = owner_dir or default_owner_dir(release)
    identity = asked_identity(owner_file(owner, owner_dir))
    published = run_report(TransferRequest(release, owner_dir, data=data), identity, TerminalProgress())
    if as_json:
        print_json({"report": str(published.report), "metrics": published.metrics})
    else:
        click.echo(f"Report: {published.report}")
