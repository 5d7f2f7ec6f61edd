from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import mlflow
import pytest
from mlflow_store import Store

from medlocker.datasets import dataset_digest
from medlocker.datasets.base import Dataset, Problem, Record
from medlocker_mlflow.datasets import ImageFolderSource, LoggedImages
from medlocker_mlflow.runs import tracked_run


def _dataset(root: Path, labels: tuple[int | None, ...] = (0, 1, 1)) -> Dataset:
    records = tuple(
        Record(f"eye{i}", root / f"eye{i}.png", PurePosixPath(f"eye{i}.png"), label, f"{i:064x}")
        for i, label in enumerate(labels)
    )
    problem = Problem(root / "bad.png", "empty", "bad.png is empty")
    return Dataset("eyes", root, "csv", records, ("healthy", "ill"), (problem,))


def test_the_digest_is_the_start_of_the_library_s_own_and_fits_mlflow(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path)
    assert dataset_digest(dataset).startswith(LoggedImages(dataset).digest)
    assert 16 <= len(LoggedImages(dataset).digest) <= 36
    assert LoggedImages(dataset).digest != LoggedImages(_dataset(tmp_path, (1, 1, 1))).digest


def test_the_profile_counts_images_classes_and_files_left_out(tmp_path: Path) -> None:
    assert LoggedImages(_dataset(tmp_path)).profile == {
        "images": 3,
        "labelled": True,
        "classes": {"healthy": 1, "ill": 2},
        "with_lesion_masks": 0,
        "left_out": {"empty": 1},
    }


def test_an_unlabelled_data_set_has_no_label_column(tmp_path: Path) -> None:
    unlabelled = LoggedImages(replace(_dataset(tmp_path, (None,)), class_names=()))
    assert unlabelled.schema.input_names() == ["id", "image"]
    assert LoggedImages(_dataset(tmp_path)).schema.input_names() == ["id", "image", "label"]


def test_runs_are_found_by_the_digest_of_their_data(store: Store, tmp_path: Path) -> None:
    dataset = _dataset(tmp_path)
    for labels in ((0, 1, 1), (1, 1, 1)):
        with tracked_run("run", experiment="e", tracking_uri=None, verb="protect") as tracker:
            tracker.dataset(_dataset(tmp_path, labels), "protect")
    digest = LoggedImages(dataset).digest
    found = mlflow.search_runs(
        experiment_names=["e"], filter_string=f"datasets.digest = '{digest}'", output_format="list"
    )
    assert len(found) == 1
    (logged,) = found[0].inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("eyes", digest)
    assert {tag.key: tag.value for tag in logged.tags} == {"mlflow.data.context": "protect"}
    assert json.loads(logged.dataset.profile)["images"] == 3


def test_the_source_leads_back_to_the_folder(tmp_path: Path) -> None:
    source = ImageFolderSource.from_json(LoggedImages(_dataset(tmp_path)).source.to_json())
    assert source.load() == str(tmp_path)
    with pytest.raises(FileNotFoundError, match="not on this machine"):
        ImageFolderSource(str(tmp_path / "gone"), "csv").load()
