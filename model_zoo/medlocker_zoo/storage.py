"""Classifiers as single .safetensors files that describe themselves."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import timm
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from medlocker import __version__
from medlocker.errors import ModelError
from medlocker_zoo.classifier import UNUSED_AT_INFERENCE, ClassifierMetadata, TorchClassifier, inference_state
from medlocker_zoo.registry import Architecture, build_network, get_card

T = TypeVar("T")

HEADER_KEY = "medlocker"
SUFFIX = ".safetensors"


def round_to_half(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Matrices and kernels as float16, the rest unchanged.

    Vectors (biases, norms, running statistics) are a small share of a file, and variances can leave float16's range.
    """
    return {
        name: value.half() if value.is_floating_point() and value.ndim > 1 else value for name, value in state.items()
    }


def save_classifier(path: Path, classifier: TorchClassifier, *, half: bool = True) -> None:
    """Write a classifier as one file; an existing file is replaced only when the new one is complete.

    Args:
        path: the .safetensors file to write.
        classifier: weights and metadata to write.
        half: store matrices and kernels as float16.

    Raises:
        ModelError: the suffix is not .safetensors, or a weight is not finite.
    """
    if path.suffix != SUFFIX:
        raise ModelError(f"{path}: weights are saved as {SUFFIX} files", fix=f"name it {path.stem}{SUFFIX}")
    state = inference_state(classifier.network)
    state = round_to_half(state) if half else state
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise ModelError(f"{path}: not saved", why=f"weights are not finite: {', '.join(broken[:5])}")
    with replaced_atomically(path) as draft:
        save_file(state, draft, metadata={HEADER_KEY: classifier.metadata.model_dump_json()})


class replaced_atomically:  # noqa: N801 - read as a verb in a `with` statement
    """A temporary file beside `path` that takes its place when the block ends without an error."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Path:
        """The temporary file's path."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.", suffix=self._path.suffix)
        os.close(handle)
        self._draft = Path(name)
        return self._draft

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Move the file into place, or remove it."""
        if kind is None:
            self._draft.chmod(0o644)
            self._draft.replace(self._path)
        else:
            self._draft.unlink(missing_ok=True)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and header strings of a .safetensors file.

    Raises:
        ModelError: the file is missing, truncated, or of another kind.
    """
    return _opened(path, lambda file: ({n: file.get_tensor(n) for n in file.keys()}, file.metadata() or {}))  # noqa: SIM118


def _opened(path: Path, read: Callable[[Any], T]) -> T:
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file", fix="check the path")
    try:
        with safe_open(path, framework="pt") as file:
            return read(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path}: not a readable .safetensors file", why=str(error), fix="copy or train it again"
        ) from error


def read_header(path: Path) -> dict[str, str]:
    """Header strings of a .safetensors file, without its tensors.

    Raises:
        ModelError: the file is missing, truncated, or of another kind.
    """
    return _opened(path, lambda file: file.metadata() or {})


def read_metadata(path: Path) -> ClassifierMetadata:
    """What a weights file says about itself.

    Raises:
        ModelError: unreadable file, or one that `save_classifier` did not write.
    """
    return _parse_metadata(path, read_tensors(path)[1])


def _parse_metadata(path: Path, header: Mapping[str, str]) -> ClassifierMetadata:
    if HEADER_KEY not in header:
        raise ModelError(
            f"{path}: these weights do not say which network they belong to",
            why="`medlocker train` did not write them",
            fix="name the zoo's network with --network NAME, or train from them with "
            f"`medlocker train NAME --init {path.name} --data DIR --out FILE`",
        )
    try:
        return ClassifierMetadata.model_validate_json(header[HEADER_KEY])
    except ValidationError as error:
        raise ModelError(
            f"{path}: its description cannot be used", why=str(error), fix="update medlocker, or train it again"
        ) from error


