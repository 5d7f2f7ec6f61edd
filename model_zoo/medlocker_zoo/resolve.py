"""From what a user writes after `--sources` and `--targets` to networks that run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from medlocker.classifiers import Preprocessing
from medlocker.errors import ModelError
from medlocker_zoo.classifier import TorchClassifier
from medlocker_zoo.export import export_onnx
from medlocker_zoo.onnx_description import OutputKind
from medlocker_zoo.registry import list_networks
from medlocker_zoo.storage import SUFFIX, load_classifier
from medlocker_zoo.targets import OnnxTarget, Provider

FetchUri = Callable[[str], Path]
"""Downloads what an MLflow model URI names; returns the file, or the folder it is in."""

URI_SCHEMES = ("models:/", "runs:/", "mlflow-artifacts:/")
UNNAMED = re.compile(r"(?:runs:/|models:/m-)(?P<id>[0-9a-f]{32})(?:/model)?/?")
"""References that say where a model is, but not what it is called."""
PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl")


class _Named(Protocol):
    name: str


AnyNamed = TypeVar("AnyNamed", bound=_Named)


def demo_weights(name: str) -> Path | None:
    """The weights that ship with the zoo for a network, or None."""
    path = Path(str(resources.files("medlocker_zoo"))) / "weights" / f"{name}{SUFFIX}"
    return path if path.is_file() else None


def demo_networks() -> list[str]:
    """Names of the networks with shipped weights."""
    return [name for name in list_networks() if demo_weights(name)]


def cache_folder() -> Path:
    """Where exported ONNX files are kept: `MEDLOCKER_CACHE`, else the user's cache folder."""
    chosen = os.environ.get("MEDLOCKER_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return Path(chosen) if chosen else Path(base or Path.home() / ".cache") / "medlocker"


def resolve_source(
    reference: str,
    device: torch.device | str = "cpu",
    *,
    fetch_uri: FetchUri | None = None,
    network: str | None = None,
) -> TorchClassifier:
    """A network for the search.

    Args:
        reference: name of a zoo network with shipped weights, a .safetensors file, or an MLflow model URI.
        device: where it runs.
        fetch_uri: downloads MLflow models; without it such references are refused.
        network: the zoo's network that a foreign weights file belongs to.

    Raises:
        ModelError: the reference names nothing that can be loaded.
    """
    path = _locate(reference, (SUFFIX,), fetch_uri)
    loaded = load_classifier(path, device, name=given_name(reference), network=network)
    loaded.name = _own_name(reference, loaded.name)
    return loaded


def resolve_target(
    reference: str,
    *,
    provider: Provider = "auto",
    fetch_uri: FetchUri | None = None,
    network: str | None = None,
    preprocessing: Preprocessing | None = None,
    output: OutputKind | None = None,
) -> OnnxTarget:
    """A network to measure on; weights are exported to ONNX first, once, into the cache folder.

    Args:
        reference: as for `resolve_source`, or an .onnx file.
        provider: where ONNX Runtime runs it.
        fetch_uri: downloads MLflow models; without it such references are refused.
        network: the zoo's network that a foreign weights file belongs to.
        preprocessing: for ONNX files that do not say.
        output: for ONNX files that do not say.

    Raises:
        ModelError: the reference names nothing that can be loaded.
        ProviderError: it does not run where it was meant to.
    """
    path, name = _locate(reference, (".onnx", SUFFIX), fetch_uri), given_name(reference)
    if path.suffix == SUFFIX:
        path = cached_export(load_classifier(path, name=name, network=network))
    target = OnnxTarget(path, provider=provider, name=name, preprocessing=preprocessing, output=output)
    target.name = _own_name(reference, target.name)
    return target


def resolve_sources(
    references: str, device: torch.device | str = "cpu", *, fetch_uri: FetchUri | None = None
) -> tuple[TorchClassifier, ...]:
    """Networks for the search from a comma-separated list; repeated names get `-2`, `-3` and so on."""
    return _distinct(resolve_source(entry, device, fetch_uri=fetch_uri) for entry in split_references(references))


def resolve_targets(
    references: str, *, provider: Provider = "auto", fetch_uri: FetchUri | None = None
) -> tuple[OnnxTarget, ...]:
    """Networks to measure on from a comma-separated list; repeated names get `-2`, `-3` and so on."""
    return _distinct(
        resolve_target(entry, provider=provider, fetch_uri=fetch_uri) for entry in split_references(references)
    )


def split_references(references: str) -> list[str]:
    """The entries of a comma-separated list.

    Raises:
        ModelError: an entry is empty.
    """
    entries = [entry.strip() for entry in references.split(",")]
    if not all(entries):
        raise ModelError(f"{references!r}: an entry of the list is empty", fix="write names divided by commas")
    return entries


def cached_export(classifier: TorchClassifier) -> Path:
    """The classifier as an ONNX file in the cache folder, written if it is not there yet.

    The file's name holds the fingerprint and the version of the exporter, so a stale one is never used.
    """
    key = f"{classifier.metadata.network}-{classifier.fingerprint[:24]}-torch{torch.__version__}.onnx"
    path = cache_folder() / "onnx" / key
    if not path.is_file():
        export_onnx(classifier, path)
    return path


def _distinct(found: Iterable[AnyNamed]) -> tuple[AnyNamed, ...]:
    networks, taken = tuple(found), set[str]()
    for network in networks:
        base, number = network.name, 1
        while network.name in taken:
            number += 1
            network.name = f"{base}-{number}"
        taken.add(network.name)
    return networks


def given_name(reference: str) -> str | None:
    """A name fit for tables and metrics: the last part of the reference, a version or alias included.

    None where the reference names a run or logged model by its id alone: the network then has its own name and the
    beginning of that id, see `_own_name`.
    """
    if UNNAMED.fullmatch(reference):
        return None
    if reference.startswith(URI_SCHEMES):
        text = reference.split(":/", 1)[1].strip("/")
        text = Path(text).stem if reference.startswith("runs:/") else text
    else:
        text = Path(reference).stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)


