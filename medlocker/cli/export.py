"""`medlocker export`: write a trained network as ONNX."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from medlocker.cli.base import PATH, json_option, option, print_json, register_options, tracking, tracking_options
from medlocker.cli.progress import TerminalProgress
from medlocker.errors import ModelError, SettingsError
from medlocker_mlflow.fetch import fetch_model, is_model_uri, pin_model
from medlocker_mlflow.models import Registration, checked_registration, describe_model, log_onnx
from medlocker_mlflow.runs import tracked_run
from medlocker_mlflow.tracker import MlflowTracker
from medlocker_zoo.classifier import TorchClassifier
from medlocker_zoo.export import ExportReport, export_onnx
from medlocker_zoo.resolve import resolve_source
from medlocker_zoo.segmentation import (
    OnnxSegmenter,
    SegmenterExport,
    export_segmenter,
    is_segmenter,
    load_segmenter,
)
from medlocker_zoo.storage import SUFFIX
from medlocker_zoo.targets import OnnxTarget


@click.command()
@click.argument("weights")
@option("--out", type=PATH, required=True, help="ONNX file to write; a folder where WEIGHTS is one.")
@option("--network", help="The zoo network a foreign weights file belongs to.")
@register_options
@tracking_options
@json_option
def export(weights: str, out: Path, network: str | None, as_json: bool, **options: Any) -> None:
    """Export WEIGHTS (a file, a zoo name or an MLflow URI) to one ONNX file and check it against PyTorch.

    WEIGHTS may be a folder: every .safetensors file in it is exported into the folder OUT; files that hold the same
    weights already are left alone.
    """
    folder = Path(weights).is_dir()
    if options["register"] and (folder or is_segmenter(Path(weights))):
        raise SettingsError(
            f"--register {options['register']}: {weights} is not one classifier", fix="export classifiers one by one"
        )
    registration = checked_registration(options["register"], options["alias"], offline=bool(options["offline"]))
    with tracked_run(f"export {Path(weights).stem}", verb="export", **tracking(options)) as tracker:
        if not folder:
            documents = [_export_one(weights, out, network, tracker, registration)]
        else:
            documents = _export_all(Path(weights), out, network, tracker)
    if as_json:
        print_json({"networks": documents} if folder else documents[0])
        return
    for document in documents:
        click.echo(_line(document))


def _line(document: dict[str, Any]) -> str:
    if "parity" not in document:
        return f"{document['onnx']}: written before"
    difference = f"largest probability difference to PyTorch {document['parity']['probability']:.1e}"
    model = f"\nMLflow model: {document['model']['text']}" if "model" in document else ""
    return f"{document['onnx']}: {document['bytes']:,} bytes, {difference}{model}"


def _export_all(folder: Path, out: Path, network: str | None, tracker: MlflowTracker) -> list[dict[str, Any]]:
    if network is not None:
        raise SettingsError(f"--network {network}: {folder} is a folder", fix="export foreign weights one by one")
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if not files:
        raise ModelError(f"{folder}: holds no {SUFFIX} file", fix="train networks into it with medlocker train")
    documents = []
    for path in files:
        target = out / f"{path.stem}.onnx"
        if _exported_before(path, target):
            documents.append({"onnx": str(target)})
            continue
        with tracker.child_run(f"export {path.stem}", tags={"medlocker.verb": "export"}) as child:
            documents.append(_export_one(str(path), target, None, child))
    return documents


def _exported_before(weights: Path, target: Path) -> bool:
    """Whether an ONNX file holds these weights already; one that cannot be read is written again."""
    if not target.is_file():
        return False
    loaded = load_segmenter(weights) if is_segmenter(weights) else resolve_source(str(weights))
    try:
        served = OnnxSegmenter(target, provider="cpu") if is_segmenter(weights) else OnnxTarget(target, provider="cpu")
    except ModelError:
        return False
    return served.fingerprint == loaded.fingerprint


def _export_one(
    weights: str, out: Path, network: str | None, tracker: MlflowTracker, registration: Registration | None = None
) -> dict[str, Any]:
    origins = [pin_model(weights)] if is_model_uri(weights) else []
    with TerminalProgress().stage(f"Exporting {weights}", None):
        report, classifier = _exported(origins[0].uri if origins else weights, out, network)
    parity = report.parity.model_dump()
    tracker.settings({"weights": weights, "opset": report.opset, "fingerprint": report.fingerprint})
    tracker.metrics({f"parity/{k}": float(v) for k, v in parity.items() if isinstance(v, int | float)})
    document = {"onnx": str(out), "bytes": report.bytes, "opset": report.opset, "parity": parity}
    if classifier is None:
        tracker.artifact(out, "model")
        return document
    tracker.models([replace(origin, network=classifier.name) for origin in origins])
    logged = log_onnx(tracker, out, classifier, registration)
    difference = f"largest probability difference to PyTorch {report.parity.probability:.1e}"
    tracker.describe(f"{describe_model(classifier.metadata)}\n\nAs ONNX: {difference}.")
    return document | {"model": asdict(logged) | {"text": str(logged)}}


def _exported(
    weights: str, out: Path, network: str | None
) -> tuple[ExportReport, TorchClassifier] | tuple[SegmenterExport, None]:
    if is_segmenter(Path(weights)):
        if network is not None:
            raise SettingsError(f"--network {network}: {weights} says itself what it is", fix="leave --network out")
        return export_segmenter(load_segmenter(Path(weights)), out), None
    classifier = resolve_source(weights, network=network, fetch_uri=fetch_model)
    return export_onnx(classifier, out), classifier
