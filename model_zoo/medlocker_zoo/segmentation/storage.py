"""Segmentation networks as .safetensors files that describe themselves."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from medlocker.errors import ModelError
from medlocker_zoo.classifier import inference_state
from medlocker_zoo.segmentation.description import HEADER_KEY, SegmenterMetadata
from medlocker_zoo.segmentation.network import build_unet
from medlocker_zoo.segmentation.segmenter import TorchSegmenter
from medlocker_zoo.storage import SUFFIX, fill_network, read_header, read_tensors, replaced_atomically, round_to_half


def is_segmenter(path: Path) -> bool:
    """Whether a .safetensors file holds a segmentation network."""
    return path.is_file() and path.suffix == SUFFIX and HEADER_KEY in read_header(path)


def save_segmenter(path: Path, segmenter: TorchSegmenter) -> None:
    """Write a segmentation network as one file, matrices and kernels as float16.

    Raises:
        ModelError: the suffix is not .safetensors, or a weight is not finite.
    """
    if path.suffix != SUFFIX:
        raise ModelError(f"{path}: weights are saved as {SUFFIX} files", fix=f"name it {path.stem}{SUFFIX}")
    state = round_to_half(inference_state(segmenter.network))
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise ModelError(f"{path}: not saved", why=f"weights are not finite: {', '.join(broken[:5])}")
    with replaced_atomically(path) as draft:
        save_file(state, draft, metadata={HEADER_KEY: segmenter.metadata.model_dump_json()})


def load_segmenter(path: Path, device: torch.device | str = "cpu", *, name: str | None = None) -> TorchSegmenter:
    """Read a segmentation network.

    Raises:
        ModelError: unreadable, or not a file that `medlocker segment train` wrote.
    """
    state, header = read_tensors(path)
    if HEADER_KEY not in header:
        raise ModelError(f"{path}: not a segmentation network", fix="give the file that medlocker segment train wrote")
    try:
        metadata = SegmenterMetadata.model_validate_json(header[HEADER_KEY])
    except ValidationError as error:
        raise ModelError(f"{path}: its description cannot be used", why=str(error)) from error
    network = build_unet(metadata.network, len(metadata.lesions))
    fill_network(network, state, path)
    return TorchSegmenter(network, metadata, torch.device(device), name or path.stem)
