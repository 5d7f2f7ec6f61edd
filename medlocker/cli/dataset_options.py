"""The options that describe a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from medlocker.cli.base import PATH, ColumnValue, checked, option
from medlocker.datasets import Dataset, DatasetSpec, open_dataset
from medlocker.datasets.base import Layout, OnError
from medlocker.jobs.progress import Progress

F = TypeVar("F", bound=Any)

NAMES = ("layout", "labels", "id_column", "label_column", "where", "masks", "limit", "per_class", "on_error")
OPTIONS = (
    option("--layout", type=click.Choice(get_args(Layout)), default="auto", help="How the data set is laid out."),
    option("--labels", type=PATH, help="CSV with file names and labels."),
    option("--id-column", help="Column with file names."),
    option("--label-column", help="Column with labels."),
    option("--where", type=ColumnValue(), help="Only rows with these values, e.g. split=test."),
    option(
        "--masks",
        type=PATH,
        help="Lesion masks: a folder with one a lesion type (or one mask for all), or a CSV with a column a type.",
    ),
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


def described_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a verb's options that describe its data set."""
    return {name: options[name] for name in NAMES}


def open_described(root: Path, seed: int, described: Mapping[str, Any], progress: Progress) -> Dataset:
    """Open the data set a user described, with a word on each file that was left out.

    Args:
        root: its folder.
        seed: of the draw of `--per-class`.
        described: from `described_options`.
        progress: shows it.
    """
    with progress.stage(f"Reading {root}", None) as advance:
        dataset = open_dataset(
            dataset_spec(root, seed, **described),
            progress=lambda done, total: advance(1, f"{done} of {total}"),
            workers=2,
        )
    for problem in dataset.problems:
        progress.say(f"left out {problem.path}: {problem.reason}, {problem.detail}")
    return dataset
