"""A folder in which the commands of a page run: synthetic eyes, the demo's networks, a fresh tracking store."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_quick import quick_commands
from docs_sandbox import FAST, ROOT, Sandbox, environment_of

from medlocker.datasets.synthetic import write_synthetic_dataset


@pytest.fixture(scope="session")
def commands() -> Iterator[Path]:
    """A folder with quick `medlocker`, `mlflow` and `python`."""
    with tempfile.TemporaryDirectory(prefix="docs-") as name:
        path = os.pathsep.join(str(ROOT / part) for part in (".", "model_zoo", "plugins"))
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "MEDLOCKER_"))}
        with quick_commands(Path(name) / "bin", kept | FAST | {"PYTHONPATH": path}) as folder:
            yield folder


@pytest.fixture(scope="session")
def kit(commands: Path, empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What most pages begin with, made once: `eyes`, an owner, and a release of them."""
    folder = tmp_path_factory.mktemp("kit")
    for split, per_grade in (("train", 4), ("test", 2)):
        write_synthetic_dataset(folder / "eyes", per_grade=per_grade, seed=7, split=split)
    sandbox = Sandbox(folder, environment_of(commands, folder, folder))
    shutil.copy(empty_database, folder / "mlflow.db")
    sandbox.shell(
        "medlocker identity new --owner --out owner.txt\n"
        "medlocker protect --data eyes --out release --owner owner.txt --sources demo_resnet --targets demo_darknet"
    )
    return folder


@pytest.fixture
def sandbox(commands: Path, kit: Path, empty_database: Path, tmp_path: Path) -> Sandbox:
    """A copy of the project's folder as a user stands in it, with `eyes` beside."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in ("MLproject", "conda.yaml", "medlocker", "model_zoo", "plugins"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(kit / "eyes", folder / "eyes")
    shutil.copy(empty_database, folder / "mlflow.db")
    return Sandbox(folder, environment_of(commands, kit, folder))
