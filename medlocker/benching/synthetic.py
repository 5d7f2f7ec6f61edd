"""Synthetic photographs to measure on, and a release made of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medlocker.blending import load_logo
from medlocker.datasets import Dataset, DatasetSpec, open_dataset
from medlocker.datasets.synthetic import draw_fundus
from medlocker.fitness import Ensemble
from medlocker.imageio import Metadata, StoredImage, encode_image, write_atomic
from medlocker.keys import Identity, new_identity
from medlocker.protecting import Protection, ProtectSettings, decisive_settings, protect
from medlocker.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Scene:
    """A folder with synthetic photographs and an owner, to make releases in.

    Attributes:
        folder: holds everything; removed at the end.
        dataset: the photographs.
        owner: of the releases.
    """

    folder: Path
    dataset: Dataset
    owner: Identity

    def protect(self, ensemble: Ensemble, settings: ProtectSettings, name: str) -> tuple[Workspace, Protection]:
        """Make a release `name`: the whole of `protect`, from reading to the sealed vault."""
        logo = load_logo()
        workspace = Workspace.start_or_resume(
            self.folder / name,
            self.folder / f"{name}.owner",
            self.owner,
            decisive_settings(self.dataset, ensemble, logo, settings),
            {},
        )
        return workspace, protect(self.dataset, ensemble, logo, settings, workspace, self.owner)


@contextmanager
def scene(images: int, side: int) -> Iterator[Scene]:
    """Draw photographs into a temporary folder.

    Args:
        images: how many; drawn with seeds 0, 1, ….
        side: px.
    """
    with tempfile.TemporaryDirectory(prefix="medlocker-bench-") as name:
        folder = Path(name)
        for number in range(images):
            pixels = draw_fundus(np.random.default_rng(number), number % 5, side).pixels
            encoded = encode_image(StoredImage(pixels, Metadata()), ".png")
            write_atomic(folder / "images" / f"{number:05}.png", encoded)
        dataset = open_dataset(DatasetSpec(root=folder / "images", layout="plain"))
        yield Scene(folder, dataset, new_identity(folder / "owner.txt"))
