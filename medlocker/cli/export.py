"""`medlocker export`: write a trained network as ONNX."""

from __future__ import annotations

from pathlib import Path

import click

from medlocker.cli.base import PATH, json_option, option, print_json, tracking_options
from medlocker.cli.progress import TerminalProgress
from medlocker.errors import SettingsError
from medlocker_mlflow.runs import tracked_run
from medlocker_zoo.export import ExportReport, export_onnx
from medlocker_zoo.resolve import resolve_source
from medlocker_zoo.segmentation import SegmenterExport, export_segmenter, is_segmenter, load_segmenter


@click.command()
@click.argument("weights")
@option("--out", type=PATH, required=True, help="ONNX file to write.")
@option("--network", help="The zoo network a foreign weights file belongs to.")
@tracking_options
@json_option
def export(
    weights: str, out: Path, network: str | None, experiment: str, tracking_uri: str | None, as_json: bool
) -> None:
    """Export WEIGHTS (a file or a zoo name) to one ONNX file and check it against PyTorch."""
    with tracked_run(
        f"export {Path(weights).stem}", experiment=experiment, tracking_uri=tracking_uri, verb="export"
    ) as tracker:
        with TerminalProgress().stage(f"Exporting {weights}", None):
            report = _exported(weights, out, network)
        parity = report.parity.model_dump()
        tracker.settings({"weights": weights, "opset": report.opset, "fingerprint": report.fingerprint})
        tracker.metrics({f"parity/{k}": float(v) for k, v in parity.items() if isinstance(v, int | float)})
        tracker.artifact(out, "model")
    if as_json:
        print_json({"onnx": str(out), "bytes": report.bytes, "opset": report.opset, "parity": parity})
    else:
        difference = f"largest probability difference to PyTorch {report.parity.probability:.1e}"
        click.echo(f"{out}: {report.bytes:,} bytes, {difference}")


def _exported(weights: str, out: Path, network: str | None) -> ExportReport | SegmenterExport:
    if is_segmenter(Path(weights)):
        if network is not None:
            raise SettingsError(f"--network {network}: {weights} says itself what it is", fix="leave --network out")
        return export_segmenter(load_segmenter(Path(weights)), out)
    return export_onnx(resolve_source(weights, network=network), out)
