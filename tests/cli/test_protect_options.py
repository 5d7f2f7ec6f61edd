"""Which search the options of protect mean."""

from __future__ import annotations

from collections import defaultdict

import pytest

from medlocker.cli.protect import protect_settings
from medlocker.search import SearchSettings


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"profile": "paper"}, SearchSettings()),
        ({"profile": "fast"}, SearchSettings(name="surrogate", population=20)),
        ({"profile": "fast", "search": "basin_hopping"}, SearchSettings(population=20)),
        ({"profile": "paper", "search": "surrogate", "budget": 90}, SearchSettings(name="surrogate", budget=90)),
    ],
)
def test_the_profile_chooses_the_search_unless_one_is_named(given, expected):
    options = defaultdict(lambda: None, {"seed": 0} | given)
    assert protect_settings(options).search == expected
