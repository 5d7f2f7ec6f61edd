"""Show in MLflow's registry what a ledger has recorded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from medlocker.cli.base import F, option
from medlocker.errors import TrackingError
from medlocker.keys.recording import OwnerLedger

if TYPE_CHECKING:
    from medlocker_mlflow.mirror_audit import Divergence


def mirror_option(function: F) -> F:
    """`--mlflow`."""
    return option(
        "--mlflow", "mirror", help="MLflow store to show the key version in.  [default: MLFLOW_TRACKING_URI, else none]"
    )(function)


def mirror_after(ledger: OwnerLedger, uri: str | None) -> None:
    """Bring the registry up to date after an event, where a store is configured.

    The ledger is the record and is written already: a store that cannot be reached is told of, and is no failure.
    """
    store = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not store:
        return
    from medlocker_mlflow.mirror import mirror_ledger

    try:
        done = mirror_ledger(ledger.path, ledger.owner.public_keys, store)
    except TrackingError as error:
        click.echo(
            f"Warning: this is recorded, but MLflow does not show it: {error} Repeat with medlocker audit mirror.",
            err=True,
        )
        return
    for one in done.mended:
        click.echo(f"Warning: MLflow's registry had been changed, and was put right: {divergence_line(one)}", err=True)


def divergence_line(one: Divergence) -> str:
    """A difference between ledger and registry on one line."""
    return f"{one.model}{f'/{one.version}' if one.version else ''}: {one.kind}: {one.message}"
