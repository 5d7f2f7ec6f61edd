"""`medlocker study`: rerun a table or figure of the paper on one's own data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, get_args

import click

from medlocker.cli.base import PATH, json_option, option, print_json, tracking, tracking_options
from medlocker.cli.loading import ZooLoader
from medlocker.cli.progress import TerminalProgress
from medlocker.errors import SettingsError
from medlocker.keys import Identity, load_identity, new_identity
from medlocker.studies.cells import cells_of, seeds_of
from medlocker.studies.networks import StudyNetworks
from medlocker.studies.plan import StudyPlan, TableName, load_plan
from medlocker.studies.running import Study, run_cells
from medlocker.studies.sampling import StudyImages
from medlocker_mlflow.runs import tracked_run

OWNER_NAME = "owner.txt"


class NamedFolders(click.ParamType[tuple[tuple[str, Path], ...]]):
    """NAME=DIR pairs, comma-separated."""

    name = "name=dir"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[str, Path], ...]:
        """Split and check."""
        if isinstance(value, tuple):
            return value
        pairs = [entry.partition("=") for entry in str(value).split(",")]
        for name, equals, folder in pairs:
            if not (name.strip() and equals and folder.strip()):
                self.fail(f"{name + equals + folder!r} is not NAME=DIR, e.g. grading=/data/aptos.", param, ctx)
        return tuple((name.strip(), Path(folder.strip())) for name, _, folder in pairs)


@click.command()
@click.argument("table", type=click.Choice(get_args(TableName)))
@option("--plan", "plan_file", type=PATH, required=True, help="TOML file: data, networks, seeds, settings.")
@option("--out", type=PATH, required=True, help="Folder of the study; tables share the releases in it.")
@option("--data", type=NamedFolders(), help="Where the plan's data sets are, e.g. grading=DIR,lesions=DIR.")
@option("--networks", type=PATH, help="Folder of the plan's weights files.  [default: the plan's folder]")
@option("--device", help="Where sources run.  [default: cuda where there is one]")
@option("--provider", type=click.Choice(("auto", "cpu", "cuda")), default="auto", help="Where targets run.")
@tracking_options
@json_option
def study(table: TableName, plan_file: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Rerun TABLE of the paper by a plan: table1, table2, table3, ablation (Fig. 4a) or baselines.

    Works cell by cell, each a child run. The same command continues after an interruption, and releases that another
    table made are used again. Writes Markdown, CSV and figures into the study's folder.
    """
    from medlocker.studies.drawing import draw
    from medlocker.studies.tabulating import tabulate
    from medlocker.studies.writing import write_study

    plan = load_plan(plan_file)
    cells = cells_of(plan, table)
    progress = TerminalProgress()
    with tracked_run(
        f"study {plan.name} {table}",
        **tracking(options),
        verb="study",
    ) as tracker:
        tracker.settings({"plan": plan.name, "table": table, "seeds": seeds_of(plan, table), "cells": len(cells)})
        tracker.artifact(plan_file, "study")
        results = run_cells(opened_study(plan, plan_file, out, options), cells, tracker, progress)
        tables = tabulate(table, results)
        files = write_study(out, table, plan, tables, draw(table, tables), command(table, plan_file, out, options))
        for name, rows in tables.items():
            tracker.table(name, rows)
        for path in files:
            tracker.artifact(path, "study")
        tracker.describe(files[0].read_text(encoding="utf-8"))
    if as_json:
        print_json({"table": table, "cells": len(cells), "files": [str(path) for path in files]})
    else:
        click.echo(files[0].read_text(encoding="utf-8"))
        click.echo("\n".join(str(path) for path in files))


def opened_study(plan: StudyPlan, plan_file: Path, out: Path, options: dict[str, Any]) -> Study:
    """Folders, owner and loaders of a study.

    Raises:
        SettingsError: `--data` names a data set the plan does not know, or a folder that is not there.
    """
    roots = dict(options["data"] or ())
    for name, root in roots.items():
        if name not in plan.data:
            raise SettingsError(
                f"--data {name}: no such data set in the plan", fix=f"name one of {', '.join(plan.data)}"
            )
        if not root.exists():
            raise SettingsError(f"--data {name}={root}: no such folder")
    base = plan_file.resolve().parent
    out.mkdir(parents=True, exist_ok=True)
    loader = ZooLoader(options["device"], options["provider"])
    return Study(
        StudyNetworks(plan, (options["networks"] or base).resolve(), loader),
        StudyImages(plan, roots, base, out / "samples", TerminalProgress()),
        out,
        _owner(out / OWNER_NAME),
        base,
    )


def _owner(path: Path) -> Identity:
    return load_identity(path) if path.exists() else new_identity(path)


def command(table: TableName, plan_file: Path, out: Path, options: dict[str, Any]) -> str:
    """The command as it is written down with the results; folders by their names in the plan, not by where they are."""
    words = ["medlocker", "study", table, "--plan", plan_file.name, "--out", out.name]
    if options["data"]:
        words += ["--data", ",".join(f"{name}={folder.name}" for name, folder in options["data"])]
    if options["networks"]:
        words += ["--networks", options["networks"].name]
    return shlex.join(words)
