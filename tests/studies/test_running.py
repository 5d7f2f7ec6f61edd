"""A study runs, shares releases between tables, continues after a kill, and writes what it found."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest
from study_kit import CountingLoader, plan_of, squares

from medlocker.jobs.progress import SilentProgress
from medlocker.keys import new_identity
from medlocker.studies import running
from medlocker.studies.cells import cells_of
from medlocker.studies.drawing import draw
from medlocker.studies.networks import StudyNetworks
from medlocker.studies.plan import StudyPlan, TableName
from medlocker.studies.running import Study, run_cells
from medlocker.studies.sampling import StudyImages
from medlocker.studies.tabulating import tabulate
from medlocker.studies.writing import write_study
from medlocker.tracking import NullTracker


class ParentTracker(NullTracker):
    """Knows which child runs there were."""

    def __init__(self) -> None:
        self.children: list[str] = []

    @contextmanager
    def child_run(self, name):
        self.children.append(name)
        yield NullTracker()


class KilledError(Exception):
    """Stands for a kill."""


def study_in(folder: Path, plan: StudyPlan) -> Study:
    if not (folder / "squares").exists():
        squares(folder / "squares")
        new_identity(folder / "owner.txt")
    from medlocker.keys import load_identity

    return Study(
        StudyNetworks(plan, folder, CountingLoader()),
        StudyImages(plan, {"squares": folder / "squares"}, folder, folder / "out" / "samples", SilentProgress()),
        folder / "out",
        load_identity(folder / "owner.txt"),
        folder,
    )


def run(folder: Path, plan: StudyPlan, table: TableName):
    tracker = ParentTracker()
    return run_cells(study_in(folder, plan), cells_of(plan, table), tracker, SilentProgress()), tracker.children


FULL = {
    "ablation": {
        "data": ("squares",),
        "source": "a",
        "select": "any",
        "per_class": 2,
        "vary": {"search.population": (2, 4), "mark.alpha_range": ((100, 255), (0, 255))},
    },
    "baselines": {
        "data": "squares",
        "sources": ("a",),
        "targets": ("c",),
        "select": "any",
        "per_class": 2,
        "searches": ("basin_hopping", "random"),
    },
}


def test_tables_share_their_releases(tmp_path: Path) -> None:
    plan = plan_of(**FULL)
    first, made = run(tmp_path, plan, "table1")
    assert len(made) == 4
    releases = set((tmp_path / "out" / "cells").iterdir())
    again, repeated = run(tmp_path, plan, "table2")
    assert repeated == []
    assert [readings for _, readings in again] == [readings for _, readings in first]
    _, ablated = run(tmp_path, plan, "ablation")
    # Population 4 and α from 100 are what tables 1 and 2 locked with: measured anew (no targets), not locked anew.
    assert len(ablated) == 6
    assert len(set((tmp_path / "out" / "cells").iterdir()) - releases) == 4


def test_a_kill_loses_the_running_cell_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, measure = plan_of(), running.measure_release
    calls = []

    def killed_at_the_third(*arguments, **named):
        calls.append(arguments)
        if len(calls) == 3:
            raise KilledError
        return measure(*arguments, **named)

    monkeypatch.setattr(running, "measure_release", killed_at_the_third)
    with pytest.raises(KilledError):
        run(tmp_path, plan, "table1")
    monkeypatch.undo()
    resumed, made = run(tmp_path, plan, "table1")
    assert [name.split(",")[0] for name in made] == ["ensemble on squares"] * 2
    whole, _ = run(tmp_path / "other", plan, "table1")
    assert [r.readings for _, r in resumed] == [r.readings for _, r in whole]


def test_every_network_is_loaded_once_and_mixtures_are_measured(tmp_path: Path) -> None:
    plan = plan_of()
    study = study_in(tmp_path, plan)
    results = run_cells(study, cells_of(plan, "table2"), ParentTracker(), SilentProgress())
    assert sorted(study.networks.loader.loaded) == ["a", "b", "b", "c"]  # b as a member by PyTorch, as a target by ONNX
    names = [(n.name, n.role) for n in results[0][1].readings.networks]
    assert names == [("a", "source"), ("b", "target"), ("c", "target"), ("ensemble", "target")]
    names = [(n.name, n.role) for n in results[2][1].readings.networks]
    assert names == [("ensemble", "source"), ("a", "source"), ("b", "source"), ("c", "target")]


def test_only_images_all_networks_read_are_locked_where_the_plan_says_so(tmp_path: Path) -> None:
    transfer = plan_of().transfer
    assert transfer is not None
    plan = plan_of(transfer=transfer.model_dump() | {"select": "all_correct", "per_class": 1})
    results, _ = run(tmp_path, plan, "table1")
    for _, cell in results:
        readings = cell.readings
        assert len(readings.ids) == 2
        assert all((readings.of(n.name, "clean") == readings.truth).all() for n in readings.networks)


@pytest.mark.parametrize("table", ["table1", "table2", "ablation", "baselines"])
def test_pages_tables_and_figures_are_written(tmp_path: Path, table: TableName) -> None:
    plan = plan_of(**FULL, seeds=(0,))
    results, _ = run(tmp_path, plan, table)
    tables = tabulate(table, results)
    files = write_study(tmp_path / "out", table, plan, tables, draw(table, tables), "medlocker study …")
    page = files[0].read_text()
    for path in files[1:]:
        assert path.stat().st_size > 50
        assert path.suffix != ".png" or path.read_bytes().startswith(b"\x89PNG")
        assert path.stem in page
    assert "nan" not in page
    for rows in tables.values():
        assert all(row.keys() == rows[0].keys() for row in rows)
        assert all("n" in row or "cells" in row for row in rows)
