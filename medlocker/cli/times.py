"""Times and durations as users write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "y": timedelta(days=365)}


def present() -> datetime:
    """Now, UTC."""
    return datetime.now(UTC)


class Moment(click.ParamType[datetime]):
    """A date or time by ISO 8601; UTC where it names no zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parse."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time such as 2026-01-31 or 2026-01-31T12:00:00+01:00.", param, ctx)


class Duration(click.ParamType[timedelta]):
    """Hours, days, weeks or years: 12h, 90d, 6w, 1y."""

    name = "90d"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Parse."""
        if isinstance(value, timedelta):
            return value
        matched = re.fullmatch(r"(\d{1,5})([hdwy])", str(value))
        if matched is None or not int(matched[1]):
            self.fail(f"{value!r} is not a duration such as 12h, 90d, 6w or 1y.", param, ctx)
        return int(matched[1]) * _UNITS[matched[2]]


class Expiry(click.ParamType[datetime]):
    """A moment, or a duration from now."""

    name = "time|90d"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parse."""
        if re.fullmatch(r"\d+[hdwy]", str(value)):
            return datetime.now(UTC).replace(microsecond=0) + Duration().convert(value, param, ctx)
        return Moment().convert(value, param, ctx)
