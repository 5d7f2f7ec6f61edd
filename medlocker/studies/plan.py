"""The plan of a study: data, networks, settings, and what each table asks for."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medlocker.datasets.base import Layout, OnError
from medlocker.errors import SettingsError
from medlocker.metrics import Method
from medlocker.placement import WhenInfeasible
from medlocker.protecting import ProtectSettings
from medlocker.search import SearchSettings
from medlocker.transfer import ENSEMBLE_NAME

TableName = Literal["table1", "table2", "table3", "ablation", "baselines"]
Selection = Literal["all_correct", "source_correct", "any"]
"""Which images are locked: those that every network of the table reads correctly when clean (the paper's), those that
the source does, or all."""
MaskOrigin = Literal["given", "predicted"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
Count = Annotated[int, Field(ge=1)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataPlan(_Model):
    """One data set. Fields without a note here are those of `medlocker.datasets.DatasetSpec`.

    Attributes:
        root: its folder, relative to the plan; None where it is named when the study is run.
        where: column → value.
        label_map: merges classes, e.g. `no DR=0;DR=1,2,3,4`.
        label: class of every image, for a data set without labels.
        classes: class names, needed with `label`.
        grades: keep only images of these classes, after merging.
    """

    root: Path | None = None
    layout: Layout = "auto"
    labels: Path | None = None
    id_column: str | None = None
    label_column: str | None = None
    where: dict[str, str] = {}
    masks: Path | None = None
    on_error: OnError = "stop"
    label_map: str | None = None
    label: str | None = None
    classes: tuple[str, ...] = ()
    grades: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_origin_of_labels(self) -> DataPlan:
        if self.label is not None and (self.label_map or self.label not in self.classes):
            raise ValueError("label needs classes that hold it, and no label_map")
        return self


class EnsemblePlan(_Model):
    """Several networks as one source (Eq. 8).

    Attributes:
        members: names of networks.
        weights: β, summing to 1; None for equal ones.
    """

    members: tuple[Name, ...] = Field(min_length=2)
    weights: tuple[Annotated[float, Field(gt=0, le=1)], ...] | None = None

    @model_validator(mode="after")
    def _one_weight_a_member(self) -> EnsemblePlan:
        if self.weights is not None and len(self.weights) != len(self.members):
            raise ValueError(f"{len(self.weights)} weights for {len(self.members)} members")
        return self


Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class Seeded(_Model):
    """A part of a plan that may have seeds of its own.

    Attributes:
        seeds: instead of the plan's.
    """

    seeds: Seeds | None = None


class Sampling(Seeded):
    """Which images of a data set are locked.

    Attributes:
        per_class: at most so many of each class; None for all.
        select: see `Selection`.
        sample_seed: of the draw.
    """

    per_class: Count | None = None
    select: Selection = "all_correct"
    sample_seed: Annotated[int, Field(ge=0)] = 0


class TransferPlan(Sampling):
    """Tables 1 and 2: every source against every network.

    Attributes:
        data: name of a data set.
        sources: networks or ensembles to query.
        targets: networks or ensembles to measure; a source is never its own target.
        baselines: placements to compare with.
    """

    data: Name
    sources: tuple[Name, ...] = Field(min_length=1)
    targets: tuple[Name, ...] = Field(min_length=1)
    baselines: tuple[Method, ...] = ("random_single", "box")


class LesionPlan(Seeded):
    """Table 3: placement modes on images with and without lesions.

    Attributes:
        diseased: data set with lesion masks.
        healthy: data set without lesions.
        source: network that tells the two apart.
        searches: searches to compare.
        masks: where the masks come from.
        limit: at most so many images of each data set.
        select: see `Selection`.
        when_infeasible: what happens to an image without room; never `stop`, which would end the study.
    """

    diseased: Name
    healthy: Name
    source: Name
    searches: tuple[Name, ...] = ("basin_hopping", "random_mutation")
    masks: tuple[MaskOrigin, ...] = ("given",)
    limit: Count | None = None
    select: Selection = "source_correct"
    when_infeasible: WhenInfeasible = "skip"


class AblationPlan(Sampling):
    """Fig. 4a: one setting at a time.

    Attributes:
        data: names of data sets.
        source: network or ensemble.
        vary: setting (a dotted name within `settings`, or `logo`) → values.
    """

    data: tuple[Name, ...] = Field(min_length=1)
    source: Name
    vary: dict[str, tuple[Any, ...]] = Field(min_length=1)


class BaselinesPlan(Sampling):
    """Searches at equal queries, and placements without a search.

    Attributes:
        data: name of a data set.
        sources: networks or ensembles to query.
        targets: networks to measure.
        searches: searches to compare; the first is the one the others are compared with.
        placements: placements without a search.
    """

    data: Name
    sources: tuple[Name, ...] = Field(min_length=1)
    targets: tuple[Name, ...] = ()
    searches: tuple[Name, ...] = ("basin_hopping", "random_mutation", "random_walk", "random")
    placements: tuple[Method, ...] = ("random_single", "box")


class StudyPlan(_Model):
    """A whole plan.

    Attributes:
        name: of the study.
        note: what it stands for.
        seeds: one release a seed, where a table names none of its own.
        networks: name → weights file, relative to the folder of networks.
        ensembles: name → members and weights.
        data: name → data set.
        segmenter: draws masks where a table asks for predicted ones; relative to the folder of networks.
        settings: of every release; a table changes what it is about.
        transfer: tables 1 and 2.
        lesions: table 3.
        ablation: Fig. 4a.
        baselines: the comparison of searches.
    """

    name: Name
    note: str = ""
    seeds: Seeds = (0,)
    networks: dict[Name, str] = Field(min_length=1)
    ensembles: dict[Name, EnsemblePlan] = {}
    data: dict[Name, DataPlan] = Field(min_length=1)
    segmenter: str | None = None
    settings: ProtectSettings = ProtectSettings()
    transfer: TransferPlan | None = None
    lesions: LesionPlan | None = None
    ablation: AblationPlan | None = None
    baselines: BaselinesPlan | None = None

    @model_validator(mode="after")
    def _names_exist(self) -> StudyPlan:
        known = {*self.networks, *self.ensembles}
        if both := set(self.networks) & set(self.ensembles):
            raise ValueError(f"{', '.join(sorted(both))} is both a network and an ensemble")
        if ENSEMBLE_NAME in self.ensembles and len(self.ensembles) > 1:
            raise ValueError(f"{ENSEMBLE_NAME} cannot name one of several ensembles: it means the one that is queried")
        for ensemble in self.ensembles.values():
            _check(ensemble.members, self.networks, "network")
        for table in (self.transfer, self.baselines):
            if table:
                _check((*table.sources, *table.targets), known, "network or ensemble")
                _check((table.data,), self.data, "data set")
        if self.lesions:
            _check((self.lesions.source,), known, "network or ensemble")
            _check((self.lesions.diseased, self.lesions.healthy), self.data, "data set")
            self._check_lesions(self.lesions)
        if self.ablation:
            _check((self.ablation.source,), known, "network or ensemble")
            _check(self.ablation.data, self.data, "data set")
            for name, values in self.ablation.vary.items():
                for value in values if name != "logo" else ():
                    changed_settings(self.settings, {name: value})
        for name in (
            *(self.baselines.searches if self.baselines else ()),
            *(self.lesions.searches if self.lesions else ()),
        ):
            SearchSettings.model_validate({"name": name})
        return self

    def _check_lesions(self, lesions: LesionPlan) -> None:
        if lesions.when_infeasible == "stop":
            raise ValueError("lesions.when_infeasible: an image without room must not end the study; skip or shrink")
        if "predicted" in lesions.masks and self.segmenter is None:
            raise ValueError("lesions.masks: predicted ones need a segmenter")

    def members(self, name: str) -> tuple[str, ...]:
        """The networks behind a name: an ensemble's members, or the network itself."""
        return self.ensembles[name].members if name in self.ensembles else (name,)

    def weights(self, name: str) -> tuple[float, ...] | None:
        """β of an ensemble; None for equal ones, and for a network."""
        return self.ensembles[name].weights if name in self.ensembles else None


def _check(names: Iterable[str], known: Iterable[str], kind: str) -> None:
    missing = sorted(set(names) - set(known))
    if missing:
        raise ValueError(f"{', '.join(missing)}: no such {kind} in the plan; there are {', '.join(sorted(known))}")


def changed_settings(settings: ProtectSettings, changes: dict[str, Any]) -> ProtectSettings:
    """Settings with some values replaced and everything checked again.

    Args:
        settings: to start from.
        changes: dotted name → value, e.g. `search.population`.

    Raises:
        ValueError: a name or value is not valid.
    """
    values = settings.model_dump()
    for name, value in changes.items():
        place = values
        *path, last = name.split(".")
        for part in path:
            place = place.get(part)  # type: ignore[assignment]
            if not isinstance(place, dict):
                raise ValueError(f"{name}: no such setting")
        if last not in place:
            raise ValueError(f"{name}: no such setting; there are {', '.join(place)}")
        place[last] = value
    return ProtectSettings.model_validate(values)


def load_plan(path: Path) -> StudyPlan:
    """Read a plan.

    Raises:
        SettingsError: it cannot be read, or something in it is not valid; names what.
    """
    try:
        return StudyPlan.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"{path}: the plan cannot be read", why=error.strerror) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not a TOML file", why=str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "plan"
        raise SettingsError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
