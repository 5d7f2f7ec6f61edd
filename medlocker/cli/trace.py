"""`medlocker trace`: whose copy is this?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medlocker.cli.base import EXIT_FAILED, PATH, json_option, option, print_json, tracking, tracking_options
from medlocker.cli.mirroring import mirror_after, mirror_option
from medlocker.cli.owning import opened_copy, owner_ledger, owner_option
from medlocker.cli.progress import TerminalProgress
from medlocker.cli.trace_text import trace_text
from medlocker.jobs.tracing import TraceReport, TraceRequest, run_trace
from medlocker.tracking import Tracker

EXIT_NOBODY = 3


@click.command()
@click.argument("path", type=PATH)
@option("--release", type=PATH, required=True, help="The release that editions were made from.")
@owner_option
@option("--epsilon", type=float, default=1e-3, help="Allowed probability of accusing anyone falsely, per leak.")
@option("--coalition", type=click.IntRange(2), default=3, help="Conspirators that the score is made for.")
@option("--originals", type=PATH, help="A folder with the originals, where the release is damaged.")
@option("--owner-dir", type=PATH, help="The owner's folder.  [default: RELEASE.owner]")
@option("--ledger", type=PATH, help="The ledger.  [default: ledger.jsonl in the owner's folder of the release]")
@option("--actor", help="Who acts, as the ledger records it.  [default: MEDLOCKER_ACTOR, else the login name]")
@mirror_option
@option("--run-name", help="Name of the MLflow run.")
@tracking_options
@json_option
@click.pass_context
def trace(ctx: click.Context, /, path: Path, release: Path, as_json: bool, **options: Any) -> None:
    """Read the marks of a leaked image or folder, and name the recipients whose editions it was made from.

    Names of files do not matter. Images may be compressed, resized, cropped or grey; they may be mixed or averaged from
    several copies. The outcome is recorded in the ledger.

    Exits with 0 when somebody is named, or the release itself; with 3 when images were read but nobody is named, which
    is no acquittal; with 1 when no image of the release could be read, or on any error; with 2 on wrong usage.
    """
    from medlocker_mlflow.runs import tracked_run

    copy, owner = opened_copy(release, options["owner_dir"], options["owner"])
    with tracked_run(
        options["run_name"] or f"trace {path.name}",
        **tracking(options),
        verb="trace",
    ) as tracker:
        ledger = owner_ledger(owner, copy.owner_dir, options["ledger"], options["actor"], tracker.run_id)
        request = TraceRequest(path, options["epsilon"], options["coalition"], options["originals"])
        report = run_trace(copy, request, ledger, TerminalProgress(quiet=as_json))
        _track(tracker, report)
    code = exit_code(report)
    if as_json:
        print_json(_document(report) | {"exit_code": code})
    else:
        click.echo(trace_text(report))
    mirror_after(ledger, options["mirror"])
    ctx.exit(code)


def exit_code(report: TraceReport) -> int:
    """As the verb's help says."""
    if report.accused or report.release_itself.named:
        return 0
    return EXIT_NOBODY if report.recognised else EXIT_FAILED


def _document(report: TraceReport) -> dict[str, object]:
    return {
        "accused": [one.recipient for one in report.accused],
        "counts": report.counts,
        **report.model_dump(mode="json"),
    }


def _track(tracker: Tracker, report: TraceReport) -> None:
    tracker.tags({"medlocker.release_id": report.release_id, "medlocker.evidence_sha256": report.evidence_sha256})
    tracker.metrics(
        {
            "trace/files": len(report.files),
            "trace/images_that_speak": report.images,
            "trace/accused": len(report.accused),
            "trace/release_itself": float(report.release_itself.named),
        }
    )
    if report.suspects:
        rows = [one.model_dump(mode="json") for one in report.suspects]
        tracker.table("suspects", rows)
    tracker.describe(trace_text(report).replace("\n", "  \n"))
