"""`medlocker runs`: list past runs, compare them, find the best."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.table import Table

from medlocker.cli.base import PATH, F, LazyGroup, json_option, option, print_json
from medlocker.errors import SettingsError
from medlocker_mlflow.comparing import (
    RunComparison,
    RunFacts,
    as_document,
    compare_runs,
    metric_value,
    sentences,
)
from medlocker_mlflow.comparison_page import outcome_text, setting_text, side_by_side, write_comparison
from medlocker_mlflow.history import Condition, History, best_first, parse_condition
from medlocker_mlflow.merging import merge_offline

NARROWEST = 100
"""Columns a table is laid out for at least, so that a pipe does not squeeze it."""
RATES = ("asr/source/", "asr/transfer/")

_VERBS = {"list": "list_runs", "compare": "compare", "best": "best", "merge": "merge"}


@click.group(cls=LazyGroup, verbs={name: f"{__name__}:{function}" for name, function in _VERBS.items()})
def runs() -> None:
    """Look at past runs: which settings protect better, at what cost, and how sure that is."""


def _choice_options(function: F) -> F:
    for add in (
        option("--experiment", help="MLflow experiment to look in.", default="medlocker"),
        click.option("--all-experiments", is_flag=True, help="Look in all of them."),
        option(
            "--where",
            multiple=True,
            help="Only runs with NAME=VALUE (also != < <= > >=): a setting, metric, tag, verb or status; repeatable.",
        ),
    ):
        function = add(function)
    return function


def _store_option(function: F) -> F:
    return option("--tracking-uri", help="MLflow tracking store (default: MLFLOW_TRACKING_URI, else ./mlflow.db).")(
        function
    )


@click.command("list")
@_choice_options
@option("--limit", type=click.IntRange(1), default=20, help="Show the newest so many.")
@_store_option
@json_option
def list_runs(limit: int, tracking_uri: str | None, as_json: bool, **choice: Any) -> None:
    """List runs, newest first."""
    chosen = _chosen(History(tracking_uri), **choice)
    if as_json:
        print_json({"runs": [_run_document(run) for run in chosen[:limit]], "total": len(chosen)})
        return
    table = Table(title=f"{min(limit, len(chosen))} of {len(chosen)} runs")
    for heading in ("id", "run", "command", "status", "started (UTC)", "misread, by network"):
        table.add_column(heading)
    for run in chosen[:limit]:
        started = f"{run.started:%Y-%m-%d %H:%M}"
        table.add_row(run.short_id, run.name, run.verb, run.status, started, _rates(run))
    click.echo(_text(table))


@click.command()
@click.argument("references", metavar="RUN RUN...", nargs=-1, required=True)
@option("--html", type=PATH, help="Write the comparison as one self-contained HTML file, with example images.")
@_store_option
@json_option
def compare(references: tuple[str, ...], html: Path | None, tracking_uri: str | None, as_json: bool) -> None:
    """Compare runs with the first of them.

    RUN is an id, the beginning of one, or a run's name. Shows settings that differ, outcomes with intervals, and
    whether the difference is significant on the images both runs marked.
    """
    if len(references) < 2:
        raise SettingsError("one run cannot be compared", fix="name two or more")
    history = History(tracking_uri)
    chosen = [history.run(reference) for reference in references]
    if len({run.run_id for run in chosen}) < len(chosen):
        raise SettingsError("a run was named twice", fix="name different runs; medlocker runs list shows their ids")
    _show(history, compare_runs(chosen), html, as_json)


@click.command()
@option("--metric", required=True, help="What to rank by, e.g. asr/transfer/NETWORK.")
@click.option("--lowest", is_flag=True, help="Less is better, e.g. for cost/seconds_per_image.")
@option("--top", type=click.IntRange(2), default=5, help="How many to show and to compare with the best.")
@_choice_options
@option("--html", type=PATH, help="Write the comparison of the top runs as one self-contained HTML file.")
@_store_option
@json_option
def best(
    metric: str, lowest: bool, top: int, html: Path | None, tracking_uri: str | None, as_json: bool, **choice: Any
) -> None:
    """Find the runs that are best by a metric, and whether the best is better than the next."""
    history = History(tracking_uri)
    ranked = best_first(_chosen(history, **choice), metric, lowest=lowest)[:top]
    comparison = compare_runs([history.with_readings(run) for run in ranked])
    if not as_json:
        table = Table(title=f"Best by {metric}")
        for heading in ("", "id", "run", metric):
            table.add_column(heading)
        for place, run in enumerate(ranked, start=1):
            table.add_row(str(place), run.short_id, run.name, outcome_text(metric, metric_value(run, metric)))
        click.echo(_text(table))
    _show(history, comparison, html, as_json, {"metric": metric, "lowest": lowest})


@click.command()
@click.argument("folder", type=PATH)
@_store_option
@json_option
def merge(folder: Path, tracking_uri: str | None, as_json: bool) -> None:
    """Copy the runs that --offline recorded in FOLDER into the tracking store, completely and once.

    The folder is not changed and may be deleted afterwards; merging it again copies nothing twice.
    """
    merged = merge_offline(folder, tracking_uri)
    if as_json:
        print_json({"runs": [asdict(run) for run in merged]})
        return
    words = {"copied": "copied as", "there": "is there as", "running": "left out: it has not ended"}
    for run in merged:
        click.echo(f"{run.name} ({run.offline_run_id[:8]}) {words[run.outcome]} {(run.run_id or '')[:8]}".rstrip())
    click.echo(f"{sum(run.outcome == 'copied' for run in merged)} of {len(merged)} runs copied.")


def _chosen(history: History, *, experiment: str, all_experiments: bool, where: Sequence[str]) -> list[RunFacts]:
    conditions: list[Condition] = [parse_condition(text) for text in where]
    return history.runs(None if all_experiments else experiment, conditions)


def _show(
    history: History,
    comparison: RunComparison,
    html: Path | None,
    as_json: bool,
    asked: Mapping[str, object] = MappingProxyType({}),
) -> None:
    if html is not None:
        write_comparison(html, comparison, side_by_side(history, comparison.runs))
    if as_json:
        print_json({**asked, **as_document(comparison), **({"html": str(html)} if html else {})})
        return
    for line in (*sentences(comparison), *comparison.notes):
        click.echo(line)
    for table in _tables(comparison):
        click.echo("\n" + _text(table))
    if html is not None:
        click.echo(f"\nPage: {html}")


def _tables(comparison: RunComparison) -> list[Table]:
    settings = _run_table(comparison, "Settings that differ", "setting")
    for name, values in comparison.settings.items():
        settings.add_row(name, *(setting_text(value) for value in values))
    outcome = _run_table(comparison, "Outcomes (95% Wilson intervals)", "metric")
    for name, row in comparison.outcomes.items():
        outcome.add_row(name, *(outcome_text(name, value) for value in row))
    return [table for table in (settings, outcome) if table.row_count]


def _run_table(comparison: RunComparison, title: str, heading: str) -> Table:
    table = Table(title=title)
    table.add_column(heading)
    for run in comparison.runs:
        table.add_column(f"{run.name}\n{run.short_id}", overflow="fold")
    return table


def _rates(run: RunFacts) -> str:
    rates = [(name, value) for name, value in sorted(run.headline_metrics.items()) if name.startswith(RATES)]
    return "\n".join(f"{name.removeprefix('asr/')} {value:.1%}" for name, value in rates)


def _run_document(run: RunFacts) -> dict[str, object]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "experiment": run.experiment,
        "verb": run.verb,
        "status": run.status,
        "started": run.started.isoformat(),
        "settings": dict(run.settings),
        "metrics": {name: value for name, value in run.metrics.items() if not math.isnan(value)},
        "tags": dict(run.tags),
    }


def _text(renderable: RenderableType) -> str:
    text = io.StringIO()
    width = max(NARROWEST, shutil.get_terminal_size((120, 24)).columns)
    Console(file=text, width=width, highlight=False, markup=False).print(renderable)
    return text.getvalue().rstrip()
