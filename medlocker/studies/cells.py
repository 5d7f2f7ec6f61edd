"""From a plan to cells: each is one release and what is measured on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medlocker.errors import SettingsError
from medlocker.metrics import Method
from medlocker.placement import PlacementMode
from medlocker.protecting import ProtectSettings
from medlocker.studies.plan import MaskOrigin, Sampling, StudyPlan, TableName, changed_settings

SEARCH, SEED = "search.name", "seed"


@dataclass(frozen=True)
class Cell:
    """One release to make and to measure.

    Attributes:
        data: name of the data set.
        source: name of the network or ensemble that is queried.
        targets: names of what is measured beside it.
        settings: of the release, its seed included.
        sampling: which images.
        readers: networks whose correct reading `all_correct` asks for.
        baselines: placements to compare with.
        masks: where lesion masks come from.
        logo: file; None for the project's own.
        limit: at most so many images.
        labels: what tells the cell apart in its table, e.g. the varied setting and its value.
    """

    data: str
    source: str
    targets: tuple[str, ...]
    settings: ProtectSettings
    sampling: Sampling
    readers: tuple[str, ...]
    baselines: tuple[Method, ...] = ()
    masks: MaskOrigin = "given"
    logo: Path | None = None
    limit: int | None = None
    labels: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """Short, for runs and progress."""
        told = ", ".join(f"{key} {value}" for key, value in self.labels.items())
        return f"{self.source} on {self.data}, seed {self.settings.seed}{', ' if told else ''}{told}"


def cells_of(plan: StudyPlan, table: TableName) -> tuple[Cell, ...]:
    """The cells of one table, in the order of the plan.

    Raises:
        SettingsError: the plan says nothing about this table.
    """
    section, make = _MAKERS[table]
    if getattr(plan, section) is None:
        raise SettingsError(f"the plan {plan.name} has no part [{section}]", fix=f"add one, or leave {table} out")
    return tuple(make(plan))


def seeds_of(plan: StudyPlan, table: TableName) -> tuple[int, ...]:
    """The seeds of one table, in order."""
    return tuple(dict.fromkeys(cell.settings.seed for cell in cells_of(plan, table)))


def _settings(plan: StudyPlan, seed: int, changes: dict[str, Any] | None = None) -> ProtectSettings:
    return changed_settings(plan.settings, {**(changes or {}), SEED: seed})


def _readers(plan: StudyPlan, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(member for name in names for member in plan.members(name)))


def _transfer(plan: StudyPlan) -> Iterator[Cell]:
    table = plan.transfer
    assert table is not None
    readers = _readers(plan, (*table.sources, *table.targets))
    for source in table.sources:
        targets = tuple(name for name in table.targets if name != source and name not in plan.members(source))
        for seed in table.seeds or plan.seeds:
            yield Cell(table.data, source, targets, _settings(plan, seed), table, readers, table.baselines)


PLACEMENTS: tuple[tuple[PlacementMode, bool], ...] = (
    ("anywhere", True),
    ("anywhere", False),
    ("inside_lesions", True),
    ("avoid_lesions", True),
)
"""The columns of Table 3: placement mode, and whether on images with lesions."""


def _lesions(plan: StudyPlan) -> Iterator[Cell]:
    table = plan.lesions
    assert table is not None
    readers = _readers(plan, (table.source,))
    for origin in table.masks:
        for search in table.searches:
            for mode, diseased in PLACEMENTS:
                if mode == "anywhere" and origin != table.masks[0]:
                    continue
                changes = {
                    SEARCH: search,
                    "mark.placement": mode,
                    "mark.when_infeasible": table.when_infeasible,
                }
                for seed in table.seeds or plan.seeds:
                    yield Cell(
                        table.diseased if diseased else table.healthy,
                        table.source,
                        (),
                        _settings(plan, seed, changes),
                        Sampling(select=table.select),
                        readers,
                        ("random_single",),
                        origin,
                        limit=table.limit,
                        labels={
                            "search": search,
                            "placement": mode,
                            "eyes": "DR" if diseased else "no DR",
                            "masks": origin if mode != "anywhere" else "none",
                        },
                    )


def _ablation(plan: StudyPlan) -> Iterator[Cell]:
    table = plan.ablation
    assert table is not None
    readers = _readers(plan, (table.source,))
    for setting, values in table.vary.items():
        for value in values:
            changes = {} if setting == "logo" else {setting: value}
            for data in table.data:
                for seed in table.seeds or plan.seeds:
                    yield Cell(
                        data,
                        table.source,
                        (),
                        _settings(plan, seed, changes),
                        table,
                        readers,
                        logo=Path(value) if setting == "logo" and value else None,
                        labels={"setting": setting, "value": value},
                    )


def _baselines(plan: StudyPlan) -> Iterator[Cell]:
    table = plan.baselines
    assert table is not None
    readers = _readers(plan, (*table.sources, *table.targets))
    for source in table.sources:
        targets = tuple(name for name in table.targets if name != source and name not in plan.members(source))
        for search in table.searches:
            for seed in table.seeds or plan.seeds:
                settings = _settings(plan, seed, {SEARCH: search})
                placements = table.placements if search == table.searches[0] else ()
                labels = {"search": search}
                yield Cell(table.data, source, targets, settings, table, readers, placements, labels=labels)


_MAKERS: dict[TableName, tuple[str, Callable[[StudyPlan], Iterator[Cell]]]] = {
    "table1": ("transfer", _transfer),
    "table2": ("transfer", _transfer),
    "table3": ("lesions", _lesions),
    "ablation": ("ablation", _ablation),
    "baselines": ("baselines", _baselines),
}
