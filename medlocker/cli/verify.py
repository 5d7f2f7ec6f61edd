"""`medlocker verify`: check a release without any key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medlocker.cli.base import EXIT_FAILED, PATH, json_option, print_json
from medlocker.cli.executor_options import chosen_executor, executor_options
from medlocker.cli.ledger_options import owner_key_option
from medlocker.cli.progress import TerminalProgress
from medlocker.keys import VerifyReport, verify_release
from medlocker.signing import PublicKey


@click.command()
@click.argument("release", type=PATH)
@owner_key_option
@executor_options
@json_option
@click.pass_context
def verify(
    ctx: click.Context, /, release: Path, owner_keys: tuple[PublicKey, ...], as_json: bool, **options: Any
) -> None:
    """Check that every image of a release is there, unaltered, and carries its recovery packet.

    With --owner-key also that the manifest is the owner's. Exits with 1 when anything is wrong.
    """
    with chosen_executor(options, TerminalProgress().say, local="threads") as executor:
        report = verify_release(release, owner_keys, executor=executor)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        for image in report.images:
            if image.message:
                click.echo(f"{image.file}: {image.message}", err=True)
        for extra in report.extra_files:
            click.echo(f"{extra}: not part of the release", err=True)
        good = sum(not image.message for image in report.images)
        click.echo(f"{good} of {len(report.images)} images are as released{_signature(report, bool(owner_keys))}.")
    if not report.ok:
        ctx.exit(EXIT_FAILED)


def _signature(report: VerifyReport, checked: bool) -> str:
    if not report.signed:
        return "; the release is not signed"
    return "; signed by the owner" if checked else "; signed, by whom is not checked without --owner-key"
