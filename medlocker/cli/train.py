"""`medlocker train`: train a classifier of the model zoo."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from medlocker.allocator import keep_freed_memory
from medlocker.cli.base import (
    PATH,
    ColumnValue,
    changed,
    checked,
    json_option,
    option,
    print_json,
    register_options,
    tracking,
    tracking_options,
)
from medlocker.cli.dataset_options import dataset_options, described_options, open_described
from medlocker.cli.loading import DEMO, chosen_device
from medlocker.cli.progress import TerminalProgress
from medlocker.datasets import Dataset
from medlocker.datasets.synthetic import write_synthetic_dataset
from medlocker.errors import SettingsError
from medlocker_mlflow.models import (
    LoggedNetwork,
    Registration,
    checked_registration,
    describe_model,
    log_classifier,
)
from medlocker_mlflow.runs import tracked_run
from medlocker_mlflow.tracker import MlflowTracker
from medlocker_zoo.evaluation import EvalReport
from medlocker_zoo.labels import map_labels, parse_label_map
from medlocker_zoo.registry import Card, Recipe, get_card, paper_networks
from medlocker_zoo.storage import SUFFIX, read_metadata, save_classifier
from medlocker_zoo.training import TrainResult, finished_before, train_classifier

DEMO_TRAIN_PER_GRADE = 60
PAPER = "paper"
"""Stands for the paper's seven networks."""


@click.command()
@click.argument("network")
@option("--data", required=True, help=f"Folder of the data set; '{DEMO}' for embedded synthetic images.")
@option("--out", type=PATH, required=True, help="Weights file to write (.safetensors); a folder for several networks.")
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
@register_options
@tracking_options
@json_option
def train(network: str, data: str, out: Path, as_json: bool, **options: Any) -> None:
    """Train NETWORK on a labelled data set and save its weights.

    NETWORK may also be several names divided by commas, or `paper` for the paper's seven; then OUT and --init are
    folders, with a file NAME.safetensors each. Classes are balanced, the epoch with the best quadratic kappa on
    held-out images is kept, and an interrupted training continues with the same command. See medlocker networks.
    """
    keep_freed_memory()
    progress = TerminalProgress()
    cards = [adapted_card(name, options["recipe"] or (), options["epochs"]) for name in chosen_names(network)]
    several = network == PAPER or len(cards) > 1
    check_places(several, out, options["init"])
    if several and options["register"]:
        raise SettingsError(
            f"--register {options['register']}: {len(cards)} networks are trained", fix="train them one by one"
        )
    registration = checked_registration(options["register"], options["alias"], offline=bool(options["offline"]))
    with tracked_run(f"train {network}", verb="train", **tracking(options)) as tracker:
        training, test = _datasets(data, out, options, progress)
        if several:
            trained = _train_several(cards, training, test, out, options, tracker, progress)
        else:
            places = {"checkpoints": options["checkpoints"], "registration": registration}
            trained = {
                cards[0].name: _train_one(
                    cards[0], training, test, out, options["init"], options, tracker, progress, **places
                )
            }
        _tell_all(trained, several, as_json)


