"""A release that a test may damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from example_release import Example, make_example


@pytest.fixture
def example(tmp_path: Path) -> Example:
    """Four locked images, their vault and a key."""
    return make_example(tmp_path)
