"""How well a classifier grades a labelled data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from medlocker.classifiers import Classifier
from medlocker.datasets.base import Dataset
from medlocker.errors import DatasetError, ModelError
from medlocker.imageio import read_image
from medlocker.metrics import Proportion
from medlocker.preprocessing import network_input
from medlocker_zoo.pixels import labels_of

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Kappa:
    """Quadratic weighted kappa with its 95 % interval; NaN where only one class occurs."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


@dataclass(frozen=True, eq=False)
class EvalReport:
    """Accuracy of one classifier on one data set.

    Attributes:
        classifier: its name.
        dataset: its name.
        class_names: one per class.
        confusion: (K, K) counts, row = true class, column = predicted class.
    """

    classifier: str
    dataset: str
    class_names: tuple[str, ...]
    confusion: npt.NDArray[np.int64]

    @property
    def accuracy(self) -> Proportion:
        """Correct images of all."""
        return Proportion(int(np.trace(self.confusion)), int(self.confusion.sum()))

    @property
    def per_class(self) -> tuple[Proportion, ...]:
        """Correct images among those of each class."""
        return tuple(Proportion(int(row[index]), int(row.sum())) for index, row in enumerate(self.confusion))

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the per-class accuracies over classes that occur."""
        return float(np.mean([share.rate for share in self.per_class if share.n]))

    @property
    def kappa(self) -> Kappa:
        """Quadratic weighted kappa."""
        return quadratic_kappa(self.confusion)

    def flat(self, prefix: str) -> dict[str, float]:
        """Scalars for trackers and metadata, e.g. `test_accuracy`; undefined figures are left out."""
        low, high = self.accuracy.interval
        values = {
            "images": float(self.accuracy.n),
            "accuracy": self.accuracy.rate,
            "accuracy_low": low,
            "accuracy_high": high,
            "balanced_accuracy": self.balanced_accuracy,
            "kappa": self.kappa.value,
            "kappa_low": self.kappa.low,
            "kappa_high": self.kappa.high,
        } | {f"accuracy_class_{index}": share.rate for index, share in enumerate(self.per_class)}
        return {f"{prefix}_{name}": value for name, value in values.items() if np.isfinite(value)}

    def rows(self) -> list[dict[str, object]]:
        """One table row per class: name, images, correct ones, rate and its interval."""
        return [
            {"class": name, "images": share.n, "correct": share.k, "accuracy": share.rate, "interval": str(share)}
            for name, share in zip(self.class_names, self.per_class, strict=True)
        ]


def confusion_matrix(
    labels: npt.NDArray[np.int64], predictions: npt.NDArray[np.int64], classes: int
) -> npt.NDArray[np.int64]:
    """(K, K) counts, row = true class, column = predicted class."""
    return np.bincount(labels * classes + predictions, minlength=classes * classes).reshape(classes, classes)


def quadratic_kappa(confusion: npt.NDArray[np.int64]) -> Kappa:
    """Agreement of two ordinal gradings beyond chance.

    Source: Cohen 1968; standard error by Fleiss, Cohen and Everitt 1969. For two classes it is the unweighted kappa.

    Args:
        confusion: (K, K) counts.

    Returns:
        Kappa; NaN when chance alone already agrees in full.
    """
    classes, count = len(confusion), int(confusion.sum())
    share = confusion / max(count, 1)
    distance = np.subtract.outer(np.arange(classes), np.arange(classes)) / max(classes - 1, 1)
    weight = 1 - distance**2
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    observed, expected = float((weight * share).sum()), float((weight * np.outer(rows, columns)).sum())
    if count == 0 or np.isclose(expected, 1):
        return Kappa(float("nan"), float("nan"), float("nan"))
    kappa = (observed - expected) / (1 - expected)
    mean_weight = np.add.outer(weight @ columns, rows @ weight)
    spread = (share * (weight * (1 - expected) - mean_weight * (1 - observed)) ** 2).sum()
    variance = (spread - (observed * expected - 2 * expected + observed) ** 2) / (count * (1 - expected) ** 4)
    error = Z95 * float(np.sqrt(max(variance, 0.0)))
    return Kappa(kappa, max(kappa - error, -1.0), min(kappa + error, 1.0))


def evaluate_classifier(
    classifier: Classifier,
    dataset: Dataset,
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> EvalReport:
    """Grade every image of a data set through the reference preprocessing.

    Args:
        classifier: the network.
        dataset: fully labelled, with as many classes as the network has outputs.
        batch_size: images a forward pass.
        progress: called with images done and images in all.

    Raises:
        DatasetError: the data set is empty, or an image has no label.
        ModelError: the number of classes differs.
    """
    if not dataset.records:
        raise DatasetError(f"{dataset.name}: no image to measure on")
    labels = labels_of(dataset)
    if len(dataset.class_names) != classifier.num_classes:
        raise ModelError(
            f"{classifier.name} knows {classifier.num_classes} classes, {dataset.name} has {len(dataset.class_names)}",
            fix="use data with the classes it was trained on, or map labels with --label-map",
        )
    predictions: list[int] = []
    for start in range(0, len(dataset.records), batch_size):
        batch = dataset.records[start : start + batch_size]
        pixels = [read_image(record.path).pixels for record in batch]
        inputs = torch.stack([network_input(image, classifier.preprocessing) for image in pixels])
        predictions += classifier.probabilities(inputs.to(classifier.device)).argmax(dim=1).tolist()
        if progress:
            progress(len(predictions), len(dataset.records))
    confusion = confusion_matrix(labels, np.asarray(predictions, dtype=np.int64), classifier.num_classes)
    return EvalReport(classifier.name, dataset.name, dataset.class_names, confusion)
