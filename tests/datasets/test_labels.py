"""Labels as written become class indices."""

import pytest

from medlocker.datasets.labels import class_index, class_names
from medlocker.errors import DatasetError


def test_grades_keep_their_number_even_where_one_is_absent() -> None:
    names = class_names(["4", "0", "2", ""])
    assert names == ("0", "1", "2", "3", "4")
    assert [class_index(label, names) for label in ("0", "4", "2.0", "02")] == [0, 4, 2, 2]


@pytest.mark.parametrize("label", ["", "-1", "5", "1.5", "x", "²", "9" * 30])
def test_what_is_no_grade_has_no_index(label: str) -> None:
    assert class_index(label, ("0", "1", "2", "3", "4")) is None


def test_a_stray_word_does_not_turn_grades_into_names() -> None:
    assert class_names(["0", "1", "unclear"]) == ("0", "1")


def test_names_are_sorted() -> None:
    names = class_names(["severe", "mild", "mild", "no DR"])
    assert names == ("mild", "no DR", "severe")
    assert class_index("severe", names) == 2


def test_no_labels_no_classes() -> None:
    assert class_names(["", ""]) == ()


@pytest.mark.parametrize("labels", [["1000"], [f"patient {index}" for index in range(1001)]])
def test_a_column_that_holds_no_classes_is_refused(labels: list[str]) -> None:
    with pytest.raises(DatasetError, match="the column may not be the one with the labels"):
        class_names(labels)