def load_classifier(
    path: Path,
    device: torch.device | str = "cpu",
    *,
    name: str | None = None,
    network: str | None = None,
    class_names: tuple[str, ...] | None = None,
) -> TorchClassifier:
    """Read a classifier.

    Args:
        path: a .safetensors file.
        device: where it runs.
        name: its name in this run; the card's name by default.
        network: the zoo's network a foreign file belongs to; a file of ours must agree with it.
        class_names: names for a foreign file's outputs; `class 0` and so on by default.

    Raises:
        ModelError: unreadable, foreign without `network`, or the tensors do not fit the network.
    """
    state, header = read_tensors(path)
    if network is not None and HEADER_KEY not in header:
        metadata = _foreign_metadata(path, state, network, class_names)
    else:
        metadata = _parse_metadata(path, header)
        if network not in (None, metadata.network):
            raise ModelError(f"{path}: holds {metadata.network}, not {network}", fix="leave --network out")
    built = build_network(metadata.architecture, len(metadata.class_names))
    fill_network(built, state, path)
    return TorchClassifier(built, metadata, torch.device(device), name)


def fill_network(network: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Copy tensors into a network of the same architecture, as float32.

    Raises:
        ModelError: a tensor is missing, left over, of another shape, or not finite.
    """
    target = inference_state(network)
    given = {name: value for name, value in state.items() if not name.endswith(UNUSED_AT_INFERENCE)}
    wrong = [f"missing {name}" for name in target if name not in given]
    wrong += [f"unknown {name}" for name in given if name not in target]
    wrong += [
        f"{name} is {tuple(given[name].shape)} instead of {tuple(target[name].shape)}"
        for name in target
        if name in given and given[name].shape != target[name].shape
    ]
    wrong += [f"{name} is not finite" for name in given if not torch.isfinite(given[name]).all()]
    if wrong:
        listed = ", ".join(wrong[:8]) + (f" and {len(wrong) - 8} more" if len(wrong) > 8 else "")
        raise ModelError(f"{path}: the weights do not fit the network", why=listed, fix="name the right network")
    network.load_state_dict({name: value.float() for name, value in given.items()}, strict=False)


def _foreign_metadata(
    path: Path, state: Mapping[str, torch.Tensor], network: str, class_names: tuple[str, ...] | None
) -> ClassifierMetadata:
    card = get_card(network)
    outputs = head_size(card.architecture, state, path)
    names = class_names or tuple(f"class {index}" for index in range(outputs))
    if len(names) != outputs:
        raise ModelError(f"{path}: {outputs} outputs, but {len(names)} class names are given")
    return ClassifierMetadata(
        medlocker_version=__version__,
        network=card.name,
        architecture=card.architecture,
        class_names=names,
        preprocessing=card.preprocessing,
    )


def head_size(architecture: Architecture, state: Mapping[str, torch.Tensor], path: Path) -> int:
    """How many outputs a state's classification head has.

    Args:
        architecture: of the state.
        state: tensors by name.
        path: for the message.

    Raises:
        ModelError: the state has no such head.
    """
    weight = state.get(f"{head_name(architecture)}.weight")
    if weight is None:
        raise ModelError(
            f"{path}: the weights do not fit {architecture.timm_name}",
            why=f"no {head_name(architecture)}.weight in it",
            fix="name the right network",
        )
    return int(weight.shape[0])


def head_name(architecture: Architecture) -> str:
    """Name of a timm network's classification layer, e.g. `fc`."""
    head = timm.get_pretrained_cfg(architecture.timm_name).classifier
    return str(head[0] if isinstance(head, tuple | list) else head)


def untrained_classifier(name: str, device: torch.device | str = "cpu", classes: int = 5) -> TorchClassifier:
    """A network of the zoo with random weights, the same ones every time: for measuring speed.

    Args:
        name: its registry name.
        device: where it runs.
        classes: outputs.

    Raises:
        ModelError: the zoo has no such network.
    """
    card = get_card(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(card.architecture, classes)
    metadata = ClassifierMetadata(
        medlocker_version=__version__,
        network=name,
        architecture=card.architecture,
        class_names=tuple(str(number) for number in range(classes)),
        preprocessing=card.preprocessing,
        initial_weights="random",
    )
    return TorchClassifier(network, metadata, torch.device(device))
