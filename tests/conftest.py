"""Shared set-up: fakes importable as `fakes`, one thread for small networks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="session")
def _few_threads() -> None:
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking store with its schema made, to be copied: making one takes seconds."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    # The default experiment's artifacts go below the folder in which the schema is made.
    here = Path.cwd()
    os.chdir(path.parent)
    from mlflow import MlflowClient

    from medlocker_mlflow.store import quieten

    quieten()
    MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)
    os.chdir(here)
    return path
