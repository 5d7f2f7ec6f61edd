"""Where training starts: random weights, local weights, or timm's ImageNet weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from medlocker.errors import ModelError, SettingsError
from medlocker_zoo.registry import Architecture, build_network, create_timm
from medlocker_zoo.storage import fill_network, head_name, head_size, read_tensors


def initial_network(
    architecture: Architecture, num_classes: int, *, init: Path | None, imagenet: bool, seed: int
) -> tuple[torch.nn.Module, str]:
    """Build the network that training starts from.

    Args:
        architecture: what to build.
        num_classes: outputs of the new head.
        init: a .safetensors file of the same architecture; its head may have any number of classes.
        imagenet: start from timm's pretrained weights, fetched over the network.
        seed: of random weights, the new head's included.

    Returns:
        The network, and what to record as its origin.

    Raises:
        SettingsError: both origins are asked for.
        ModelError: the weights cannot be read or fetched, or do not fit.
    """
    if init and imagenet:
        raise SettingsError("--init and --imagenet are both given", fix="give one of them")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        origin = origin_of(init, imagenet)
        if init:
            return _from_file(architecture, num_classes, init), origin
        if imagenet:
            return create_timm(architecture, num_classes, pretrained=True), origin
        return build_network(architecture, num_classes), origin


def origin_of(init: Path | None, imagenet: bool) -> str:
    """What is recorded of where training starts: a file with its digest, `imagenet`, or `random`.

    Raises:
        ModelError: the file is not there.
    """
    if init is None:
        return "imagenet" if imagenet else "random"
    if not init.is_file():
        raise ModelError(f"{init}: no such weights file", fix="check the path")
    return f"{init.name} sha256:{_file_sha256(init)}"


def _from_file(architecture: Architecture, num_classes: int, path: Path) -> torch.nn.Module:
    state, _ = read_tensors(path)
    outputs = head_size(architecture, state, path)
    network = build_network(architecture, outputs)
    if outputs == num_classes:
        fill_network(network, state, path)
        return network
    fresh = build_network(architecture, num_classes)
    fill_network(network, state, path)
    head = f"{head_name(architecture)}."
    body = {name: value for name, value in network.state_dict().items() if not name.startswith(head)}
    fresh.load_state_dict(body, strict=False)
    return fresh


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
