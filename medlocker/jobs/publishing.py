"""Turn a finished release into what people look at: metrics, tables, pictures, a report, a run's description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from medlocker.blending import Pixels, scaled_size
from medlocker.datasets import Dataset
from medlocker.imageio import read_image, write_atomic
from medlocker.jobs.describing import describe
from medlocker.jobs.measuring import Measured
from medlocker.jobs.tables import asr_rows, class_name, comparison_rows, grade_rows, image_rows
from medlocker.keys import Identity, decode_logo, read_vault
from medlocker.metrics import AttackSuccess
from medlocker.preprocessing import unit_channels
from medlocker.protecting import Protection
from medlocker.release import MANIFEST_NAME
from medlocker.reporting import ReportData, Sample, comparison_picture, write_report
from medlocker.tracking import Tracker
from medlocker.transfer import Readings, comparisons, grade_table, success_table
from medlocker.visibility import visibility_metrics
from medlocker.workspace import FinishedImage, Workspace

READINGS_NAME = "readings.json"
REPORT_NAME = "report.html"
SAMPLES = 24
"""Images on the report's contact sheet."""
PICTURES = 6
"""Comparison pictures logged to the tracker."""
PREFIXES = {"source": "asr/source", "target": "asr/transfer"}


@dataclass(frozen=True, eq=False)
class Finished:
    """A release with everything that was measured on it.

    Attributes:
        workspace: its folders.
        dataset: the originals.
        protection: manifest and images.
        measured: what every network read, and how visible the marks are.
        restored: (restored bit for bit, tried).
        owner: opens the vault, for the map of where marks landed.
    """

    workspace: Workspace
    dataset: Dataset
    protection: Protection
    measured: Measured
    restored: tuple[int, int]
    owner: Identity

    @property
    def readings(self) -> Readings:
        """What every network read."""
        return self.measured.readings


@dataclass(frozen=True, eq=False)
class Published:
    """What was made for people to look at.

    Attributes:
        report: the HTML page.
        metrics: as logged.
        attack_success: the table's cells.
        description: Markdown, outcome first.
    """

    report: Path
    metrics: dict[str, float]
    attack_success: tuple[AttackSuccess, ...]
    description: str


def publish(finished: Finished, pace: Mapping[str, float], tracker: Tracker) -> Published:
    """Write the report, log everything.

    Args:
        finished: the release and what was measured on it.
        pace: time metrics of this run.
        tracker: where it is logged.

    Returns:
        Report, metrics and description.
    """
    workspace, dataset, protection = finished.workspace, finished.dataset, finished.protection
    table = success_table(finished.readings)
    grades = grade_table(finished.readings, dataset.class_names)
    samples = _samples(finished)
    curve = mean_curve(protection.images)
    models = workspace.job.context.get("models", [])
    report = workspace.owner_dir / REPORT_NAME
    write_report(
        report,
        ReportData(
            title=f"MedLocker release of {dataset.name}",
            manifest=protection.manifest,
            settings=workspace.job.settings | ({"networks": models} if models else {}),
            samples=samples,
            attack_success=table,
            by_grade=grades,
            labelled=dataset.labelled,
            clean_confidences=[i.public.clean_confidence for i in protection.images],
            final_confidences=[i.public.final_confidence for i in protection.images],
            footprints=_footprints(finished),
            curve=curve,
            unlock_check=finished.restored,
        ),
    )
    write_atomic(workspace.owner_dir / READINGS_NAME, (finished.readings.model_dump_json(indent=1) + "\n").encode())
    visible = visibility_metrics(finished.measured.visible)
    metrics = {**success_metrics(table), **outcome_metrics(protection, finished.restored), **visible, **pace}
    words = describe(dataset, protection, table, finished.restored, metrics, models)
    published = Published(report, metrics, table, words)
    _track_numbers(tracker, finished, published, curve)
    _track_files(tracker, finished, published, samples)
    return published


def success_metrics(table: Sequence[AttackSuccess]) -> dict[str, float]:
    """Attack success as flat metrics; the vocabulary is in docs/mlflow.md."""
    metrics: dict[str, float] = {}
    for cell in table:
        if not cell.proportion.n:
            continue
        name = f"{PREFIXES[cell.role]}/{cell.network}"
        if cell.method != "searched":
            name = f"asr/baseline/{cell.method}/{cell.network}"
        if cell.basis == "common":
            name = name.replace("asr/", "asr_common/", 1)
        if cell.condition == "source_fooled":
            name = name.replace("/", "_given_fooled/", 1)
        low, high = cell.proportion.interval
        metrics |= {name: cell.proportion.rate, f"{name}/lo": low, f"{name}/hi": high, f"{name}/n": cell.proportion.n}
    return metrics


