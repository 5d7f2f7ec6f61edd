"""Small labelled data sets and classifiers for the zoo's tests."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image

from medlocker.blending import pixel_sha256
from medlocker.classifiers import Preprocessing
from medlocker.datasets.base import Dataset, Record
from medlocker_zoo.classifier import ClassifierMetadata, TorchClassifier
from medlocker_zoo.registry import Architecture, Augmentation, Card, Recipe, build_network

SIDE = 32
CLASSES = ("dark", "medium", "bright")
ARCHITECTURE = Architecture(timm_name="test_efficientnet")
PREPROCESSING = Preprocessing(input_size=SIDE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bilinear")


def brightness_dataset(folder: Path, per_class: int, seed: int = 0, name: str = "brightness") -> Dataset:
    """Noise images whose class is their mean brightness."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    records = []
    for index in range(per_class * len(CLASSES)):
        label = index % len(CLASSES)
        pixels = rng.integers(80 * label, 80 * label + 60, (SIDE, SIDE, 3), dtype=np.uint8)
        path = folder / f"{index:03d}.png"
        Image.fromarray(pixels).save(path)
        records.append(Record(path.stem, path, PurePosixPath(path.name), label, pixel_sha256(pixels)))
    return Dataset(name, folder, "csv", tuple(records), CLASSES)


def small_card(**recipe: object) -> Card:
    """A card of the smallest timm network, for 32 px images and three quick epochs."""
    settings: dict[str, object] = {
        "epochs": 3,
        "batch_size": 8,
        "patience": None,
        "warmup_epochs": 0.5,
        "augmentation": Augmentation(brightness=0.02, contrast=0.0, colour=0.0),
    }
    return Card(
        name="small",
        family="EfficientNet",
        note="for tests",
        architecture=ARCHITECTURE.model_copy(update={"drop_rate": 0.2}),
        preprocessing=PREPROCESSING,
        recipe=Recipe.model_validate(settings | recipe),
    )


def small_classifier(seed: int = 0, name: str = "small") -> TorchClassifier:
    """A classifier whose random weights give clearly different outputs for different inputs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_network(ARCHITECTURE, len(CLASSES))
        head = network.get_parameter("classifier.weight")
        torch.nn.init.normal_(head, std=2.0)
    metadata = ClassifierMetadata(
        medlocker_version="0",
        network=name,
        architecture=ARCHITECTURE,
        class_names=CLASSES,
        preprocessing=PREPROCESSING,
        seed=seed,
        metrics={"test_accuracy": 0.5},
    )
    return TorchClassifier(network, metadata, torch.device("cpu"))
