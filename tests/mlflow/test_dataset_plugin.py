from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
from example_release import make_example
from mlflow_store import Store
from PIL import Image

from medlocker.datasets import DatasetSpec, dataset_digest, open_dataset
from medlocker.errors import DatasetError, ReleaseError, SettingsError
from medlocker_mlflow.dataset_plugin import ReleaseSource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "eyes"
    root.mkdir()
    for number in range(3):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(root / f"{number}.png")
    (root / "labels.csv").write_text("file,grade,split\n0.png,0,train\n1.png,1,test\n2.png,0,test\n")
    return root


def _logged(data, store: Store):
    with mlflow.start_run() as run:
        mlflow.log_input(data, context="test")
    return store.client.get_run(run.info.run_id)


def _found(digest: str) -> list[str]:
    runs = mlflow.search_runs(
        search_all_experiments=True, filter_string=f"datasets.digest = '{digest}'", output_format="list"
    )
    return [run.info.run_id for run in runs]


def test_a_folder_is_found_again_by_its_digest_and_leads_back_to_itself(store: Store, folder: Path) -> None:
    data = mlflow.data.from_image_folder(folder)
    run = _logged(data, store)
    assert dataset_digest(open_dataset(DatasetSpec(root=folder))).startswith(data.digest)
    assert len(data.digest) <= 36
    assert _found(data.digest) == [run.info.run_id]
    assert _found("0" * 32) == []
    (logged,) = run.inputs.dataset_inputs
    assert mlflow.data.get_source(logged).load() == str(folder)
    assert json.loads(logged.dataset.profile)["classes"] == {"0": 2, "1": 1}
    columns = json.loads(logged.dataset.schema)["mlflow_colspec"]
    assert [column["name"] for column in columns] == ["id", "image", "label"]


def test_options_are_those_of_the_library(folder: Path) -> None:
    data = mlflow.data.from_image_folder(str(folder), name="held out", digest="mine", where=(("split", "test"),))
    assert (data.name, data.digest, data.profile["images"]) == ("held out", "mine", 2)
    assert data.frame.to_dict("list") == {
        "id": ["1", "2"],
        "path": [str(folder / "1.png"), str(folder / "2.png")],
        "label": [1, 0],
    }
    with pytest.raises(SettingsError, match=r"split: Extra inputs.*where"):
        mlflow.data.from_image_folder(folder, split="test")
    with pytest.raises(DatasetError):
        mlflow.data.from_image_folder(folder / "nothing")


def test_a_release_is_found_again_by_its_marked_pixels(store: Store, tmp_path: Path) -> None:
    example = make_example(tmp_path)
    data = mlflow.data.from_medlocker_release(example.folder)
    run = _logged(data, store)
    assert len(data.digest) <= 36
    assert _found(data.digest) == [run.info.run_id]
    (logged,) = run.inputs.dataset_inputs
    assert mlflow.data.get_source(logged).load() == str(example.folder)
    profile = json.loads(logged.dataset.profile)
    assert profile["release_id"] == example.manifest.release_id
    assert (profile["images"], profile["outcomes"]) == (4, {"fooled": 4})
    other = make_example(tmp_path / "other", seed=1)
    assert mlflow.data.from_medlocker_release(other.folder).digest != data.digest


def test_a_release_source_refuses_another_release_in_its_place(tmp_path: Path) -> None:
    first = make_example(tmp_path)
    source = ReleaseSource.from_dict(ReleaseSource(str(first.folder), first.manifest.release_id).to_dict())
    manifest = first.folder / "release.json"
    manifest.write_text(manifest.read_text().replace(first.manifest.release_id, "cd" * 16))
    with pytest.raises(ReleaseError, match=f"the run is about {first.manifest.release_id}"):
        source.load()
    manifest.unlink()
    with pytest.raises(FileNotFoundError, match="holds no release"):
        source.load()


def test_a_folder_that_is_no_release_is_refused(folder: Path) -> None:
    with pytest.raises(ReleaseError, match="not a finished release"):
        mlflow.data.from_medlocker_release(folder)


IMPORTS = {
    "mlflow first": "import mlflow",
    "the plugin first": "import medlocker_mlflow.datasets, mlflow",
}


@pytest.mark.slow
@pytest.mark.parametrize("statement", IMPORTS.values(), ids=IMPORTS)
def test_whatever_is_imported_first_the_constructors_are_there_without_a_warning(statement: str) -> None:
    """MLflow loads the entry points in the middle of its own import, which must not meet a half-made module."""
    checks = "assert mlflow.data.from_image_folder and mlflow.data.from_medlocker_release"
    code = f"import sys; {statement}; {checks}"
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], check=True, timeout=120)


@pytest.mark.slow
def test_importing_mlflow_loads_neither_the_library_nor_torch() -> None:
    code = "import sys, mlflow; assert not {'medlocker', 'torch', 'cv2'} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