def outcome_metrics(protection: Protection, restored: tuple[int, int]) -> dict[str, float]:
    """What happened to the images, as flat metrics."""
    images = [i.public for i in protection.images]
    counts = {f"images/{o}": sum(i.outcome == o for i in images) for o in ("fooled", "not_fooled", "clean_misread")}
    metrics: dict[str, float] = {
        **counts,
        "images/released": len(images),
        "images/infeasible": len(protection.infeasible),
        "images/shrunk": len(protection.shrunk),
        "unlock/restored": restored[0],
        "unlock/tried": restored[1],
    }
    if images:
        metrics |= {
            "confidence/clean_mean": float(np.mean([i.clean_confidence for i in images])),
            "confidence/final_mean": float(np.mean([i.final_confidence for i in images])),
            "cost/queries_mean": float(np.mean([i.queries for i in images])),
            "cost/queries_total": sum(i.queries for i in images),
            "packet/share": sum(i.packet_bytes for i in images) / sum(i.file_bytes for i in images),
        }
    return metrics


def mean_curve(images: Sequence[FinishedImage]) -> list[float]:
    """Mean lowest confidence after each generation; an image that stopped early keeps its last value."""
    length = max((len(i.curve) for i in images), default=0)
    padded = [[*i.curve, *[i.curve[-1]] * (length - len(i.curve))] for i in images if i.curve]
    return [float(v) for v in np.mean(padded, axis=0)] if padded else []


def _samples(finished: Finished) -> list[Sample]:
    """Images spread evenly over the release, the same ones for every run of the same data."""
    records = {r.id: r for r in finished.dataset.records}
    images = finished.protection.images
    picks = sorted({round(i) for i in np.linspace(0, len(images) - 1, min(SAMPLES, len(images)))}) if images else []
    return [
        Sample(
            image.public.id,
            class_name(finished.dataset.class_names, image.label),
            image.public.outcome,
            _display(read_image(records[image.public.id].path).pixels),
            _display(read_image(finished.workspace.release / image.public.file).pixels),
            image.public.clean_confidence,
            image.public.final_confidence,
        )
        for image in (images[i] for i in picks)
    ]


def _display(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Stored pixels as a screen shows them: (H, W, 3) uint8."""
    return (unit_channels(pixels) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _footprints(finished: Finished) -> list[tuple[float, float, float, float]]:
    vault = read_vault(finished.workspace.vault_path, finished.owner)
    logo = decode_logo(vault)
    boxes = []
    for image in vault.images:
        height, width = image.shape[:2]
        mark = scaled_size((width, height), logo.size, image.logo_scale)
        boxes.append((image.x / width, image.y / height, mark[0] / width, mark[1] / height))
    return boxes


def _track_numbers(tracker: Tracker, finished: Finished, published: Published, curve: Sequence[float]) -> None:
    readings, dataset = finished.readings, finished.dataset
    tracker.metrics(published.metrics)
    for generation, value in enumerate(curve):
        tracker.metrics({"search/confidence_mean": value}, generation)
    tracker.tags(
        {
            "medlocker.release_id": finished.protection.manifest.release_id,
            "medlocker.runtimes": ", ".join(f"{n.name}: {n.runtime}" for n in readings.networks),
        }
    )
    tracker.table("images", image_rows(finished.protection, finished.measured, dataset.class_names))
    tracker.table("attack_success", asr_rows(published.attack_success))
    tracker.table("attack_success_by_grade", grade_rows(grade_table(readings, dataset.class_names)))
    if compared := comparison_rows(comparisons(readings)):
        tracker.table("search_against_baselines", compared)
    tracker.describe(published.description)


def _track_files(tracker: Tracker, finished: Finished, published: Published, samples: Sequence[Sample]) -> None:
    workspace = finished.workspace
    for sample in samples[:: max(1, len(samples) // PICTURES)][:PICTURES]:
        tracker.picture(f"samples/{sample.id}", comparison_picture(sample))
    for path in (workspace.release / MANIFEST_NAME, published.report, workspace.owner_dir / READINGS_NAME):
        tracker.artifact(path, "release")
    tracker.artifact(workspace.vault_path, "vault")
