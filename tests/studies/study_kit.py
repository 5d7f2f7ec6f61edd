"""A plan on bright and dark squares, whose networks are known in closed form, and readings written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fakes import LinearClassifier, bright_corner
from PIL import Image

from medlocker.studies.plan import StudyPlan
from medlocker.studies.results import CellReadings, SeenImage
from medlocker.transfer import Network, Readings

NOTHING = SeenImage(
    ssim=None, ssim_mark=None, ssim_lesions=None, mark_area=None, lesion_covered=None, lesion_boxes_covered=None
)


class CountingLoader:
    """Linear networks by any name; counts how often each was loaded."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def sources(self, references):
        self.loaded += references
        return [LinearClassifier(bright_corner(gain=0.02), bias=2.0, name=name) for name in references]

    def targets(self, references):
        self.loaded += references
        return [LinearClassifier(bright_corner(gain=0.03), bias=3.0, name=name) for name in references]

    def segmenter(self, reference):
        raise NotImplementedError(reference)


def squares(folder: Path, count: int = 6) -> Path:
    """Bright squares are class 0, dark ones class 1."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    rows = ["file,grade"]
    for number in range(count):
        level = (30, 90) if number % 2 else (170, 255)
        Image.fromarray(rng.integers(*level, (48, 48, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{number % 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def plan_of(**parts: Any) -> StudyPlan:
    """A small plan; `parts` replace its own."""
    base: dict[str, Any] = {
        "name": "small",
        "seeds": (0, 1),
        "networks": {"a": "a", "b": "b", "c": "c"},
        "ensembles": {"ensemble": {"members": ("a", "b")}},
        "data": {"squares": {}},
        "settings": {"search": {"population": 4, "generations": 1, "iterations": 1}},
        "transfer": {
            "data": "squares",
            "sources": ("a", "ensemble"),
            "targets": ("a", "b", "c", "ensemble"),
            "select": "any",
            "per_class": 2,
        },
    }
    return StudyPlan.model_validate(base | parts)


def read_cell(
    labels: tuple[int, ...], networks: dict[str, dict[str, tuple[int, ...]]], source: str = "s", **more: Any
) -> CellReadings:
    """Readings by hand: network → `clean`, `searched` … → predicted classes."""
    methods = tuple(name for name in next(iter(networks.values())) if name != "clean")
    readings = Readings(
        ids=tuple(f"i{n}" for n in range(len(labels))),
        labels=labels,
        networks=tuple(
            Network(name=name, role="source" if name == source else "target", runtime="r", fingerprint=name)
            for name in networks
        ),
        methods=methods,
        predictions=networks,
        source_network=source,
    )
    return CellReadings(
        readings=readings,
        class_names=("0", "1"),
        seen=(NOTHING,) * len(labels),
        queries=(10,) * len(labels),
        infeasible=more.get("infeasible", ()),
        shrunk=(),
        seconds=1.0,
    )
