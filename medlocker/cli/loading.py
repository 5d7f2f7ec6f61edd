"""Turn what a user typed into networks and data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from medlocker.allocator import keep_freed_memory
from medlocker.classifiers import Classifier
from medlocker.datasets import DatasetSpec
from medlocker.datasets.synthetic import write_synthetic_dataset
from medlocker.errors import SettingsError
from medlocker.segmenting import Segmenter
from medlocker.tracking import ModelOrigin
from medlocker_mlflow.fetch import fetch_model, find_by_weights, is_model_uri, pin_model
from medlocker_zoo.resolve import resolve_sources, resolve_targets
from medlocker_zoo.targets import Provider

DEMO = "demo"
DEMO_PER_GRADE = 4
DEMO_SEED = 2026


class ZooLoader:
    """Loads networks from the model zoo, from files and from MLflow.

    Args:
        device: where sources run; None for CUDA where there is one.
        provider: where ONNX Runtime runs targets.
    """

    def __init__(self, device: str | None = None, provider: Provider = "auto") -> None:
        self.asked = device
        self.provider: Provider = provider
        self._pins: dict[str, ModelOrigin] = {}
        self._origins: dict[str, ModelOrigin] = {}
        chosen_device(device)

    @property
    def origins(self) -> Sequence[ModelOrigin]:
        """Which stored model versions the networks loaded so far are."""
        return tuple(self._origins.values())

    def pinned(self, references: Sequence[str]) -> tuple[str, ...]:
        """The references with every alias replaced by the version it stands for now, so that later commands and other
        people load the same weights."""
        found = {reference: pin_model(reference) for reference in references if is_model_uri(reference)}
        self._pins |= {origin.uri: origin for origin in found.values()}
        return tuple(found[reference].uri if reference in found else reference for reference in references)

    def sources(self, references: Sequence[str]) -> Sequence[Classifier]:
        """Networks the search may query, on this machine's device: a loader also travels to workers."""
        keep_freed_memory()
        if not references:
            raise SettingsError(
                "no source network was named", fix="name one with --sources; medlocker networks lists them"
            )
        references, device = self.pinned(references), chosen_device(self.asked)
        return self._noted(references, resolve_sources(",".join(references), device, fetch_uri=fetch_model))

    def targets(self, references: Sequence[str]) -> Sequence[Classifier]:
        """Networks that only measure transfer."""
        if not references:
            return ()
        references = self.pinned(references)
        found = resolve_targets(",".join(references), provider=self.provider, fetch_uri=fetch_model)
        return self._noted(references, found)

    def _noted(self, references: Sequence[str], networks: Sequence[Classifier]) -> Sequence[Classifier]:
        """Remember where each network comes from, by what it was called or by its weights."""
        for reference, network in zip(references, networks, strict=True):
            origin = self._pins.get(reference) or find_by_weights(network.fingerprint)
            if origin:
                self._origins[network.name] = replace(origin, network=network.name)
        return networks

    def segmenter(self, reference: str) -> Segmenter:
        """A network that draws lesion masks."""
        from medlocker_zoo.segmentation import resolve_segmenter

        return resolve_segmenter(reference, chosen_device(self.asked), provider=self.provider, fetch_uri=fetch_model)


def chosen_device(name: str | None) -> torch.device:
    """The device a user named, or CUDA where there is one.

    Raises:
        SettingsError: there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"--device {name}: not usable here", why=str(error).splitlines()[0]) from error
    return device


def demo_data(folder: Path) -> DatasetSpec:
    """Write the embedded synthetic data set below a folder; the same images every time."""
    folder = folder / "synthetic-fundus"
    write_synthetic_dataset(folder, per_grade=DEMO_PER_GRADE, seed=DEMO_SEED, split="test")
    return DatasetSpec(root=folder)
