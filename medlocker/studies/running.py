"""Cells become readings: a release is made or continued, measured, and kept under a name made from what decides it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medlocker.blending import Logo, load_logo
from medlocker.datasets import Dataset
from medlocker.jobs.masking import decisive_masks, draw_masks, masked
from medlocker.jobs.measuring import measure_release
from medlocker.jobs.networks import JobNetworks
from medlocker.jobs.progress import Progress
from medlocker.jobs.publishing import success_metrics
from medlocker.jobs.tables import asr_rows
from medlocker.keys import Identity
from medlocker.protecting import Observer, Protection, decisive_settings, protect
from medlocker.release import ReleaseImage
from medlocker.segmenting import Segmenter
from medlocker.studies.cells import Cell
from medlocker.studies.networks import StudyNetworks
from medlocker.studies.results import CellReadings
from medlocker.studies.sampling import StudyImages
from medlocker.tracking import Tracker
from medlocker.transfer import success_table
from medlocker.workspace import Workspace

CELLS = "cells"
KEY_DIGITS = 20


class ParentTracker(Tracker, Protocol):
    """A tracker that can begin runs below its own."""

    def child_run(self, name: str) -> AbstractContextManager[Tracker]:
        """A nested run."""
        ...


@dataclass(frozen=True, eq=False)
class Study:
    """Where a study's cells find what they need.

    Attributes:
        networks: loads them.
        images: draws them.
        out: the study's folder.
        owner: whose vaults the releases are sealed into.
        base: folder that logos of the plan count from.
    """

    networks: StudyNetworks
    images: StudyImages
    out: Path
    owner: Identity
    base: Path


@dataclass(frozen=True, eq=False)
class Prepared:
    """A cell with everything loaded that decides its release.

    Attributes:
        cell: what was asked for.
        dataset: its images, with the masks that count.
        networks: its sources and targets.
        logo: its mark.
        segmenter: draws the masks; None for given ones.
        decisive: all that decides the release.
        folder: of the release.
    """

    cell: Cell
    dataset: Dataset
    networks: JobNetworks
    logo: Logo
    segmenter: Segmenter | None
    decisive: dict[str, object]
    folder: Path

    @property
    def owner_dir(self) -> Path:
        """The owner's folder of the release."""
        return self.folder / "owner"


def run_cells(
    study: Study, cells: Sequence[Cell], tracker: ParentTracker, progress: Progress
) -> list[tuple[Cell, CellReadings]]:
    """Work through cells in order; those that an earlier run finished, in this table or another, are read.

    Args:
        study: networks, images, folders.
        cells: what to run.
        tracker: gets a child run for every cell that is worked on.
        progress: shows it.

    Returns:
        Every cell with its readings.

    Raises:
        MedLockerError: a cell cannot be run; finished ones stay.
    """
    results = []
    for number, cell in enumerate(cells, start=1):
        prepared = prepare(study, cell, progress)
        path = prepared.folder / f"{_measured_key(prepared)}.json"
        found = CellReadings.load(path)
        state = "kept" if found else "runs"
        progress.say(f"cell {number} of {len(cells)} ({state}): {cell.name}, {len(prepared.dataset.records)} images")
        if found is None:
            with tracker.child_run(cell.name) as child:
                found = run_cell(study, prepared, child, progress)
                found.save(path)
                child.artifact(path, "readings")
        results.append((cell, found))
    return results


def prepare(study: Study, cell: Cell, progress: Progress) -> Prepared:
    """Load what decides a cell's release, and name its folder after it."""
    networks = study.networks.job(cell.source, cell.targets)
    dataset = study.images.of(cell, study.networks)
    logo = load_logo(study.base / cell.logo if cell.logo else None)
    mark = cell.settings.mark
    drawn = study.networks.plan.segmenter if cell.masks == "predicted" and mark.placement != "anywhere" else None
    segmenter = study.networks.segmenter(drawn) if drawn else None
    decisive = decisive_settings(dataset, networks.ensemble(), logo, cell.settings)
    decisive |= decisive_masks(dataset, mark, segmenter)
    folder = study.out / CELLS / _digest(decisive)
    return Prepared(
        cell,
        masked(dataset, segmenter, folder / "owner", mark, progress),
        networks,
        logo,
        segmenter,
        decisive,
        folder,
    )


def _digest(values: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]


def _measured_key(prepared: Prepared) -> str:
    networks = prepared.networks
    return _digest(
        {
            "targets": [[target.name, target.fingerprint] for target in networks.targets()],
            "mixtures": [[m.name, list(m.members), [repr(w) for w in m.weights or ()]] for m in networks.mixtures],
            "baselines": list(prepared.cell.baselines),
        }
    )


def run_cell(study: Study, prepared: Prepared, tracker: Tracker, progress: Progress) -> CellReadings:
    """Make or continue the release of a cell, and measure it.

    Args:
        study: networks, folders, owner.
        prepared: from `prepare`.
        tracker: of the cell's own run.
        progress: shows it.
    """
    cell, settings = prepared.cell, prepared.cell.settings
    tracker.settings(prepared.decisive | {f"cell.{key}": value for key, value in cell.labels.items()})
    tracker.dataset(prepared.dataset, "protect")
    workspace = Workspace.start_or_resume(
        prepared.folder / "release", prepared.owner_dir, study.owner, prepared.decisive, {}
    )
    if prepared.segmenter is not None:
        draw_masks(prepared.dataset, prepared.segmenter, prepared.owner_dir, progress)
    started = time.perf_counter()
    protection = _locked(prepared, workspace, study.owner, progress)
    seconds = time.perf_counter() - started
    measured = measure_release(
        workspace, prepared.dataset, prepared.logo, prepared.networks, settings, cell.baselines, progress
    )
    table = success_table(measured.readings)
    tracker.metrics(success_metrics(table))
    tracker.table("attack_success", asr_rows(table))
    return CellReadings.of(measured, protection, prepared.dataset.class_names, seconds)


def _locked(prepared: Prepared, workspace: Workspace, owner: Identity, progress: Progress) -> Protection:
    with progress.stage("Locking images", len(prepared.dataset.records)) as advance:

        def on_image(_done: int, _total: int, _public: ReleaseImage | None) -> None:
            advance(1)

        return protect(
            prepared.dataset,
            prepared.networks.ensemble(),
            prepared.logo,
            prepared.cell.settings,
            workspace,
            owner,
            Observer(on_image=on_image, on_note=progress.say),
        )
