"""A command line whose networks are known in closed form, and a small labelled data set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import LinearClassifier, bright_corner
from PIL import Image

from medlocker.cli import main


class FakeLoader:
    """Knows two sources and two targets."""

    origins = ()

    def __init__(self, *_: object) -> None:
        pass

    def pinned(self, references):
        return tuple(references)

    def sources(self, references):
        return [LinearClassifier(bright_corner(gain=0.02), bias=2.0, name=name) for name in references]

    def targets(self, references):
        return [LinearClassifier(bright_corner(gain=0.03), bias=3.0, name=name) for name in references]


class Shell:
    """Runs `medlocker` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: object, code: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(w) for w in words], prog_name="medlocker")
        assert result.exit_code == code, (result.output, result.exception)
        return result

    def json(self, *words: object, code: int = 0) -> dict:
        return json.loads(self(*words, "--json", code=code).stdout)


@pytest.fixture
def shell(tmp_path, monkeypatch, empty_database):
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    for module in ("protect", "transfer"):
        monkeypatch.setattr(f"medlocker.cli.{module}.ZooLoader", FakeLoader)
    write_images(tmp_path / "data")
    yield Shell(tmp_path)
    mlflow.set_tracking_uri("")


def write_images(folder: Path, count: int = 6) -> None:
    """Bright and dark squares: class 0 and class 1 of the fake networks."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    rows = ["file,grade,split"]
    for number in range(count):
        grade = number % 2
        level = (30, 90) if grade else (170, 255)
        Image.fromarray(rng.integers(*level, (48, 48, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{grade},{'test' if number < 4 else 'train'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