def chosen_names(network: str) -> list[str]:
    """The names behind NETWORK.

    Raises:
        SettingsError: one is empty or named twice.
    """
    names = paper_networks() if network == PAPER else [name.strip() for name in network.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise SettingsError(f"{network!r}: a name is empty or stands twice", fix="write names divided by commas")
    return names


def check_places(several: bool, out: Path, init: Path | None) -> None:
    """One network is written to a file, several into a folder.

    Raises:
        SettingsError: it is the other way round.
    """
    if several and out.suffix == SUFFIX:
        raise SettingsError(f"--out {out}: several networks need a folder", fix=f"leave {SUFFIX} out")
    if several and init is not None and not init.is_dir():
        raise SettingsError(f"--init {init}: several networks need a folder", why="with a file NAME.safetensors each")


@dataclass(frozen=True, eq=False)
class Trained:
    """A network's weights file, and what training gave; None for one that an earlier run finished."""

    out: Path
    result: TrainResult | None = None
    logged: LoggedNetwork | None = None


def _train_several(
    cards: list[Card],
    training: Dataset,
    test: Dataset | None,
    out: Path,
    options: dict[str, Any],
    tracker: MlflowTracker,
    progress: TerminalProgress,
) -> dict[str, Trained]:
    trained = {}
    for number, card in enumerate(cards, start=1):
        path = out / f"{card.name}{SUFFIX}"
        checkpoints = options["checkpoints"] / card.name if options["checkpoints"] else None
        init = options["init"] / f"{card.name}{SUFFIX}" if options["init"] else None
        progress.say(f"network {number} of {len(cards)}: {card.name}")
        asked = {"init": init, "imagenet": options["imagenet"], "seed": options["seed"]}
        if finished_before(path, card, training, options["validation"], **asked):
            trained[card.name] = Trained(path)
            continue
        with tracker.child_run(f"train {card.name}", tags={"medlocker.verb": "train"}) as child:
            trained[card.name] = _train_one(
                card, training, test, path, init, options, child, progress, checkpoints=checkpoints
            )
    return trained


def _train_one(
    card: Card,
    training: Dataset,
    test: Dataset | None,
    out: Path,
    init: Path | None,
    options: dict[str, Any],
    tracker: MlflowTracker,
    progress: TerminalProgress,
    *,
    checkpoints: Path | None = None,
    registration: Registration | None = None,
) -> Trained:
    with progress.stage(f"Training {card.name}", None) as advance:
        result = train_classifier(
            card,
            training,
            options["validation"],
            test=test,
            init=init,
            imagenet=options["imagenet"],
            seed=options["seed"],
            device=chosen_device(options["device"]),
            precision=options["precision"],
            checkpoint_dir=checkpoints or out.with_name(out.name + ".checkpoints"),
            tracker=tracker,
            progress=lambda phase, done, total, line: advance(0, f"{phase} {done} of {total} {line}".rstrip()),
        )
    save_classifier(out, result.classifier)
    logged = log_classifier(tracker, out, result.classifier, registration)
    tracker.describe(describe_model(result.classifier.metadata))
    return Trained(out, result, logged)


def adapted_card(network: str, changes: tuple[tuple[str, str], ...], epochs: int | None = None) -> Card:
    """A network's card with parts of its recipe replaced.

    Args:
        network: its registry name.
        changes: (name, value); a dot leads into the augmentation.
        epochs: instead of the recipe's.

    Raises:
        ModelError: there is no such network.
        SettingsError: a name or value is not part of a recipe.
    """
    card = get_card(network)
    changes = (*changes, ("epochs", str(epochs))) if epochs is not None else changes
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


def _tell_all(trained: dict[str, Trained], several: bool, as_json: bool) -> None:
    documents = {name: _document(one) for name, one in trained.items()}
    if as_json:
        print_json({"networks": documents} if several else next(iter(documents.values())))
        return
    for name, one in trained.items():
        if several:
            click.echo(f"{name}: {'finished before' if one.result is None else 'trained'}")
        for part, report in _measured(one.result).items():
            click.echo(f"{part}: accuracy {report.accuracy}, quadratic kappa {report.kappa}")
        click.echo(f"Weights: {one.out}")
        if one.logged:
            click.echo(f"MLflow model: {one.logged}")


def _measured(result: TrainResult | None) -> dict[str, EvalReport]:
    if result is None:
        return {}
    return {"validation": result.validation, **({"test": result.test} if result.test else {})}


def _document(one: Trained) -> dict[str, object]:
    if one.result is None:
        return {"weights": str(one.out), "finished_before": True, **read_metadata(one.out).metrics}
    return {
        "weights": str(one.out),
        "best_epoch": one.result.best_epoch,
        "precision": one.result.precision,
        "resumed": one.result.resumed,
        "model": asdict(one.logged) if one.logged else None,
        **{name: report.flat(name) for name, report in _measured(one.result).items()},
    }
