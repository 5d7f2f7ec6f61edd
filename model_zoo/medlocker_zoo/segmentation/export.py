"""Segmentation networks as ONNX files."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from medlocker.classifiers import Preprocessing
from medlocker.errors import ModelError
from medlocker_zoo.export import BATCH_SIZES, OPSET, TOLERANCE, probe_inputs, write_graph
from medlocker_zoo.onnx_description import INPUT_NAME
from medlocker_zoo.segmentation.description import HEADER_KEY, OnnxSegmenterDescription, TileParity
from medlocker_zoo.segmentation.segmenter import TorchSegmenter
from medlocker_zoo.storage import replaced_atomically


@dataclass(frozen=True)
class SegmenterExport:
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
    parity: TileParity


class _WithSigmoid(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels_normalised: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.network(pixels_normalised))


def export_segmenter(segmenter: TorchSegmenter, path: Path) -> SegmenterExport:
    """Write a segmentation network as one ONNX file and prove that ONNX Runtime computes the same.

    The file's input is `pixels_normalised`, (B, 3, T, T) float32 tiles, its output `probabilities`, (B, K, T, T); B is
    free. How an image becomes tiles, and the thresholds, are in the file's metadata.

    Args:
        segmenter: to export; not changed.
        path: the .onnx file; an existing one is replaced when the new one has passed the comparison.

    Raises:
        ModelError: the network cannot be expressed in ONNX, or the results differ by more than 1e-4.
    """
    if path.suffix != ".onnx":
        raise ModelError(f"{path}: not an .onnx file name", fix=f"name it {path.stem}.onnx")
    network = _WithSigmoid(copy.deepcopy(segmenter.network)).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    network.eval()
    settings = segmenter.metadata.input
    with replaced_atomically(path) as draft:
        write_graph(network, segmenter.name, settings.tile, draft)
        probe = probe_inputs(Preprocessing(input_size=settings.tile, mean=settings.mean, std=settings.std))
        parity = tile_parity(network, draft, probe)
        if not parity.probability <= TOLERANCE:
            raise ModelError(
                f"{segmenter.name}: not exported",
                why=f"ONNX Runtime and PyTorch differ by {parity.probability:.2g} in a probability; "
                f"{TOLERANCE:g} is allowed",
            )
        _describe(segmenter, parity, draft)
    return SegmenterExport(path, path.stat().st_size, OPSET, segmenter.fingerprint, parity)


def _describe(segmenter: TorchSegmenter, parity: TileParity, path: Path) -> None:
    description = OnnxSegmenterDescription(
        lesions=segmenter.lesions,
        thresholds=segmenter.thresholds,
        input=segmenter.metadata.input,
        fingerprint=segmenter.fingerprint,
        parity=parity,
    )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {HEADER_KEY: description.model_dump_json()})
    onnx.save(model, path)


def tile_parity(network: torch.nn.Module, path: Path, tiles: torch.Tensor) -> TileParity:
    """Compare an ONNX file, run by ONNX Runtime on the CPU, with the network it was written from.

    Args:
        network: gives probabilities, on the CPU.
        path: the ONNX file.
        tiles: (n, 3, T, T) normalised.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for size in BATCH_SIZES:
        for batch in torch.split(tiles, size):
            with torch.inference_mode():
                expected = network(batch).numpy()
            actual = session.run(None, {INPUT_NAME: batch.numpy()})[0]
            largest = max(largest, float(np.abs(actual - expected).max()))
    return TileParity(inputs=len(tiles), batch_sizes=BATCH_SIZES, probability=largest)
