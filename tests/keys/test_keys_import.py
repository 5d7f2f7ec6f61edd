"""A recipient unlocks without torch, MLflow or the rest of the search."""

from __future__ import annotations

import subprocess
import sys


def test_unlocking_needs_none_of_the_heavy_packages() -> None:
    code = (
        "import sys, medlocker.keys; print([m for m in ('torch', 'mlflow', 'timm', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
