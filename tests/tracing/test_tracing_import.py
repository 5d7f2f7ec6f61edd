"""Tracing needs originals and arithmetic, no network."""

from __future__ import annotations

import subprocess
import sys


def test_tracing_needs_none_of_the_heavy_packages() -> None:
    heavy = ("torch", "mlflow", "timm", "onnxruntime")
    code = f"import sys, medlocker.tracing; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
