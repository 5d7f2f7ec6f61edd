"""`medlocker train`: train a classifier of the model zoo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medlocker.allocator import keep_freed_memory
from medlocker.cli.base import PATH, ColumnValue, changed, checked, json_option, option, print_json, tracking_options
from medlocker.cli.dataset_options import dataset_options, described_options, open_described
from medlocker.cli.loading import DEMO, chosen_device
from medlocker.cli.progress import TerminalProgress
from medlocker.datasets import Dataset
from medlocker.datasets.synthetic import write_synthetic_dataset
from medlocker_mlflow.runs import tracked_run
from medlocker_zoo.labels import map_labels, parse_label_map
from medlocker_zoo.registry import Card, Recipe, get_card
from medlocker_zoo.storage import save_classifier
from medlocker_zoo.training import TrainResult, train_classifier

DEMO_TRAIN_PER_GRADE = 60


@click.command()
@click.argument("network")
@option("--data", required=True, help=f"Folder of the data set; '{DEMO}' for embedded synthetic images.")
@option("--out", type=PATH, required=True, help="Weights file to write (.safetensors).")
@dataset_options
@option("--test-data", type=PATH, help="Folder of the test part, measured once at the end.  [default: --data]")
@option("--test-where", type=ColumnValue(), help="Which rows are the test part, e.g. split=test.")
@option("--validation", type=click.FloatRange(0.01, 0.9), default=0.15, help="Share held out to choose the epoch.")
@option("--init", type=PATH, help="Weights to start from (.safetensors).")
@option("--imagenet", is_flag=True, help="Start from timm's ImageNet weights (needs the network).")
@option("--label-map", help="Merge classes, e.g. 'no DR=0;DR=1,2,3,4'.")
@option("--recipe", type=ColumnValue(), help="Recipe changes, e.g. learning_rate=5e-4,augmentation.rotation=180.")
@option("--epochs", type=click.IntRange(1), help="Instead of the recipe's.")
@option("--precision", type=click.Choice(("auto", "float32", "bfloat16")), default="auto", help="Of the arithmetic.")
@option("--checkpoints", type=PATH, help="Folder of checkpoints; a second run continues.  [default: OUT.checkpoints]")
@option("--device", help="Where to train.  [default: cuda where there is one]")
@option("--seed", type=click.IntRange(0), default=0, help="Of everything random.")
@tracking_options
@json_option
def train(network: str, data: str, out: Path, as_json: bool, **options: Any) -> None:
    """Train NETWORK on a labelled data set and save its weights.

    Classes are balanced, the epoch with the best quadratic kappa on held-out images is kept, and an interrupted
    training continues with the same command. See medlocker networks for names.
    """
    keep_freed_memory()
    progress = TerminalProgress()
    with tracked_run(
        f"train {network}", experiment=options["experiment"], tracking_uri=options["tracking_uri"], verb="train"
    ) as tracker:
        training, test = _datasets(data, out, options, progress)
        with progress.stage(f"Training {network}", None) as advance:
            result = train_classifier(
                adapted_card(network, options["recipe"] or ()),
                training,
                options["validation"],
                test=test,
                init=options["init"],
                imagenet=options["imagenet"],
                seed=options["seed"],
                epochs=options["epochs"],
                device=chosen_device(options["device"]),
                precision=options["precision"],
                checkpoint_dir=options["checkpoints"] or out.with_name(out.name + ".checkpoints"),
                tracker=tracker,
                progress=lambda phase, done, total, line: advance(0, f"{phase} {done} of {total} {line}".rstrip()),
            )
        save_classifier(out, result.classifier)
        tracker.artifact(out, "model")
        _tell(out, result, as_json)


def adapted_card(network: str, changes: tuple[tuple[str, str], ...]) -> Card:
    """A network's card with parts of its recipe replaced.

    Args:
        network: its registry name.
        changes: (name, value); a dot leads into the augmentation.

    Raises:
        ModelError: there is no such network.
        SettingsError: a name or value is not part of a recipe.
    """
    card = get_card(network)
    return card.model_copy(update={"recipe": checked(Recipe, **changed(card.recipe, "--recipe", changes))})


def _datasets(
    data: str, out: Path, options: dict[str, Any], progress: TerminalProgress
) -> tuple[Dataset, Dataset | None]:
    described = described_options(options)
    root = Path(data)
    if data == DEMO:
        root = out.with_name(out.name + ".data")
        write_synthetic_dataset(root, per_grade=DEMO_TRAIN_PER_GRADE, seed=1, split="train")
    training = _open(root, described, options, progress)
    if options["test_where"] is None and options["test_data"] is None:
        return training, None
    described["where"] = options["test_where"]
    return training, _open(
        options["test_data"] or root, described | {"limit": None, "per_class": None}, options, progress
    )


def _open(root: Path, described: dict[str, Any], options: dict[str, Any], progress: TerminalProgress) -> Dataset:
    dataset = open_described(root, options["seed"], described, progress)
    return map_labels(dataset, parse_label_map(options["label_map"])) if options["label_map"] else dataset


def _tell(out: Path, result: TrainResult, as_json: bool) -> None:
    measured = {"validation": result.validation, **({"test": result.test} if result.test else {})}
    if as_json:
        print_json(
            {
                "weights": str(out),
                "best_epoch": result.best_epoch,
                "precision": result.precision,
                "resumed": result.resumed,
                **{name: report.flat(name) for name, report in measured.items()},
            }
        )
        return
    for name, report in measured.items():
        click.echo(f"{name}: accuracy {report.accuracy}, quadratic kappa {report.kappa}")
    click.echo(f"Weights: {out}")
