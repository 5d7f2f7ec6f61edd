"""Readings become tables: plain rows for CSV, with the paper's figure beside ours where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, get_args

import numpy as np

from medlocker.jobs.tables import Row
from medlocker.metrics import Basis, Condition
from medlocker.studies import paper
from medlocker.studies.cells import Cell
from medlocker.studies.plan import TableName
from medlocker.studies.rates import Difference, Rate, difference, network_rate, outcomes, pooled
from medlocker.studies.results import SEEN, CellReadings

Result = tuple[Cell, CellReadings]
Tables = dict[str, list[Row]]
"""Name → rows; all rows of a table have the same columns."""


def tabulate(table: TableName, results: Sequence[Result]) -> Tables:
    """The tables of a finished study.

    Args:
        table: which of the paper's.
        results: every cell with its readings.
    """
    return _MAKERS[table](results)


def by_seed(results: Iterable[Result]) -> list[tuple[Cell, list[CellReadings]]]:
    """Cells that differ in their seed alone, together; in the order of the plan."""

    def key(result: Result) -> tuple[Any, ...]:
        cell = result[0]
        labels = tuple((name, repr(value)) for name, value in cell.labels.items())
        return cell.data, cell.source, labels

    groups = [list(group) for _, group in groupby(results, key)]
    return [(group[0][0], [readings for _, readings in group]) for group in groups]


def rate_columns(rate: Rate) -> Row:
    """A rate as columns: asr, low, high, k, n, images, seeds."""
    return {
        "asr": rate.value,
        "low": rate.low,
        "high": rate.high,
        "k": rate.k,
        "n": rate.n,
        "images": rate.images,
        "seeds": rate.seeds,
    }


def difference_columns(found: Difference) -> Row:
    """A paired difference as columns."""
    return {
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "mcnemar_p": " ".join(f"{value:.3g}" for value in found.p_values),
    }


def _source_rate(cells: Sequence[CellReadings], basis: Basis) -> Rate:
    return network_rate(cells, cells[0].readings.source_network, "searched", basis, "unconditional")


def _about(cell: Cell, cells: Sequence[CellReadings]) -> Row:
    queries = [float(count) for readings in cells for count in readings.queries]
    return {
        "data": cell.data,
        "source": cell.source,
        "search": cell.settings.search.name,
        "queries": float(np.mean(queries)) if queries else float("nan"),
    }


def _table1(results: Sequence[Result]) -> Tables:
    rows, grades, placements = [], [], []
    for cell, cells in by_seed(results):
        name, methods = cells[0].readings.source_network, cells[0].readings.methods
        for basis in get_args(Basis):
            paper_asr = paper.TABLE1.get(cell.source)
            rows.append(
                _about(cell, cells) | {"basis": basis} | rate_columns(_source_rate(cells, basis)) | {"paper": paper_asr}
            )
        grades += [_about(cell, cells) | row for row in _grade_rows(cells, name)]
        for method in methods[1:]:
            against = _against(cells, name, method)
            rate = network_rate(cells, name, method, "per_model", "unconditional")
            placements.append(
                _about(cell, cells)
                | {"placement": method}
                | rate_columns(rate)
                | {f"search_{key}": value for key, value in difference_columns(against).items()}
            )
    return {"table1": rows, "table1_by_grade": grades, "table1_placements": placements}


def _grade_rows(cells: Sequence[CellReadings], network: str) -> list[Row]:
    rows = []
    for grade, name in enumerate(cells[0].class_names):
        found = []
        for readings in (cell.readings for cell in cells):
            label = dict(zip(readings.ids, readings.labels, strict=True))
            counted = outcomes(readings, network, "searched", "per_model", "unconditional")
            found.append({image: misread for image, misread in counted.items() if label[image] == grade})
        rate = pooled(found)
        if rate.n:
            rows.append({"grade": name} | rate_columns(rate))
    return rows


def _against(cells: Sequence[CellReadings], network: str, method: Any) -> Difference:
    searched = [outcomes(c.readings, network, "searched", "per_model", "unconditional") for c in cells]
    other = [outcomes(c.readings, network, method, "per_model", "unconditional") for c in cells]
    return difference(searched, other)


def _table2(results: Sequence[Result]) -> Tables:
    rows, placements = [], []
    for cell, cells in by_seed(results):
        targets = [network.name for network in cells[0].readings.networks if network.role == "target"]
        for target in targets:
            if target not in cell.targets:
                continue  # a member of a measured ensemble that was not asked for
            about = _about(cell, cells) | {"target": target}
            for condition in get_args(Condition):
                for basis in get_args(Basis):
                    rate = network_rate(cells, target, "searched", basis, condition)
                    printed = paper.TABLE2.get((cell.source, target)) if condition == "source_fooled" else None
                    rows.append(
                        about | {"condition": condition, "basis": basis} | rate_columns(rate) | {"paper": printed}
                    )
            placements += [
                about | {"placement": method} | difference_columns(_against(cells, target, method))
                for method in cells[0].readings.methods[1:]
            ]
    return {"table2": rows, "table2_against_placements": placements, "table2_means": _means(rows)}


def _means(rows: Sequence[Row]) -> list[Row]:
    """Fig. 4b: mean over targets of a source's ASR, and over sources of a target's remaining accuracy."""
    means: list[Row] = []
    for condition in get_args(Condition):
        for basis in get_args(Basis):
            chosen = [r for r in rows if r["condition"] == condition and r["basis"] == basis and r["n"]]
            for role in ("source", "target"):
                for name in dict.fromkeys(str(row[role]) for row in chosen):
                    values = [float(str(row["asr"])) for row in chosen if row[role] == name]
                    mean = float(np.mean(values))
                    means.append(
                        {
                            "role": role,
                            "network": name,
                            "condition": condition,
                            "basis": basis,
                            "cells": len(values),
                            "mean_asr": mean,
                            "mean_accuracy": 1 - mean,
                        }
                    )
    return means


def _table3(results: Sequence[Result]) -> Tables:
    grouped = by_seed(results)
    rows = [_lesion_row(cell, cells) for cell, cells in grouped]
    return {"table3": rows, "table3_searches": _paired_rows(grouped)}


def _lesion_row(cell: Cell, cells: Sequence[CellReadings]) -> Row:
    printed = paper.TABLE3.get((cell.labels["search"], cell.labels["placement"], cell.labels["eyes"]))
    single = network_rate(cells, cells[0].readings.source_network, "random_single", "per_model", "unconditional")
    return (
        {key: str(value) for key, value in cell.labels.items()}
        | rate_columns(_source_rate(cells, "per_model"))
        | {"random_single": single.value, "paper": printed}
        | {
            "released": sum(len(c.readings.ids) for c in cells),
            "infeasible": sum(len(c.infeasible) for c in cells),
            "shrunk": sum(len(c.shrunk) for c in cells),
        }
        | {name: _mean_seen(cells, name) for name in SEEN}
    )


def _mean_seen(cells: Sequence[CellReadings], name: str) -> float:
    values = [getattr(seen, name) for cell in cells for seen in cell.seen]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def _paired_rows(grouped: Sequence[tuple[Cell, list[CellReadings]]]) -> list[Row]:
    """The first search against each other one wherever all else is equal, on the source and on every target."""
    first, *others = dict.fromkeys(cell.labels["search"] for cell, _ in grouped)
    places: dict[tuple[str, ...], dict[str, tuple[Cell, list[CellReadings]]]] = {}
    for cell, cells in grouped:
        places.setdefault(_place(cell), {})[cell.labels["search"]] = (cell, cells)
    return [
        {"first": first, "second": second, "data": cell.data, "source": cell.source}
        | {key: str(value) for key, value in cell.labels.items() if key != "search"}
        | {"network": shown}
        | difference_columns(difference(_read(cells, network), _read(found[second][1], network)))
        for second in others
        for found in places.values()
        if first in found and second in found
        for cell, cells in [found[first]]
        for network, shown in _networks_of(cell, cells).items()
    ]


def _place(cell: Cell) -> tuple[str, ...]:
    return cell.data, cell.source, *(str(value) for key, value in cell.labels.items() if key != "search")


def _networks_of(cell: Cell, cells: Sequence[CellReadings]) -> dict[str, str]:
    """Name in the readings → name in tables: what was queried, then the targets."""
    return {cells[0].readings.source_network: cell.source} | {target: target for target in cell.targets}


def _read(cells: Sequence[CellReadings], network: str) -> list[dict[str, bool]]:
    return [outcomes(cell.readings, network, "searched", "per_model", "unconditional") for cell in cells]


def _ablation(results: Sequence[Result]) -> Tables:
    return {
        "ablation": [
            {"setting": cell.labels["setting"], "value": str(cell.labels["value"])}
            | _about(cell, cells)
            | rate_columns(_source_rate(cells, "per_model"))
            for cell, cells in by_seed(results)
        ]
    }


def _baselines(results: Sequence[Result]) -> Tables:
    grouped = by_seed(results)
    rows = []
    for cell, cells in grouped:
        readings = cells[0].readings
        for network, shown in _networks_of(cell, cells).items():
            for method in readings.methods:
                rate = network_rate(cells, network, method, "per_model", "unconditional")
                common = network_rate(cells, network, method, "common", "unconditional")
                rows.append(
                    _about(cell, cells)
                    | {"network": shown, "placement": cell.labels["search"] if method == "searched" else method}
                    | rate_columns(rate)
                    | {"common_asr": common.value, "common_n": common.n}
                )
    return {"baselines": rows, "baselines_paired": _paired_rows(grouped)}


_MAKERS: dict[TableName, Callable[[Sequence[Result]], Tables]] = {
    "table1": _table1,
    "table2": _table2,
    "table3": _table3,
    "ablation": _ablation,
    "baselines": _baselines,
}
