"""Average precision and Dice from counts, against worked examples and scikit-learn's definition."""

import numpy as np
import pytest

from medlocker_zoo.segmentation.measuring import (
    LEVELS,
    average_precision,
    best_threshold,
    dice_by_level,
    lesion_reports,
    level_counts,
    mean_precision,
)


def counts_of(probabilities: list[float], mask: list[int]) -> np.ndarray:
    return level_counts(np.array([probabilities], dtype=np.float32), np.array([mask], dtype=bool))


def test_every_pixel_is_counted_once() -> None:
    counts = counts_of([0, 0.0015, 0.5, 1], [0, 1, 1, 0])
    assert counts.sum() == 4
    assert (counts[0, 0], counts[1, 1], counts[1, 500], counts[0, LEVELS - 1]) == (1, 1, 1, 1)


def test_average_precision_by_hand() -> None:
    # Falling order: hit (P 1, R 1/2), miss, hit (P 2/3, R 1): 1/2 + 1/2 · 2/3.
    assert average_precision(counts_of([0.9, 0.8, 0.7], [1, 0, 1])) == pytest.approx(0.5 + 1 / 3)


def test_average_precision_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    mask = rng.random((50, 40)) < 0.1
    probabilities = (np.floor((mask * 0.3 + rng.random((50, 40)) * 0.7) * LEVELS) / LEVELS).astype(np.float32)
    expected = metrics.average_precision_score(mask.ravel(), probabilities.ravel())
    assert average_precision(level_counts(probabilities + 1e-5, mask)) == pytest.approx(expected, abs=2e-4)


def test_without_a_lesion_there_is_no_figure() -> None:
    nothing = counts_of([0.2, 0.9], [0, 0])
    assert np.isnan(average_precision(nothing))
    assert np.isnan(dice_by_level(nothing)).all()
    assert best_threshold(nothing) == 0.5
    assert mean_precision(np.stack([nothing[None], nothing[None]])) == 0


def test_dice_and_the_best_threshold_by_hand() -> None:
    counts = counts_of([0.9, 0.8, 0.4, 0.1], [1, 1, 0, 0])
    dice = dice_by_level(counts)
    assert dice[850] == pytest.approx(2 / 3)
    assert dice[500] == 1
    assert dice[300] == pytest.approx(4 / 5)
    assert 0.4 < best_threshold(counts) <= 0.8


def test_intervals_come_from_images_and_hold_the_value() -> None:
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(12):
        mask = rng.random((20, 20)) < 0.1
        rows.append(level_counts((0.3 * mask + 0.7 * rng.random((20, 20))).astype(np.float32), mask)[None])
    (report,) = lesion_reports(np.stack(rows), ["MA"], [0.5])
    assert (report.images, report.with_lesion) == (12, 12)
    for estimate in (report.average_precision, report.dice):
        assert estimate.low < estimate.value < estimate.high
    (again,) = lesion_reports(np.stack(rows), ["MA"], [0.5])
    assert again.dice == report.dice


def test_equal_images_leave_no_spread() -> None:
    row = counts_of([0.9, 0.8, 0.7], [1, 0, 1])[None]
    (report,) = lesion_reports(np.stack([row] * 5), ["MA"], [0.75])
    assert report.average_precision.low == report.average_precision.high == pytest.approx(5 / 6)
    assert report.dice.value == pytest.approx(0.5)
