"""The images of a cell: opened, regrouped, read clean by the networks that must be right, drawn; remembered on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medlocker.classifiers import Classifier
from medlocker.datasets import Dataset, DatasetSpec, dataset_digest, open_dataset
from medlocker.datasets.regrouping import labelled_as, map_labels, only_classes, parse_label_map
from medlocker.errors import SettingsError
from medlocker.imageio import write_atomic
from medlocker.jobs.progress import Progress
from medlocker.jobs.selecting import draw_sample, keep_readable
from medlocker.studies.cells import Cell
from medlocker.studies.networks import StudyNetworks
from medlocker.studies.plan import DataPlan, StudyPlan


def opened(plan: DataPlan, root: Path, progress: Progress) -> Dataset:
    """A data set of a plan, with its labels as the plan wants them.

    Args:
        plan: which part of it, and which labels.
        root: where it is.
        progress: told what is left out.

    Raises:
        DatasetError: it cannot be used.
    """
    spec = DatasetSpec(
        root=root,
        layout=plan.layout,
        labels=plan.labels,
        id_column=plan.id_column,
        label_column=plan.label_column,
        where=tuple(plan.where.items()),
        masks=plan.masks,
        on_error=plan.on_error,
    )
    with progress.stage(f"Reading {root}", None) as advance:
        dataset = open_dataset(spec, progress=lambda done, total: advance(1, f"{done} of {total}"), workers=2)
    for problem in dataset.problems:
        progress.say(f"left out {problem.path}: {problem.reason}, {problem.detail}")
    if plan.label is not None:
        dataset = labelled_as(dataset, plan.label, plan.classes)
    if plan.label_map is not None:
        dataset = map_labels(dataset, parse_label_map(plan.label_map))
    return only_classes(dataset, plan.grades) if plan.grades else dataset


@dataclass(eq=False)
class StudyImages:
    """The images of every cell of a study.

    Attributes:
        plan: the study's.
        roots: data set name → where it is; overrides the plan.
        base: folder that relative paths of the plan count from.
        folder: where drawn samples are remembered.
        progress: shows the reading.
    """

    plan: StudyPlan
    roots: Mapping[str, Path]
    base: Path
    folder: Path
    progress: Progress
    _opened: dict[str, Dataset] = field(default_factory=dict, init=False)

    def dataset(self, name: str) -> Dataset:
        """A whole data set of the plan.

        Raises:
            SettingsError: neither the plan nor the caller says where it is.
        """
        if name not in self._opened:
            data = self.plan.data[name]
            root = self.roots.get(name) or (self.base / data.root if data.root else None)
            if root is None:
                raise SettingsError(f"the plan does not say where the data set {name} is", fix=f"--data {name}=DIR")
            self._opened[name] = opened(data, root, self.progress)
        return self._opened[name]

    def of(self, cell: Cell, networks: StudyNetworks) -> Dataset:
        """The images a cell locks.

        Raises:
            DatasetError: no image is left.
        """
        whole = self.dataset(cell.data)
        names = {"all_correct": cell.readers, "source_correct": self.plan.members(cell.source), "any": ()}
        readers = [networks.reader(name) for name in names[cell.sampling.select]]
        path = self.folder / f"{self._key(whole, cell, readers)}.json"
        if not path.is_file():
            drawn = [record.id for record in self._drawn(whole, cell, readers).records]
            write_atomic(path, (json.dumps(drawn, indent=0) + "\n").encode())
        wanted = set(json.loads(path.read_bytes()))
        return replace(whole, records=tuple(record for record in whole.records if record.id in wanted))

    def _drawn(self, whole: Dataset, cell: Cell, readers: Sequence[Classifier]) -> Dataset:
        spec = DatasetSpec(
            root=whole.root, per_class=cell.sampling.per_class, limit=cell.limit, seed=cell.sampling.sample_seed
        )
        if readers:
            return keep_readable(whole, readers, spec, self.progress)
        return replace(whole, records=tuple(draw_sample(whole.records, spec)))

    @staticmethod
    def _key(whole: Dataset, cell: Cell, readers: Sequence[Classifier]) -> str:
        asked = [
            dataset_digest(whole),
            sorted(reader.fingerprint for reader in readers),
            cell.sampling.per_class,
            cell.sampling.sample_seed,
            cell.limit,
        ]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:24]