def _own_name(reference: str, network: str) -> str:
    """`resnet18-1a2b3c4d`: two models of one architecture are told apart by where they come from."""
    found = UNNAMED.fullmatch(reference)
    return f"{network}-{found['id'][:8]}" if found else network


def locate_file(reference: str, suffixes: tuple[str, ...], fetch_uri: FetchUri | None) -> Path:
    """The model file that a path or an MLflow URI names.

    Args:
        reference: as the user wrote it.
        suffixes: that can be used here, the preferred one first.
        fetch_uri: downloads MLflow models; without it such references are refused.

    Raises:
        ModelError: it names no such file.
    """
    if reference.startswith(URI_SCHEMES):
        if fetch_uri is None:
            raise ModelError(f"{reference}: MLflow models cannot be fetched here", fix="download it and give the file")
        return _only_model(reference, fetch_uri(reference), suffixes)
    return _model_file(reference, suffixes)


def _locate(reference: str, suffixes: tuple[str, ...], fetch_uri: FetchUri | None) -> Path:
    shipped = demo_weights(reference)
    if shipped:
        return shipped
    if reference in list_networks():
        raise ModelError(
            f"{reference}: the zoo ships no weights for it",
            why=f"only {', '.join(demo_networks())} come with weights",
            fix=f"train it with `medlocker train {reference} --data DIR --out {reference}{SUFFIX}` and give that file",
        )
    return locate_file(reference, suffixes, fetch_uri)


def _model_file(reference: str, suffixes: tuple[str, ...]) -> Path:
    path = Path(reference)
    if path.suffix in suffixes:
        return path
    if path.suffix == ".onnx":
        raise ModelError(
            f"{reference}: an ONNX file cannot be a source",
            fix=f"give the {SUFFIX} file it was exported from; ONNX files can be targets",
        )
    if path.suffix in PICKLED:
        raise ModelError(
            f"{reference}: pickled weights are not read",
            why="loading them can run any code",
            fix=f"save the state dictionary as a {SUFFIX} file",
        )
    raise ModelError(
        f"{reference}: neither a network of the zoo nor a model file",
        fix=f"give one of {', '.join(demo_networks())}, a {' or '.join(suffixes)} file, or an MLflow model URI",
    )


def _only_model(reference: str, fetched: Path, suffixes: tuple[str, ...]) -> Path:
    if fetched.is_file():
        return _model_file(str(fetched), suffixes)
    for suffix in suffixes:
        found = sorted(fetched.rglob(f"*{suffix}"))
        if len(found) > 1:
            raise ModelError(f"{reference}: holds {len(found)} {suffix} files", fix="give the URI of one of them")
        if found:
            return found[0]
    raise ModelError(
        f"{reference}: holds no {' or '.join(suffixes)} file",
        fix="log the file that `medlocker train` or `medlocker export` writes",
    )
