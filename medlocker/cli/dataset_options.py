"""The options that describe a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from medlocker.cli.base import PATH, ColumnValue, checked, option
from medlocker.datasets import DatasetSpec
from medlocker.datasets.base import Layout, OnError

F = TypeVar("F", bound=Any)

OPTIONS = (
    option("--layout", type=click.Choice(get_args(Layout)), default="auto", help="How the data set is laid out."),
    option("--labels", type=PATH, help="CSV with file names and labels."),
    option("--id-column", help="Column with file names."),
    option("--label-column", help="Column with labels."),
    option("--where", type=ColumnValue(), help="Only rows with these values, e.g. split=test."),
    option("--masks", type=PATH, help="Lesion masks: a folder a lesion type, or a CSV with a column a type."),
    option("--limit", type=click.IntRange(1), help="Only the first N images."),
    option("--per-class", type=click.IntRange(1), help="At most N images of each class, drawn by the seed."),
    option(
        "--on-error", type=click.Choice(get_args(OnError)), default="stop", help="What unusable files do to the job."
    ),
)


def dataset_options(function: F) -> F:
    """Add the options; `dataset_spec` reads them."""
    for add in reversed(OPTIONS):
        function = add(function)
    return function


def dataset_spec(root: Path, seed: int, **options: Any) -> DatasetSpec:
    """The data set a user described.

    Args:
        root: its folder.
        seed: of the draw of `--per-class`.
        options: those added by `dataset_options`.
    """
    return checked(DatasetSpec, root=root, seed=seed, **options)
