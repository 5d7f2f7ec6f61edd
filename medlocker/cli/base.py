"""What every verb shares: lazy loading, errors on one line, options that may be empty."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import BaseModel, ValidationError

from medlocker.errors import MedLockerError, SettingsError

M = TypeVar("M", bound=BaseModel)
F = TypeVar("F", bound=Callable[..., Any])

EXIT_FAILED = 1
EXIT_USAGE = 2


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed; prints MedLocker's errors without a trace."""

    def __init__(self, *args: Any, verbs: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {}).setdefault("auto_envvar_prefix", "MEDLOCKER")
        super().__init__(*args, **kwargs)
        self._verbs = dict(verbs or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order of use."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        if cmd_name not in self._verbs:
            return None
        module, attribute = self._verbs[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; a MedLocker error becomes one message and an exit code."""
        try:
            return super().invoke(ctx)
        except MedLockerError as error:
            if ctx.params.get("verbose"):
                raise
            click.echo(f"Error: {error}", err=True)
            ctx.exit(EXIT_USAGE if isinstance(error, SettingsError) else EXIT_FAILED)


class EmptyIsAbsent(click.Option):
    """An option whose empty value counts as not given, as MLproject parameters are passed."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, click.core.ParameterSource]:
        """Leave out empty values before click converts them."""
        value = opts.get(self.name or "")
        if value == "" or (isinstance(value, list | tuple) and value and all(v == "" for v in value)):
            opts = {key: kept for key, kept in opts.items() if key != self.name}
        return super().consume_value(ctx, opts)


def option(*declarations: str, **attributes: Any) -> Callable[[F], F]:
    """`click.option` with its default shown, for which an empty value counts as absent."""
    attributes.setdefault("show_default", True)
    return click.option(*declarations, cls=EmptyIsAbsent, **attributes)


class CommaList(click.ParamType[tuple[str, ...]]):
    """Comma-separated words; an entry of a fixed set where one is given."""

    name = "a,b,…"

    def __init__(self, choices: tuple[str, ...] = ()) -> None:
        self.choices = choices

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Split and check."""
        if isinstance(value, tuple):
            return value
        words = tuple(word.strip() for word in str(value).split(",") if word.strip())
        for word in words:
            if self.choices and word not in self.choices:
                self.fail(f"{word!r} is not one of {', '.join(self.choices)}.", param, ctx)
        return words


class ColumnValue(click.ParamType[tuple[tuple[str, str], ...]]):
    """COLUMN=VALUE pairs, comma-separated."""

    name = "column=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[str, str], ...]:
        """Split and check."""
        if isinstance(value, tuple):
            return value
        pairs = []
        for entry in str(value).split(","):
            column, equals, wanted = entry.partition("=")
            if not equals or not column.strip():
                self.fail(f"{entry!r} is not COLUMN=VALUE, e.g. split=test.", param, ctx)
            pairs.append((column.strip(), wanted.strip()))
        return tuple(pairs)


PATH = click.Path(path_type=Path)


def checked(model: type[M], **values: Any) -> M:
    """Build a settings model from options that were given; a bad value names its option.

    Raises:
        SettingsError: a value is not valid.
    """
    try:
        return model(**{key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = "--" + "-".join(str(part) for part in first["loc"]).replace("_", "-") if first["loc"] else "options"
        raise SettingsError(f"{where}: {first['msg']}", why=f"{first['input']!r} was given") from error


def changed(settings: BaseModel, flag: str, changes: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The values of a settings model with some replaced, to be checked again.

    Args:
        settings: to start from; not changed.
        flag: the option the changes came from, for messages.
        changes: (name, value); a dot leads into a part of the settings, `none` is None.

    Raises:
        SettingsError: the settings have no such part.
    """
    values = settings.model_dump()
    for name, value in changes:
        within, _, last = name.rpartition(".")
        place = values.get(within) if within else values
        if not isinstance(place, dict):
            raise SettingsError(f"{flag} {name}: no such part", fix=f"choose from {', '.join(values)}")
        place[last] = None if value == "none" else value
    return values


def print_json(values: Mapping[str, object]) -> None:
    """One JSON object on standard output."""
    json.dump(values, sys.stdout, indent=2, default=str, allow_nan=False)
    sys.stdout.write("\n")


def json_option(function: F) -> F:
    """`--json`: one JSON object on standard output and nothing else there."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(function)


def tracking_options(function: F) -> F:
    """Where the run is recorded."""
    for add in (
        option("--experiment", help="MLflow experiment of the run.", default="medlocker"),
        option("--tracking-uri", help="MLflow tracking store (default: MLFLOW_TRACKING_URI, else ./mlflow.db)."),
        option(
            "--offline", type=PATH, help="Record the run in this folder instead; medlocker runs merge brings it in."
        ),
    ):
        function = add(function)
    return function


def register_options(function: F) -> F:
    """Whether the model becomes a registered version."""
    for add in (
        option("--register", help="Register the model under this name in MLflow's model registry."),
        option("--alias", help="Alias for the new version, e.g. champion; it moves here from an earlier version."),
    ):
        function = add(function)
    return function


def tracking(options: Mapping[str, Any]) -> dict[str, Any]:
    """Where the run is recorded, as `tracked_run` takes it."""
    return {name: options[name] for name in ("experiment", "tracking_uri", "offline")}
