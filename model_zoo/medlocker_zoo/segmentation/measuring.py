"""How well lesions are found: average precision and Dice, pooled over the pixels of all images, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medlocker.datasets import Dataset
from medlocker.imageio import read_image
from medlocker.segmenting import Segmenter
from medlocker_zoo.segmentation.patches import record_masks

LEVELS = 1000
"""Steps of probability that are told apart; figures are exact for probabilities rounded down to a thousandth."""
RESAMPLES = 2000

Counts = npt.NDArray[np.int64]
"""(…, 2, LEVELS): pixels off and on the lesion, by probability."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; NaN where no image has the lesion."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


@dataclass(frozen=True, eq=False)
class LesionReport:
    """One lesion type on one data set.

    Attributes:
        lesion: its type.
        images: images measured.
        with_lesion: those that have it.
        average_precision: area under the precision-recall curve, over the pixels of all images.
        dice: at `threshold`, over the pixels of all images.
        threshold: probability from which a pixel counts as lesion.
    """

    lesion: str
    images: int
    with_lesion: int
    average_precision: Estimate
    dice: Estimate
    threshold: float


def level_counts(probabilities: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> Counts:
    """(2, LEVELS) pixels off and on the lesion, by probability.

    Args:
        probabilities: (H, W) in 0–1.
        mask: (H, W).
    """
    level = np.minimum((probabilities * LEVELS).astype(np.int64), LEVELS - 1)
    return np.bincount((level + mask * LEVELS).ravel(), minlength=2 * LEVELS).reshape(2, LEVELS)


def average_precision(counts: Counts) -> npt.NDArray[np.float64]:
    """Area under the precision-recall curve.

    Source: Σ (R_n − R_n−1) · P_n over falling thresholds, as scikit-learn's `average_precision_score`.

    Args:
        counts: (…, 2, LEVELS).

    Returns:
        (…) float64; NaN without a lesion pixel.
    """
    falling = np.cumsum(counts[..., ::-1], axis=-1).astype(np.float64)
    found, called = falling[..., 1, :], falling.sum(axis=-2)
    precision = np.divide(found, called, out=np.ones_like(found), where=called > 0)
    gained = np.diff(found, axis=-1, prepend=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((gained * precision).sum(axis=-1) / found[..., -1])


def dice_by_level(counts: Counts) -> npt.NDArray[np.float64]:
    """(…, LEVELS) Dice when pixels of that level and above count as lesion; NaN without a lesion pixel."""
    called = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1].astype(np.float64)
    there = counts[..., 1, :].sum(axis=-1, keepdims=True).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(there > 0, 2 * called[..., 1, :] / (called.sum(axis=-2) + there), np.nan)


def best_threshold(counts: Counts) -> float:
    """The probability, at least 0.01, from which on pixels give the best Dice; 0.5 without a lesion pixel."""
    dice = dice_by_level(counts)[LEVELS // 100 :]
    return 0.5 if np.isnan(dice).all() else float((np.nanargmax(dice) + LEVELS // 100) / LEVELS)


def collect_counts(
    segmenter: Segmenter, dataset: Dataset, on_image: Callable[[int, int], None] | None = None
) -> Counts:
    """(images, K, 2, LEVELS) of a segmenter on a data set with masks, in the frames of its images.

    Args:
        segmenter: the network.
        dataset: images with masks.
        on_image: called with images done and images in all.
    """
    rows = []
    for index, record in enumerate(dataset.records):
        pixels = read_image(record.path).pixels
        found = segmenter.probabilities(pixels)
        masks = record_masks(record, segmenter.lesions, pixels.shape)
        rows.append(np.stack([level_counts(p, m) for p, m in zip(found, masks, strict=True)]))
        if on_image:
            on_image(index + 1, len(dataset.records))
    return np.stack(rows)


def lesion_reports(
    counts: Counts, lesions: Sequence[str], thresholds: Sequence[float], seed: int = 0
) -> tuple[LesionReport, ...]:
    """Figures a lesion type, with percentile bootstrap intervals over images.

    Args:
        counts: (images, K, 2, LEVELS).
        lesions: K types.
        thresholds: K probabilities.
        seed: of the bootstrap.
    """
    picks = np.random.default_rng(seed).integers(0, len(counts), (RESAMPLES, len(counts)))
    weights = np.stack([np.bincount(pick, minlength=len(counts)) for pick in picks])
    return tuple(
        _report(counts[:, kind], weights, lesion, threshold)
        for kind, (lesion, threshold) in enumerate(zip(lesions, thresholds, strict=True))
    )


def _report(counts: Counts, weights: Counts, lesion: str, threshold: float) -> LesionReport:
    images = len(counts)
    resampled = (weights @ counts.reshape(images, -1)).reshape(len(weights), 2, LEVELS)
    level = min(round(threshold * LEVELS), LEVELS - 1)
    return LesionReport(
        lesion,
        images,
        int((counts[:, 1].sum(axis=-1) > 0).sum()),
        _estimate(float(average_precision(counts.sum(axis=0))), average_precision(resampled)),
        _estimate(float(dice_by_level(counts.sum(axis=0))[level]), dice_by_level(resampled)[:, level]),
        threshold,
    )


def _estimate(value: float, resampled: npt.NDArray[np.float64]) -> Estimate:
    usable = resampled[~np.isnan(resampled)]
    low, high = np.percentile(usable, (2.5, 97.5)) if len(usable) else (float("nan"), float("nan"))
    return Estimate(value, float(low), float(high))


def mean_precision(counts: Counts) -> float:
    """Mean over lesion types of the pooled average precision; a type that does not occur is left out.

    Args:
        counts: (images, K, 2, LEVELS).
    """
    values = average_precision(counts.sum(axis=0))
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def flat(reports: Sequence[LesionReport], prefix: str) -> dict[str, float]:
    """Figures for trackers and metadata, e.g. `test_MA_aupr`; undefined ones are left out."""
    values = {
        f"{prefix}_{report.lesion}_{name}{suffix}": getattr(estimate, bound)
        for report in reports
        for name, estimate in (("aupr", report.average_precision), ("dice", report.dice))
        for suffix, bound in (("", "value"), ("_low", "low"), ("_high", "high"))
    }
    return {name: float(value) for name, value in values.items() if np.isfinite(value)}


def rows(reports: Sequence[LesionReport]) -> list[dict[str, object]]:
    """One table row a lesion type."""
    return [
        {
            "lesion": report.lesion,
            "images": report.images,
            "with_lesion": report.with_lesion,
            "aupr": report.average_precision.value,
            "aupr_low": report.average_precision.low,
            "aupr_high": report.average_precision.high,
            "dice": report.dice.value,
            "dice_low": report.dice.low,
            "dice_high": report.dice.high,
            "threshold": report.threshold,
        }
        for report in reports
    ]
