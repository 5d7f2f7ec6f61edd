"""`medlocker segment`: train a network that finds lesions, and let it draw masks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from medlocker.allocator import keep_freed_memory
from medlocker.cli.base import (
    PATH,
    ColumnValue,
    CommaList,
    LazyGroup,
    changed,
    checked,
    json_option,
    option,
    print_json,
    tracking,
    tracking_options,
)
from medlocker.cli.dataset_options import dataset_options, described_options, open_described
from medlocker.cli.loading import chosen_device
from medlocker.cli.progress import TerminalProgress
from medlocker.segmenting import LESIONS, write_predicted_masks
from medlocker_mlflow.fetch import fetch_model
from medlocker_mlflow.runs import tracked_run
from medlocker_zoo.segmentation import (
    LesionReport,
    SegmentationInput,
    SegmentationJob,
    SegmentationRecipe,
    SegmentationResult,
    UnetSettings,
    collect_counts,
    export_segmenter,
    lesion_reports,
    resolve_segmenter,
    save_segmenter,
    train_segmenter,
)
from medlocker_zoo.segmentation.measuring import flat, rows

_VERBS = {"train": "train", "predict": "predict"}


@click.group(cls=LazyGroup, verbs={name: f"{__name__}:{function}" for name, function in _VERBS.items()})
def segment() -> None:
    """Find lesions: train a UNet++ on masks, draw masks for images that have none."""


@click.command()
@option("--data", type=PATH, required=True, help="Folder of images with lesion masks, laid out as IDRiD.")
@option("--out", type=PATH, required=True, help="Weights file to write (.safetensors).")
@dataset_options
@option("--test-where", type=ColumnValue(), help="Which rows are the test part, e.g. split=test.")
@option("--lesions", type=CommaList(), default=",".join(LESIONS), help="Mask types to learn.")
@option("--encoder", default=UnetSettings().encoder, help="timm network that UNet++ is built on.")
@option("--pad-type", type=click.Choice(("same",)), help="Pad as TensorFlow does, for weights trained so.")
@option("--init", type=PATH, help="A classifier's weights for the encoder (.safetensors).")
@option("--imagenet", is_flag=True, help="Start the encoder from timm's ImageNet weights (needs the network).")
@option("--validation", type=click.FloatRange(0.01, 0.9), default=0.15, help="Share held out to choose the epoch.")
@option("--input", "input_changes", type=ColumnValue(), help="Input changes, e.g. working_side=2048,tile=768.")
@option("--recipe", type=ColumnValue(), help="Recipe changes, e.g. epochs=20,patch=384,augmentation.zoom=0.")
@option("--onnx", type=PATH, help="Also write the network as one ONNX file.")
@option("--checkpoints", type=PATH, help="Folder of checkpoints; a second run continues.  [default: OUT.checkpoints]")
@option("--device", help="Where to train.  [default: cuda where there is one]")
@option("--seed", type=click.IntRange(0), default=0, help="Of everything random.")
@tracking_options
@json_option
def train(data: Path, out: Path, onnx: Path | None, as_json: bool, **options: Any) -> None:
    """Train a UNet++ that finds lesions, and measure it on the test part.

    The epoch with the best mean average precision on held-out training images is kept, with the thresholds that gave
    the best Dice there. The same command continues an interrupted training.
    """
    keep_freed_memory()
    progress = TerminalProgress()
    job = segmentation_job(out, options)
    with tracked_run("segment train", **tracking(options), verb="segment") as tracker:
        described = described_options(options)
        training = open_described(data, job.seed, described, progress)
        test = None
        if options["test_where"] is not None:
            changes = {"where": options["test_where"], "limit": None, "per_class": None}
            test = open_described(data, job.seed, described | changes, progress)
        with progress.stage("Training UNet++", None) as advance:
            result = train_segmenter(
                job,
                training,
                test=test,
                tracker=tracker,
                progress=lambda _phase, done, total, line: advance(1, f"{line}: {done} of {total}"),
            )
        save_segmenter(out, result.segmenter)
        tracker.artifact(out, "model")
        if onnx is not None:
            export_segmenter(result.segmenter, onnx)
            tracker.artifact(onnx, "model")
    _tell(out, result, as_json)


def segmentation_job(out: Path, options: dict[str, Any]) -> SegmentationJob:
    """The job behind the options of `segment train`.

    Raises:
        SettingsError: a value is not valid; names it.
    """
    return SegmentationJob(
        network=checked(UnetSettings, encoder=options["encoder"], pad_type=options["pad_type"]),
        input=checked(SegmentationInput, **changed(SegmentationInput(), "--input", options["input_changes"] or ())),
        recipe=checked(SegmentationRecipe, **changed(SegmentationRecipe(), "--recipe", options["recipe"] or ())),
        lesions=options["lesions"],
        init=options["init"],
        imagenet=options["imagenet"],
        validation=options["validation"],
        seed=options["seed"],
        device=chosen_device(options["device"]),
        checkpoints=options["checkpoints"] or out.with_name(out.name + ".checkpoints"),
    )


@click.command()
@option("--data", type=PATH, required=True, help="Folder of the data set.")
@option("--segmenter", required=True, help="The network: .onnx, .safetensors or an MLflow URI.")
@option("--out", type=PATH, required=True, help="Folder for the masks, one sub-folder a lesion type.")
@dataset_options
@option("--device", help="Where PyTorch runs it.  [default: cuda where there is one]")
@option("--provider", type=click.Choice(("auto", "cpu", "cuda")), default="auto", help="Where ONNX Runtime runs it.")
@option("--seed", type=click.IntRange(0), default=0, help="Of --per-class and of the intervals.")
@tracking_options
@json_option
def predict(data: Path, segmenter: str, out: Path, as_json: bool, **options: Any) -> None:
    """Draw lesion masks for every image of a data set.

    The folder can be given to medlocker protect as --masks. Where the data set has masks of its own, the network is
    measured on them.
    """
    progress = TerminalProgress()
    with tracked_run("segment predict", **tracking(options), verb="segment") as tracker:
        network = resolve_segmenter(
            segmenter, chosen_device(options["device"]), provider=options["provider"], fetch_uri=fetch_model
        )
        dataset = open_described(data, options["seed"], described_options(options), progress)
        tracker.settings({"segmenter": network.name, "fingerprint": network.fingerprint, "runtime": network.runtime})
        tracker.dataset(dataset, "predict")
        with progress.stage("Drawing masks", len(dataset.records)) as advance:
            write_predicted_masks(dataset, network, out, on_image=advance)
        reports: tuple[LesionReport, ...] = ()
        if any(lesion in record.lesion_masks for record in dataset.records for lesion in network.lesions):
            with progress.stage("Measuring on the data set's own masks", len(dataset.records)) as advance:
                counts = collect_counts(network, dataset, lambda _done, _total: advance(1))
            reports = lesion_reports(counts, network.lesions, network.thresholds, options["seed"])
            tracker.metrics(flat(reports, "given"))
            tracker.table("given_lesions", rows(reports))
    if as_json:
        print_json({"masks": str(out), "images": len(dataset.records), "lesions": rows(reports)})
    else:
        click.echo("\n".join([*([report_text(reports)] if reports else []), f"Masks: {out}"]))


def report_text(reports: Sequence[LesionReport]) -> str:
    """A table for a terminal."""
    table = Table(title=f"{reports[0].images} images, 95 % bootstrap intervals over images")
    for heading in ("lesion", "images that have it", "AUPR", "Dice", "threshold"):
        table.add_column(heading)
    for r in reports:
        table.add_row(r.lesion, str(r.with_lesion), str(r.average_precision), str(r.dice), f"{r.threshold:.3f}")
    text = io.StringIO()
    Console(file=text, width=100, highlight=False).print(table)
    return text.getvalue().rstrip()


def _tell(out: Path, result: SegmentationResult, as_json: bool) -> None:
    parts = {"validation": result.validation, **({"test": result.test} if result.test else {})}
    if as_json:
        measured = {name: rows(reports) for name, reports in parts.items()}
        print_json(
            {"weights": str(out), "best_epoch": result.best_epoch, "resumed": result.resumed, "lesions": measured}
        )
        return
    for name, reports in parts.items():
        click.echo(f"{name}:\n{report_text(reports)}")
    click.echo(f"Weights: {out}")
