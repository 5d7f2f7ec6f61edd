from pathlib import Path

import numpy as np
import pytest
from zoo_data import CLASSES, brightness_dataset, small_classifier

from medlocker.errors import DatasetError, ModelError
from medlocker.preprocessing import network_input
from medlocker_zoo.evaluation import EvalReport, confusion_matrix, evaluate_classifier, quadratic_kappa


def test_full_agreement_has_kappa_one_and_no_width() -> None:
    kappa = quadratic_kappa(np.diag([5, 3, 2]))
    assert kappa.value == pytest.approx(1)
    assert kappa.low == pytest.approx(1)


def test_independent_gradings_have_kappa_zero() -> None:
    confusion = np.outer([2, 3, 5], [4, 4, 2])
    assert quadratic_kappa(confusion).value == pytest.approx(0, abs=1e-12)


def test_opposite_gradings_have_kappa_minus_one() -> None:
    assert quadratic_kappa(np.array([[0, 0, 4], [0, 0, 0], [4, 0, 0]])).value == pytest.approx(-1)


def test_two_classes_give_the_unweighted_kappa_and_its_textbook_error() -> None:
    # Fleiss, Cohen and Everitt, for a 2 x 2 table: po = 0.7, pe = 0.5, kappa = 0.4.
    confusion = np.array([[20, 5], [10, 15]])
    kappa = quadratic_kappa(confusion)
    po, pe = 0.7, 0.5
    diagonal = 0.4 * ((1 - pe) - (0.6 + 0.5) * (1 - po)) ** 2 + 0.3 * ((1 - pe) - (0.4 + 0.5) * (1 - po)) ** 2
    off = (1 - po) ** 2 * (0.1 * (0.6 + 0.5) ** 2 + 0.2 * (0.4 + 0.5) ** 2)
    # The off-diagonal terms pair the column share of the row's class with the row share of the column's class.
    error = np.sqrt((diagonal + off - (po * pe - 2 * pe + po) ** 2) / (50 * (1 - pe) ** 4))
    assert kappa.value == pytest.approx(0.4)
    assert (kappa.high - kappa.low) / 2 == pytest.approx(1.959964 * error, rel=0.02)


def test_the_interval_agrees_with_resampling() -> None:
    rng = np.random.default_rng(0)
    share = np.array([[0.25, 0.05, 0.02], [0.06, 0.2, 0.08], [0.01, 0.07, 0.26]])
    draws = [quadratic_kappa(rng.multinomial(400, share.ravel()).reshape(3, 3)).value for _ in range(2000)]
    expected = quadratic_kappa(np.round(share * 400).astype(np.int64))
    assert np.std(draws) * 1.96 == pytest.approx((expected.high - expected.low) / 2, rel=0.1)


def test_one_class_alone_has_no_kappa() -> None:
    assert np.isnan(quadratic_kappa(np.array([[7, 0], [0, 0]])).value)


def test_the_confusion_matrix_counts_rows_of_truth() -> None:
    confusion = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 2, 1, 1]), 3)
    assert confusion.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]


def test_a_report_leaves_undefined_figures_out() -> None:
    report = EvalReport("net", "data", ("a", "b", "c"), np.array([[3, 1, 0], [1, 5, 0], [0, 0, 0]]))
    flat = report.flat("test")
    assert flat["test_accuracy"] == pytest.approx(0.8)
    assert flat["test_balanced_accuracy"] == pytest.approx((3 / 4 + 5 / 6) / 2)
    assert "test_accuracy_class_2" not in flat
    assert [row["correct"] for row in report.rows()] == [3, 5, 0]


def test_evaluation_counts_what_the_network_answers(tmp_path: Path) -> None:
    dataset, classifier = brightness_dataset(tmp_path, 4), small_classifier()
    report = evaluate_classifier(classifier, dataset, batch_size=5)
    from medlocker.imageio import read_image

    expected = 0
    for record in dataset.records:
        inputs = network_input(read_image(record.path).pixels, classifier.preprocessing)[None]
        expected += int(classifier.probabilities(inputs).argmax()) == record.label
    assert report.accuracy.k == expected
    assert report.accuracy.n == 12
    assert [share.n for share in report.per_class] == [4, 4, 4]


def test_other_classes_are_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    dataset = replace(brightness_dataset(tmp_path, 1), class_names=(*CLASSES, "blinding"))
    with pytest.raises(ModelError, match="knows 3 classes"):
        evaluate_classifier(small_classifier(), dataset)


def test_an_unlabelled_image_is_named(tmp_path: Path) -> None:
    from dataclasses import replace

    dataset = brightness_dataset(tmp_path, 1)
    records = (replace(dataset.records[0], label=None), *dataset.records[1:])
    with pytest.raises(DatasetError, match=r"000\.png"):
        evaluate_classifier(small_classifier(), replace(dataset, records=records))
