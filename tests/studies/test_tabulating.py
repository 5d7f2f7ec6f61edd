"""Tables from readings by hand: n in every cell, the paper beside it."""

from dataclasses import replace

from study_kit import plan_of, read_cell

from medlocker.studies.cells import cells_of
from medlocker.studies.tabulating import by_seed, tabulate
from medlocker.studies.writing import as_csv, as_markdown

LABELS = (0, 0, 1, 1)
SOURCE = {"clean": (0, 0, 1, 1), "searched": (1, 0, 0, 1), "box": (0, 0, 1, 0)}
TARGET = {"clean": (0, 0, 1, 0), "searched": (1, 0, 1, 0), "box": (0, 0, 1, 0)}


def results(source: str = "resnet18", target: str = "vgg16"):
    plan = plan_of(seeds=(0, 1))
    first, second = cells_of(plan, "table1")[:2]
    named = [replace(cell, source=source, targets=(target,)) for cell in (first, second)]
    return [(cell, read_cell(LABELS, {source: SOURCE, target: TARGET}, source)) for cell in named]


def test_seeds_of_a_cell_belong_together() -> None:
    (group,) = by_seed(results())
    assert len(group[1]) == 2


def test_table_one_on_both_bases_with_the_papers_figure() -> None:
    tables = tabulate("table1", results())
    per_model, common = tables["table1"]
    assert (per_model["k"], per_model["n"], per_model["seeds"], per_model["paper"]) == (4, 8, 2, 71.69)
    assert (common["k"], common["n"]) == (4, 6)
    (box,) = tables["table1_placements"]
    assert (box["k"], box["n"], box["search_difference"]) == (2, 8, 0.25)
    assert [(row["grade"], row["k"], row["n"]) for row in tables["table1_by_grade"]] == [("0", 2, 4), ("1", 2, 4)]


def test_table_two_is_always_both_conditional_and_unconditional_on_both_bases() -> None:
    rows = tabulate("table2", results())["table2"]
    found = {(row["condition"], row["basis"]): (row["k"], row["n"], row["paper"]) for row in rows}
    assert found == {
        ("unconditional", "per_model"): (2, 6, None),
        ("unconditional", "common"): (2, 6, None),
        ("source_fooled", "per_model"): (2, 4, 91.10),
        ("source_fooled", "common"): (2, 4, 91.10),
    }


def test_means_leave_accuracy_where_a_target_was_not_fooled() -> None:
    means = tabulate("table2", results())["table2_means"]
    (target,) = [
        r for r in means if (r["role"], r["condition"], r["basis"]) == ("target", "unconditional", "per_model")
    ]
    assert target["mean_accuracy"] == 1 - 2 / 6


def test_markdown_holds_bounds_and_csv_every_column() -> None:
    rows = tabulate("table1", results())["table1"]
    shown = "\n".join(as_markdown(rows))
    assert "50.0% (" in shown
    assert "71.69%" in shown
    assert "| low |" not in shown
    assert as_csv(rows).splitlines()[0].split(",")[5:8] == ["asr", "low", "high"]
    assert "nan" not in as_csv([{"a": float("nan"), "b": None}])
