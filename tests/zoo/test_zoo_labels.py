from pathlib import Path

import pytest
from zoo_data import brightness_dataset

from medlocker.errors import DatasetError, SettingsError
from medlocker_zoo.labels import map_labels, parse_label_map, split_dataset


def test_a_binary_map_joins_grades(tmp_path: Path) -> None:
    mapped = map_labels(brightness_dataset(tmp_path, 2), parse_label_map("no DR=0;DR=1,2"))
    assert mapped.class_names == ("no DR", "DR")
    assert [record.label for record in mapped.records] == [0, 1, 1, 0, 1, 1]


def test_classes_outside_the_map_are_left_out(tmp_path: Path) -> None:
    mapped = map_labels(brightness_dataset(tmp_path, 2), parse_label_map("low=0;high=2"))
    assert [record.label for record in mapped.records] == [0, 1, 0, 1]


@pytest.mark.parametrize("text", ["", "a=0", "a=0;b=x", "a=0;b=0", "a;b", "a=0;b=1=2"])
def test_a_map_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--label-map"):
        parse_label_map(text)


def test_a_class_the_data_do_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no class 7"):
        map_labels(brightness_dataset(tmp_path, 1), parse_label_map("a=0;b=7"))


def test_a_split_is_stratified_disjoint_and_repeatable(tmp_path: Path) -> None:
    dataset = brightness_dataset(tmp_path, 10)
    rest, held = split_dataset(dataset, 0.2, seed=4)
    assert [record.label for record in held.records].count(1) == 2
    assert {record.id for record in rest.records} | {record.id for record in held.records} == {
        record.id for record in dataset.records
    }
    assert len(rest.records) == 24
    assert split_dataset(dataset, 0.2, seed=4) == (rest, held)
    assert split_dataset(dataset, 0.2, seed=5) != (rest, held)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 2.0])
def test_a_share_outside_zero_to_one_is_refused(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(SettingsError):
        split_dataset(brightness_dataset(tmp_path, 2), fraction, seed=0)


def test_a_split_without_held_out_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be split"):
        split_dataset(brightness_dataset(tmp_path, 2), 0.1, seed=0)
