"""`medlocker verify`: check a release without any key, or tell whether a folder is a given copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medlocker.cli.base import EXIT_FAILED, PATH, json_option, option, print_json
from medlocker.cli.executor_options import chosen_executor, executor_options
from medlocker.cli.ledger_options import owner_key_option
from medlocker.cli.progress import TerminalProgress
from medlocker.errors import SettingsError
from medlocker.keys import VerifyReport, verify_release
from medlocker.signing import PublicKey

_OWNERS = ("owner", "owner_dir", "release_owner_dir", "originals")


@click.command()
@click.argument("path", type=PATH, metavar="RELEASE|PATH")
@owner_key_option
@option("--against", type=PATH, help="A release or edition at hand: is PATH a copy of it?")
@option("--owner", type=PATH, help="With --against: its owner's identity; tells altered copies by their marks.")
@option("--owner-dir", type=PATH, help="The owner's folder of that copy.  [default: AGAINST.owner]")
@option("--release-owner-dir", type=PATH, help="That of the release it was made from.  [default: as it was made]")
@option("--originals", type=PATH, help="A folder with the originals, where the copy is damaged.")
@click.option("--exact", is_flag=True, help="With --against: only pixel for pixel will do.")
@executor_options
@json_option
@click.pass_context
def verify(ctx: click.Context, /, path: Path, owner_keys: tuple[PublicKey, ...], as_json: bool, **options: Any) -> None:
    """Check that every image of a release or edition is there, unaltered, and carries its recovery packet.

    With --owner-key also that the manifest is the owner's. Exits with 1 when anything is wrong.

    With --against, tell instead whether the images at PATH, whatever they are called, are those of a certain copy:
    pixel for pixel; or, with --owner, also compressed, resized or cropped, with the probability that another copy
    would look the same. Exits with 0 when they are, and with 1 when that is not shown.
    """
    if options["against"] is not None:
        if not _compare(path, options, as_json):
            ctx.exit(EXIT_FAILED)
        return
    for name in (*_OWNERS, "exact"):
        if options[name]:
            raise SettingsError(f"--{name.replace('_', '-')} goes with --against", fix="name a copy with --against")
    with chosen_executor(options, TerminalProgress().say, local="threads") as executor:
        report = verify_release(path, owner_keys, executor=executor)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _tell(report, bool(owner_keys))
    if not report.ok:
        ctx.exit(EXIT_FAILED)


def _tell(report: VerifyReport, checked: bool) -> None:
    for image in report.images:
        if image.message:
            click.echo(f"{image.file}: {image.message}", err=True)
    for extra in report.extra_files:
        click.echo(f"{extra}: not part of the release", err=True)
    good = sum(not image.message for image in report.images)
    click.echo(f"{good} of {len(report.images)} images are as released{_signature(report, checked)}.")


def _signature(report: VerifyReport, checked: bool) -> str:
    if not report.signed:
        return "; the release is not signed"
    return "; signed by the owner" if checked else "; signed, by whom is not checked without --owner-key"


def _compare(path: Path, options: dict[str, Any], as_json: bool) -> bool:
    from medlocker.cli.compare_text import comparison_text
    from medlocker.cli.owning import opened_copy
    from medlocker.jobs.comparing import compare_publicly, compare_with_secrets, release_vault

    against: Path = options["against"]
    if options["owner"] is None:
        for name in _OWNERS[1:]:
            if options[name]:
                raise SettingsError(f"--{name.replace('_', '-')} goes with --owner", fix="name the owner with --owner")
        report = compare_publicly(path, against)
    else:
        copy, owner = opened_copy(against, options["owner_dir"], options["owner"])
        vault = release_vault(copy, owner.identity, options["release_owner_dir"])
        progress = TerminalProgress(quiet=as_json)
        report = compare_with_secrets(path, copy, vault, progress, originals=options["originals"])
    if as_json:
        print_json(report.model_dump(mode="json") | {"counts": report.counts})
    else:
        click.echo(comparison_text(report, against))
    return report.verdict in (("identical",) if options["exact"] else ("identical", "lossy"))
