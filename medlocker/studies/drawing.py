"""Figures of a study, as PNG: the transfer heat map, Fig. 4a and Fig. 4b."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medlocker.jobs.tables import Row
from medlocker.studies.plan import TableName
from medlocker.studies.tabulating import Tables

INK, SOFT = "#20344a", "#7d95ad"
CONDITIONS = {"unconditional": "all images", "source_fooled": "images that fooled the source"}


def draw(table: TableName, tables: Tables) -> dict[str, bytes]:
    """The figures of one table: name → PNG.

    Args:
        table: which of the paper's.
        tables: from `tabulate`.
    """
    maker = _MAKERS.get(table)
    return {name: _png(figure) for name, figure in maker(tables).items()} if maker else {}


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return file.getvalue()


def _number(row: Row, name: str) -> float:
    value = row[name]
    return float(value) if isinstance(value, int | float) else float("nan")


def _source_bars(tables: Tables) -> dict[str, Figure]:
    rows = [row for row in tables["table1"] if row["basis"] == "per_model"]
    figure = Figure(figsize=(1.5 + 0.9 * len(rows), 3.6), layout="constrained")
    axes = figure.subplots()
    _bars(axes, [f"{row['source']}\nn = {row['n']}" for row in rows], rows)
    axes.set_title("Attack success against the source (95 % intervals)", fontsize=10)
    return {"table1": figure}


def _bars(axes: Axes, names: Sequence[str], rows: Sequence[Row]) -> None:
    places = np.arange(len(rows))
    values = [100 * _number(row, "asr") for row in rows]
    reach = [
        [100 * max(0.0, _number(row, "asr") - _number(row, "low")) for row in rows],
        [100 * max(0.0, _number(row, "high") - _number(row, "asr")) for row in rows],
    ]
    axes.bar(places, values, yerr=reach, color=SOFT, ecolor=INK, capsize=3, width=0.65)
    axes.set_xticks(places, names, fontsize=8)
    axes.set_ylim(0, 100)
    axes.set_ylabel("misread, %")


def _transfer(tables: Tables) -> dict[str, Figure]:
    return {"table2_heat_map": _heat_maps(tables["table2"]), "fig4b": _means(tables["table2_means"])}


def _heat_maps(rows: Sequence[Row]) -> Figure:
    sources = list(dict.fromkeys(str(row["source"]) for row in rows))
    targets = list(dict.fromkeys(str(row["target"]) for row in rows))
    width = 2.6 + 2 * max(2.2, 0.85 * len(targets))
    figure = Figure(figsize=(width, 1.9 + 0.55 * len(sources)), layout="constrained")
    for axes, (condition, title) in zip(figure.subplots(1, 2, sharey=True), CONDITIONS.items(), strict=True):
        chosen = [row for row in rows if row["condition"] == condition and row["basis"] == "per_model"]
        _heat_map(axes, chosen, sources, targets)
        axes.set_title(f"misread by the target, % of {title}", fontsize=9)
    return figure


def _heat_map(axes: Axes, rows: Sequence[Row], sources: Sequence[str], targets: Sequence[str]) -> None:
    grid = np.full((len(sources), len(targets)), np.nan)
    for row in rows:
        at = sources.index(str(row["source"])), targets.index(str(row["target"]))
        grid[at] = 100 * _number(row, "asr")
        if not math.isnan(grid[at]):
            colour = "white" if grid[at] > 55 else INK
            shown = f"{grid[at]:.0f}\nn = {row['n']}"
            axes.text(at[1], at[0], shown, ha="center", va="center", fontsize=7, color=colour)
    axes.imshow(grid, vmin=0, vmax=100, cmap="Blues", aspect="auto")
    axes.set_xticks(range(len(targets)), targets, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(sources)), sources, fontsize=8)


def _means(rows: Sequence[Row]) -> Figure:
    chosen = [row for row in rows if row["basis"] == "per_model"]
    names = list(dict.fromkeys(str(row["network"]) for row in chosen))
    figure = Figure(figsize=(2.5 + 0.9 * len(names), 6.4), layout="constrained")
    parts = (
        ("source", "mean_asr", "mean transferred ASR of a source, %"),
        ("target", "mean_accuracy", "mean accuracy of a target under attack, %"),
    )
    for axes, (role, column, title) in zip(figure.subplots(2, 1), parts, strict=True):
        for shift, (condition, label) in zip((-0.2, 0.2), CONDITIONS.items(), strict=True):
            found = {
                r["network"]: _number(r, column) for r in chosen if r["role"] == role and r["condition"] == condition
            }
            heights = [100 * found.get(name, float("nan")) for name in names]
            axes.bar(np.arange(len(names)) + shift, heights, 0.38, label=label, color=(SOFT, INK)[shift > 0])
        axes.set_xticks(range(len(names)), names, fontsize=8, rotation=15, ha="right")
        axes.set_ylim(0, 100)
        axes.set_title(title, fontsize=9)
    figure.axes[0].legend(fontsize=7)
    return figure


def _lesions(tables: Tables) -> dict[str, Figure]:
    rows = tables["table3"]
    figure = Figure(figsize=(2 + 1.15 * len(rows), 4.0), layout="constrained")
    axes = figure.subplots()
    names = [f"{r['placement']}\n{r['eyes']}, {r['masks']} masks\n{r['search']}\nn = {r['n']}" for r in rows]
    _bars(axes, names, rows)
    axes.tick_params(axis="x", labelsize=6)
    axes.set_title("Attack success by placement (95 % intervals)", fontsize=10)
    return {"table3": figure}


def _curves(tables: Tables) -> dict[str, Figure]:
    groups = [(key, list(rows)) for key, rows in groupby(tables["ablation"], lambda row: str(row["setting"]))]
    columns = min(3, len(groups))
    lines = math.ceil(len(groups) / columns)
    figure = Figure(figsize=(3.4 * columns, 2.9 * lines), layout="constrained")
    grid: Any = figure.subplots(lines, columns, squeeze=False)
    for axes, (setting, rows) in zip(grid.flat, groups, strict=False):
        _curve(axes, rows)
        axes.set_title(setting, fontsize=9)
    for axes in grid.flat[len(groups) :]:
        axes.axis("off")
    return {"fig4a": figure}


def _curve(axes: Axes, rows: Sequence[Row]) -> None:
    values = list(dict.fromkeys(str(row["value"]) for row in rows))
    for data in dict.fromkeys(str(row["data"]) for row in rows):
        own = [row for row in rows if row["data"] == data]
        places = [values.index(str(row["value"])) for row in own]
        rates = [100 * _number(row, "asr") for row in own]
        low = [100 * _number(row, "low") for row in own]
        high = [100 * _number(row, "high") for row in own]
        (line,) = axes.plot(places, rates, marker="o", markersize=3, label=f"{data}, n = {own[0]['n']}")
        axes.fill_between(places, low, high, alpha=0.2, color=line.get_color())
    axes.set_xticks(range(len(values)), values, fontsize=7)
    axes.set_ylim(0, 100)
    axes.set_ylabel("ASR, %", fontsize=8)
    axes.legend(fontsize=6)


def _searches(tables: Tables) -> dict[str, Figure]:
    rows = tables["baselines"]
    figure = Figure(figsize=(2 + 0.85 * len(rows), 4.0), layout="constrained")
    axes = figure.subplots()
    _bars(
        axes, [f"{row['placement']}\non {row['network']}\nfrom {row['source']}\nn = {row['n']}" for row in rows], rows
    )
    axes.tick_params(axis="x", labelsize=6)
    axes.set_title("Searches and placements at equal queries (95 % intervals)", fontsize=10)
    return {"baselines": figure}


_MAKERS: dict[TableName, Callable[[Tables], dict[str, Figure]]] = {
    "table1": _source_bars,
    "table2": _transfer,
    "table3": _lesions,
    "ablation": _curves,
    "baselines": _searches,
}
