"""Tables and figures as files: CSV for machines, Markdown for people."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from medlocker.imageio import write_atomic
from medlocker.jobs.tables import Row
from medlocker.studies.cells import seeds_of
from medlocker.studies.plan import StudyPlan, TableName
from medlocker.studies.tabulating import Tables

TITLES: dict[TableName, str] = {
    "table1": "Table 1: attack success against the source",
    "table2": "Table 2: transfer to networks that were never queried",
    "table3": "Table 3: placement modes",
    "ablation": "Fig. 4a: one setting at a time",
    "baselines": "Searches and placements at equal queries",
}
_BOUNDED = ("asr", "difference")
_RATES = ("asr", "mean_asr", "mean_accuracy", "random_single", "common_asr")
_AREAS = ("mark_area", "lesion_covered", "lesion_boxes_covered")


def write_study(
    out: Path, table: TableName, plan: StudyPlan, tables: Tables, figures: dict[str, bytes], command: str
) -> list[Path]:
    """Write everything a study found.

    Args:
        out: the study's folder.
        table: which table.
        plan: what was asked for.
        tables: rows.
        figures: name → PNG.
        command: that made it, for the record.

    Returns:
        The files: the Markdown page first.
    """
    page = out / f"{table}.md"
    files = [page]
    for name, rows in tables.items():
        files.append(out / f"{name}.csv")
        write_atomic(files[-1], as_csv(rows).encode())
    for name, png in figures.items():
        files.append(out / f"{name}.png")
        write_atomic(files[-1], png)
    write_atomic(page, as_page(table, plan, tables, figures, command).encode())
    return files


def as_csv(rows: Sequence[Row]) -> str:
    """Rows with a header; empty cells where there is no figure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if _missing(value) else value for key, value in row.items()})
    return text.getvalue()


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_page(table: TableName, plan: StudyPlan, tables: Tables, figures: dict[str, bytes], command: str) -> str:
    """The Markdown page."""
    seeds = ", ".join(map(str, seeds_of(plan, table)))
    search = plan.settings.search
    lines = [
        f"# {TITLES[table]}",
        "",
        f"Plan `{plan.name}`. {plan.note}".rstrip(),
        "",
        "```",
        command,
        "```",
        "",
        f"Seeds {seeds}; N_p = {search.population}, N_g = {search.generations}, CR = {search.crossover_rate:g}, "
        f"s = {search.step:g}, N_iter = {search.iterations}, sl = {plan.settings.mark.logo_scale:g}, "
        f"α ∈ {list(plan.settings.mark.alpha_range)}. Intervals are 95 %: Wilson's for one seed, for several a "
        "bootstrap over images, in which an image counts once however many seeds there are. `per_model` counts the "
        "images that network reads correctly when clean, `common` those that all networks do. `source_fooled` counts "
        "only images whose mark fooled the source, as the paper's Table 2 does; `unconditional` all.",
    ]
    for name, rows in tables.items():
        if rows:
            lines += ["", f"## {name}", "", *as_markdown(rows)]
    lines += [line for name in figures for line in ("", f"![{name}]({name}.png)")]
    return "\n".join(lines) + "\n"


def as_markdown(rows: Sequence[Row]) -> list[str]:
    """A table; a rate and its bounds stand in one cell."""
    shown = [_shown(row) for row in rows]
    heads = list(shown[0])
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    return lines + ["| " + " | ".join(row[head] for head in heads) + " |" for row in shown]


def _shown(row: Row) -> dict[str, str]:
    cells: dict[str, str] = {}
    for key, value in row.items():
        base = key.removesuffix("low").removesuffix("high")
        if key != base and any(f"{base}{name}" in row for name in _BOUNDED):
            continue
        cells[key] = _text(key, value)
        if any(key.endswith(name) for name in _BOUNDED) and f"{_prefix(key)}low" in row and not _missing(value):
            prefix = _prefix(key)
            bounds = [_text(key, row[f"{prefix}{bound}"]) for bound in ("low", "high")]
            cells[key] += f" ({bounds[0]} to {bounds[1]})"
    return cells


def _prefix(key: str) -> str:
    for name in _BOUNDED:
        if key.endswith(name):
            return key.removesuffix(name)
    return key


def _text(key: str, value: object) -> str:
    if _missing(value):
        return "–"
    if key == "paper":
        return f"{value}%"
    if isinstance(value, float):
        if key.endswith("difference"):
            return f"{100 * value:+.1f} points"
        if key in _RATES or key in _AREAS:
            return f"{100 * value:.1f}%"
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"
    return str(value)
