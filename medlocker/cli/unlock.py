"""`medlocker unlock`: restore the originals of a release."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from medlocker.cli.base import EXIT_FAILED, PATH, json_option, option, print_json
from medlocker.cli.progress import TerminalProgress
from medlocker.keys import UnlockReport, load_identity, read_key, unlock_release


@click.command()
@click.argument("release", type=PATH)
@option("--key", type=PATH, required=True, help="The key file.")
@option("--identity", type=PATH, required=True, help="Your identity file, which opens the key.")
@option("--out", type=PATH, required=True, help="Folder for the originals.")
@option(
    "--lossy", is_flag=True, help="Where a recovery packet is missing, undo the mark by formula (Eq. 9), inexactly."
)
@option("--workers", type=click.IntRange(1), default=2, help="Threads.")
@json_option
@click.pass_context
def unlock(
    ctx: click.Context, release: Path, key: Path, identity: Path, out: Path, lossy: bool, workers: int, as_json: bool
) -> None:
    """Restore every image of a release and check each against its digest.

    Exits with 1 when any image fails; the others are restored all the same.
    """
    document = read_key(key, load_identity(identity))
    with TerminalProgress().stage("Unlocking images", len(document.images)) as advance:
        report = unlock_release(
            release, document, out, lossy=lossy, workers=workers, on_image=lambda _image: advance(1)
        )
    _tell(report, as_json)
    if not report.complete:
        ctx.exit(EXIT_FAILED)


def _tell(report: UnlockReport, as_json: bool) -> None:
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    for image in report.images:
        if image.message:
            click.echo(f"{image.id}: {image.message}", err=True)
    counts = Counter(image.status for image in report.images)
    inexact = f", {counts['lossy']} restored inexactly" if counts["lossy"] else ""
    click.echo(f"{counts['restored']} of {len(report.images)} images restored bit for bit{inexact}.")
