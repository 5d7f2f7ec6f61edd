"""`medlocker networks`: what the model zoo knows."""

from __future__ import annotations

import click

from medlocker.cli.base import json_option, print_json
from medlocker_zoo.registry import get_card, list_networks
from medlocker_zoo.resolve import demo_weights


@click.command()
@click.argument("pattern", default="*")
@json_option
def networks(pattern: str, as_json: bool) -> None:
    """List the networks of the model zoo; PATTERN may hold * and ?.

    Those with weights can be named as sources and targets; the others are trained with medlocker train.
    """
    rows = {
        name: {"input_size": get_card(name).preprocessing.input_size, "weights": demo_weights(name) is not None}
        for name in list_networks(pattern)
    }
    if as_json:
        print_json(rows)
        return
    for name, row in rows.items():
        click.echo(f"{name:28} {row['input_size']:>4} px  {'weights shipped' if row['weights'] else 'to be trained'}")
