"""Documents refuse what cannot be meant."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from medlocker.keys.documents import UtcTime


def test_a_time_outside_the_calendar_is_refused_and_not_a_crash():
    with pytest.raises(ValidationError, match="out of range"):
        TypeAdapter(UtcTime).validate_json('"0001-01-01T00:00:00+23:59"')


def test_times_are_kept_in_utc():
    moment = TypeAdapter(UtcTime).validate_json('"2026-11-23T12:00:00+02:00"')
    assert moment.isoformat() == "2026-11-23T10:00:00+00:00"
