"""Classifiers as ONNX files."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
import torch
import torch.nn.functional as F

from medlocker.classifiers import Preprocessing
from medlocker.errors import ModelError
from medlocker.preprocessing import normalise
from medlocker_zoo.classifier import TorchClassifier
from medlocker_zoo.onnx_description import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, OnnxDescription, Parity
from medlocker_zoo.storage import replaced_atomically

OPSET = 18
TOLERANCE = 1e-4
BATCH_SIZES = (1, 3)


@dataclass(frozen=True)
class ExportReport:
    """A written ONNX file.

    Attributes:
        path: the file.
        bytes: its size.
        opset: ONNX operator set.
        fingerprint: SHA-256 of the weights it holds.
        parity: ONNX Runtime against PyTorch.
    """

    path: Path
    bytes: int
    opset: int
    fingerprint: str
    parity: Parity


class _WithSoftmax(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels_normalised: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.network(pixels_normalised), dim=1)


def export_onnx(classifier: TorchClassifier, path: Path) -> ExportReport:
    """Write a classifier as one ONNX file and prove that ONNX Runtime computes the same.

    The file's input is `pixels_normalised`, (B, 3, S, S) float32, its output `probabilities`, (B, classes); B is free.

    Args:
        classifier: to export; not changed.
        path: the .onnx file to write; an existing one is replaced when the new one has passed the comparison.

    Raises:
        ModelError: the network cannot be expressed in ONNX, or the results differ by more than 1e-4.
    """
    if path.suffix != ".onnx":
        raise ModelError(f"{path}: not an .onnx file name", fix=f"name it {path.stem}.onnx")
    network = _WithSoftmax(copy.deepcopy(classifier.network)).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    network.eval()
    with replaced_atomically(path) as draft:
        write_graph(network, classifier.name, classifier.preprocessing.input_size, draft)
        parity = measure_parity(network, draft, classifier.preprocessing)
        if not parity.probability <= TOLERANCE:
            raise ModelError(
                f"{classifier.name}: not exported",
                why=f"ONNX Runtime and PyTorch differ by {parity.probability:.2g} in a probability; "
                f"{TOLERANCE:g} is allowed",
            )
        _write_description(classifier, parity, draft)
    return ExportReport(path, path.stat().st_size, OPSET, classifier.fingerprint, parity)


def write_graph(network: torch.nn.Module, name: str, side: int, path: Path) -> None:
    """Write a network as one ONNX file with a free batch size.

    Args:
        network: of one (B, 3, S, S) input, on the CPU and in evaluation mode.
        name: for the message.
        side: px, S.
        path: the file to write.

    Raises:
        ModelError: the network cannot be expressed in ONNX.
    """
    try:
        with _silence():
            torch.onnx.export(
                network,
                (torch.zeros(2, 3, side, side),),
                path,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("batch")}},
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
        raise ModelError(f"{name}: cannot be expressed in ONNX", why=str(error).splitlines()[0]) from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    # The exporter prints progress and warns about its own internals, neither of which a user can act on.
    earlier = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(earlier)


def _write_description(classifier: TorchClassifier, parity: Parity, path: Path) -> None:
    description = OnnxDescription(
        preprocessing=classifier.preprocessing,
        name=classifier.name,
        class_names=classifier.class_names,
        output="probabilities",
        fingerprint=classifier.fingerprint,
        parity=parity,
    )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA_KEY: description.model_dump_json()})
    onnx.save(model, path)


def probe_inputs(preprocessing: Preprocessing) -> torch.Tensor:
    """Nine inputs to compare runtimes on: three of noise, six lit discs of smooth structure on black, as a fundus is.

    Returns:
        (9, 3, S, S) float32, normalised; the same at every call.
    """
    generator = torch.Generator().manual_seed(20240229)
    side = preprocessing.input_size
    noise = torch.rand(3, 3, side, side, generator=generator)
    coarse = torch.rand(6, 3, 12, 12, generator=generator)
    smooth = F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False).clamp(0, 1)
    axis = torch.linspace(-1, 1, side)
    field = (axis[:, None] ** 2 + axis[None, :] ** 2 < 0.95).float()
    return normalise(torch.cat([noise, smooth * field]), preprocessing)


def measure_parity(network: torch.nn.Module, path: Path, preprocessing: Preprocessing) -> Parity:
    """Compare an ONNX file, run by ONNX Runtime on the CPU, with the network it was written from.

    Args:
        network: gives probabilities, on the CPU.
        path: the ONNX file.
        preprocessing: of the network.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = probe_inputs(preprocessing)
    probability, relative = 0.0, 0.0
    for size in BATCH_SIZES:
        for batch in torch.split(inputs, size):
            with torch.inference_mode():
                expected = network(batch)
            actual = torch.from_numpy(session.run(None, {INPUT_NAME: batch.numpy()})[0])
            probability = max(probability, float((actual - expected).abs().max()))
            relative = max(relative, _relative_logit_difference(actual, expected))
    return Parity(inputs=len(inputs), batch_sizes=BATCH_SIZES, probability=probability, relative_logit=relative)


def _relative_logit_difference(actual: torch.Tensor, expected: torch.Tensor) -> float:
    # Underflown probabilities carry no logit any more; 1e-30 keeps them finite and equal on both sides.
    first, second = (torch.log(values.double().clamp(min=1e-30)) for values in (actual, expected))
    first, second = first - first.mean(dim=1, keepdim=True), second - second.mean(dim=1, keepdim=True)
    return float((first - second).abs().max() / second.abs().max().clamp(min=1e-12))
