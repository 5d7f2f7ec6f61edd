"""From what a user writes after `--segmenter` to a network that runs."""

from __future__ import annotations

from pathlib import Path

import torch

from medlocker_zoo.resolve import FetchUri, given_name, locate_file
from medlocker_zoo.segmentation.segmenter import OnnxSegmenter, TorchSegmenter
from medlocker_zoo.segmentation.storage import load_segmenter
from medlocker_zoo.storage import SUFFIX
from medlocker_zoo.targets import Provider


def resolve_segmenter(
    reference: str,
    device: torch.device | str = "cpu",
    *,
    provider: Provider = "auto",
    fetch_uri: FetchUri | None = None,
) -> TorchSegmenter | OnnxSegmenter:
    """A segmentation network.

    Args:
        reference: a .safetensors file of `medlocker segment train`, an .onnx file of `medlocker export`, or an MLflow
            URI of either.
        device: where PyTorch runs it.
        provider: where ONNX Runtime runs it.
        fetch_uri: downloads MLflow models; without it such references are refused.

    Raises:
        ModelError: the reference names nothing that can be loaded.
        ProviderError: it does not run where it was meant to.
    """
    path: Path = locate_file(reference, (".onnx", SUFFIX), fetch_uri)
    if path.suffix == SUFFIX:
        return load_segmenter(path, device, name=given_name(reference))
    return OnnxSegmenter(path, provider=provider, name=given_name(reference))
