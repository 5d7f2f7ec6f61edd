"""`medlocker verify`: check a release without any key."""

from __future__ import annotations

from pathlib import Path

import click

from medlocker.cli.base import EXIT_FAILED, PATH, json_option, print_json
from medlocker.keys import verify_release


@click.command()
@click.argument("release", type=PATH)
@json_option
@click.pass_context
def verify(ctx: click.Context, release: Path, as_json: bool) -> None:
    """Check that every image of a release is there, unaltered, and carries its recovery packet.

    Exits with 1 when anything is wrong.
    """
    report = verify_release(release)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        for image in report.images:
            if image.message:
                click.echo(f"{image.file}: {image.message}", err=True)
        for extra in report.extra_files:
            click.echo(f"{extra}: not part of the release", err=True)
        good = sum(not image.message for image in report.images)
        click.echo(f"{good} of {len(report.images)} images are as released.")
    if not report.ok:
        ctx.exit(EXIT_FAILED)
