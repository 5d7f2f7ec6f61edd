"""Turn what a user typed into networks and data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from medlocker.allocator import keep_freed_memory
from medlocker.classifiers import Classifier
from medlocker.datasets import DatasetSpec
from medlocker.datasets.synthetic import write_synthetic_dataset
from medlocker.errors import SettingsError
from medlocker.segmenting import Segmenter
from medlocker_mlflow.fetch import fetch_model
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
        chosen_device(device)

    def sources(self, references: Sequence[str]) -> Sequence[Classifier]:
        """Networks the search may query, on this machine's device: a loader also travels to workers."""
        keep_freed_memory()
        if not references:
            raise SettingsError(
                "no source network was named", fix="name one with --sources; medlocker networks lists them"
            )
        return resolve_sources(",".join(references), chosen_device(self.asked), fetch_uri=fetch_model)

    def targets(self, references: Sequence[str]) -> Sequence[Classifier]:
        """Networks that only measure transfer."""
        if not references:
            return ()
        return resolve_targets(",".join(references), provider=self.provider, fetch_uri=fetch_model)

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
