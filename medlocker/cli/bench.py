"""`medlocker bench`: how fast this machine is, as ratios."""

from __future__ import annotations

from collections.abc import Callable

import click

from medlocker.benching.comparing import BenchResult
from medlocker.cli.base import CommaList, F, LazyGroup, json_option, option, print_json
from medlocker.cli.loading import ZooLoader, chosen_device
from medlocker.errors import ModelError
from medlocker.fitness import Ensemble
from medlocker_zoo.classifier import TorchClassifier
from medlocker_zoo.registry import list_networks
from medlocker_zoo.resolve import demo_weights
from medlocker_zoo.storage import untrained_classifier

VERBS = {
    "search": "medlocker.cli.bench:search",
}


@click.group(cls=LazyGroup, verbs=VERBS)
def bench() -> None:
    """Measure this machine; each benchmark compares two sides in turns and prints the ratio of their rates.

    Images are synthetic. A network without weights is measured with random ones: speed does not depend on them.
    """


def bench_options(default: str) -> Callable[[F], F]:
    """Options of every benchmark that runs networks."""

    def add(function: F) -> F:
        for each in (
            json_option,
            option("--device", help="Where the networks run.  [default: cuda where there is one]"),
            option("--seconds", type=click.FloatRange(0), default=30.0, help="About how long to measure."),
            option("--network", type=CommaList(), default=default, help="Networks of the zoo or weights files."),
        ):
            function = each(function)
        return function

    return add


def bench_ensemble(references: tuple[str, ...], device: str | None) -> Ensemble:
    """The networks to measure, with random weights where the zoo ships none.

    Raises:
        ModelError: neither a network of the zoo nor a weights file.
    """
    loader = ZooLoader(device)
    if not references:
        raise ModelError("no network was named", fix="name one with --network")
    return Ensemble([_member(reference, loader) for reference in references])


def _member(reference: str, loader: ZooLoader) -> TorchClassifier:
    if reference in list_networks() and demo_weights(reference) is None:
        return untrained_classifier(reference, chosen_device(loader.asked))
    (member,) = loader.sources([reference])
    assert isinstance(member, TorchClassifier)
    return member


def tell(result: BenchResult, as_json: bool) -> None:
    """Print a result."""
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    low, high = result.spread[0], result.spread[3]
    click.echo(f"{result.benchmark}: {result.ratio:.3f} ({low:.3f} to {high:.3f} over {result.n}): {result.meaning}.")
    for name, value in result.details.items():
        click.echo(f"  {name.replace('_', ' ')}: {value}")


@click.command()
@bench_options("tf_mobilenetv3_small_100")
@option("--images", type=click.IntRange(1), default=4, help="Photographs of one job.")
@option("--side", type=click.IntRange(96, 2048), default=512, help="Side of a photograph, px.")
def search(network: tuple[str, ...], seconds: float, device: str | None, images: int, side: int, as_json: bool) -> None:
    """The whole of a protect job against the bare forward pass of its networks."""
    from medlocker.benching.searching import bench_search

    ensemble = bench_ensemble(network, device)
    tell(bench_search(ensemble, seconds, images=images, side=side), as_json)
