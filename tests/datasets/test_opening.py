"""Selection, problems, digests: nothing is left out silently."""

from pathlib import Path

import pytest
import trees
from pydantic import ValidationError

from medlocker.blending import pixel_sha256
from medlocker.datasets import DatasetSpec, dataset_digest, open_dataset
from medlocker.errors import DatasetError, SettingsError
from medlocker.imageio import read_image


def ids(spec: DatasetSpec) -> list[str]:
    return [Path(record.id).name for record in open_dataset(spec).records]


def test_where_then_per_class_then_limit(tmp_path: Path) -> None:
    root = trees.csv_tree(tmp_path)
    assert ids(DatasetSpec(root=root, where=(("split", "test"),))) == ["eye4", "eye5"]
    assert ids(DatasetSpec(root=root, where=(("split", "train"), ("grade", "0")))) == ["eye0", "eye3"]
    assert ids(DatasetSpec(root=root, limit=2)) == ["eye0", "eye1"]
    drawn = open_dataset(DatasetSpec(root=root, per_class=1)).records
    assert sorted(record.label for record in drawn if record.label is not None) == [0, 1, 2]
    assert ids(DatasetSpec(root=root, per_class=1, limit=2)) == [Path(record.id).name for record in drawn[:2]]
    assert len(ids(DatasetSpec(root=root, per_class=99))) == 6


def test_the_draw_follows_the_seed(tmp_path: Path) -> None:
    root = trees.csv_tree(tmp_path)
    draws = [tuple(ids(DatasetSpec(root=root, per_class=1, seed=seed))) for seed in (*range(12), 0)]
    assert draws[0] == draws[-1]
    assert len(set(draws)) > 1


def test_labels_mean_the_same_in_every_part(tmp_path: Path) -> None:
    root = trees.csv_tree(tmp_path)
    trees.labels(root, "images/eye0.png,mild,train", "images/eye1.png,severe,test")
    dataset = open_dataset(DatasetSpec(root=root, where=(("split", "test"),)))
    assert dataset.class_names == ("mild", "severe") and dataset.records[0].label == 1


def test_only_selected_files_are_decoded(tmp_path: Path) -> None:
    root = trees.csv_tree(tmp_path)
    (root / "images" / "eye5.png").write_bytes(b"junk")
    assert len(ids(DatasetSpec(root=root, limit=5))) == 5
    with pytest.raises(DatasetError, match=r"eye5\.png"):
        open_dataset(DatasetSpec(root=root))


def test_selections_that_cannot_be_are_refused(tmp_path: Path) -> None:
    root = trees.csv_tree(tmp_path / "csv")
    with pytest.raises(DatasetError, match=r"no column colour\. the columns are file, grade, split"):
        open_dataset(DatasetSpec(root=root, where=(("colour", "red"),)))
    with pytest.raises(DatasetError, match=r"no row where split is val\. split has the values test, train"):
        open_dataset(DatasetSpec(root=root, where=(("split", "val"),)))
    plain = trees.picture(tmp_path / "plain" / "x.png", 1).parent
    with pytest.raises(SettingsError, match="has no CSV file"):
        open_dataset(DatasetSpec(root=plain, where=(("split", "val"),)))
    with pytest.raises(SettingsError, match="has no labels"):
        open_dataset(DatasetSpec(root=plain, per_class=1))


@pytest.mark.parametrize("field", [{"limit": 0}, {"per_class": 0}, {"seed": -1}, {"layout": "zip"}, {"extra": 1}])
def test_specs_are_checked(tmp_path: Path, field: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DatasetSpec.model_validate({"root": tmp_path, **field})


BAD_ROWS = {
    "missing": ("images/none.png,1,train", "no such image file"),
    "empty": ("images/empty.png,1,train", "the file is empty"),
    "unreadable": ("images/truncated.png,1,train", "truncated"),
    "unsupported": ("images/cmyk.jpg,1,train", "pixels of kind CMYK"),
    "duplicate": ("images/zz_copy.bmp,1,train", "its pixels are those of"),
    "unlabelled": ("images/eye1.png,,train", "its row gives no label"),
    "bad_label": ("images/eye2.png,many,train", "many is not one of the classes, 0 to 2"),
}


def damaged_tree(root: Path) -> Path:
    """A data set with one file of each problem, beside two good ones."""
    trees.csv_tree(root)
    images = root / "images"
    for name in ("eye3.png", "eye4.png"):
        (images / name).unlink()
    (images / "empty.png").touch()
    (images / "truncated.png").write_bytes((images / "eye0.png").read_bytes()[:80])
    trees.picture(images / "zz_copy.bmp", 0)
    from PIL import Image

    Image.new("CMYK", (4, 4)).save(images / "cmyk.jpg")
    good = ("images/eye0.png,0,train", "images/eye5.png,2,test")
    trees.labels(root, *good, *(row for row, _ in BAD_ROWS.values()))
    return root


def test_skip_leaves_each_problem_out_and_lists_it(tmp_path: Path) -> None:
    root = damaged_tree(tmp_path)
    dataset = open_dataset(DatasetSpec(root=root, on_error="skip"))
    assert [record.id for record in dataset.records] == ["images/eye0", "images/eye5"]
    found = {problem.reason: problem for problem in dataset.problems}
    assert found.keys() == BAD_ROWS.keys() and len(dataset.problems) == len(BAD_ROWS)
    for reason, (row, detail) in BAD_ROWS.items():
        assert found[reason].path == root / row.split(",")[0]
        assert detail in found[reason].detail


def test_stop_names_every_problem_in_one_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="7 of 9 selected files cannot be used") as caught:
        open_dataset(DatasetSpec(root=damaged_tree(tmp_path)))
    message = str(caught.value)
    assert "--on-error skip" in message
    for reason, (row, detail) in BAD_ROWS.items():
        assert f"{row.split(',')[0]}: {reason}: " in message and detail in message


def test_long_lists_of_problems_end_in_a_count(tmp_path: Path) -> None:
    trees.picture(tmp_path / "x.png", 1)
    trees.labels(tmp_path, "x.png,1,train", *(f"gone{index:02d}.png,1,train" for index in range(13)))
    with pytest.raises(DatasetError, match=r"gone09\.png(?s:.*)and 3 more") as caught:
        open_dataset(DatasetSpec(root=tmp_path))
    assert "gone10" not in str(caught.value)


def test_a_data_set_without_any_usable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    with pytest.raises(DatasetError, match=r"1 of 1 selected files.*(?s:.*)there is nothing else to read"):
        open_dataset(DatasetSpec(root=tmp_path, on_error="skip"))


def test_two_files_of_one_id(tmp_path: Path) -> None:
    for seed, suffix in enumerate(["jpg", "png"]):
        trees.picture(tmp_path / f"a.{suffix}", seed)
    dataset = open_dataset(DatasetSpec(root=tmp_path, on_error="skip"))
    assert [record.path.name for record in dataset.records] == ["a.jpg"]
    (problem,) = dataset.problems
    assert problem.path.name == "a.png" and problem.reason == "duplicate" and "same id" in problem.detail


def test_a_row_given_twice_with_two_labels(tmp_path: Path) -> None:
    root = trees.csv_tree(tmp_path)
    trees.labels(root, "images/eye0.png,0,train", "images/eye0.png,2,train")
    (problem, *_) = open_dataset(DatasetSpec(root=root, on_error="skip", where=(("split", "train"),))).problems
    assert problem.detail == "it is listed twice, with the labels 0 and 2"


def test_duplicates_with_other_labels_say_so(tmp_path: Path) -> None:
    root = trees.csv_tree(tmp_path)
    trees.picture(root / "images" / "copy.png", 0)
    with (root / "labels.csv").open("a") as table:
        table.write("images/copy.png,2,train\n")
    dataset = open_dataset(DatasetSpec(root=root, on_error="skip"))
    assert dataset.records[0].id == "images/copy"
    assert "which has another label" in dataset.problems[0].detail


def test_images_no_row_names_are_listed_unless_a_part_is_selected(tmp_path: Path) -> None:
    root = trees.csv_tree(tmp_path)
    trees.picture(root / "images" / "stray.png", 77)
    (problem,) = open_dataset(DatasetSpec(root=root, on_error="skip")).problems
    assert problem.reason == "unlabelled" and problem.path.name == "stray.png"
    assert not open_dataset(DatasetSpec(root=root, where=(("split", "train"),))).problems


@pytest.mark.parametrize("value", ["../secret.png", "images/../../secret.png", "..\\secret.png", "{outside}"])
def test_rows_cannot_leave_the_data_set(tmp_path: Path, value: str) -> None:
    outside = trees.picture(tmp_path / "secret.png", 5)
    root = trees.csv_tree(tmp_path / "data")
    trees.labels(root, f"{value.format(outside=outside)},1,train", "images/eye0.png,1,train")
    (problem, *_) = open_dataset(DatasetSpec(root=root, on_error="skip", limit=9)).problems
    assert problem.reason == "unsupported" and "leaves the data set's folder" in problem.detail


def test_links_cannot_leave_the_data_set(tmp_path: Path) -> None:
    outside = trees.picture(tmp_path / "secret" / "x.png", 5)
    root = trees.csv_tree(tmp_path / "data")
    (root / "images" / "link.png").symlink_to(outside)
    (root / "images" / "within.png").symlink_to(root / "images" / "eye1.png")
    trees.labels(root, "images/link.png,1,train", "images/within.png,1,train")
    dataset = open_dataset(DatasetSpec(root=root, on_error="skip", limit=9))
    assert [record.id for record in dataset.records] == ["images/within"]
    assert dataset.problems[0].reason == "unsupported" and "a link that leaves" in dataset.problems[0].detail
    (root / "more").symlink_to(outside.parent)
    with pytest.raises(DatasetError, match="more: a link to a folder elsewhere"):
        open_dataset(DatasetSpec(root=root))


def test_masks_cannot_leave_the_data_set_and_must_exist(tmp_path: Path) -> None:
    trees.mask(tmp_path / "secret.png")
    root = trees.csv_tree(tmp_path / "data")
    trees.labels(root, "images/eye0.png,../secret.png", "images/eye1.png,masks/none.png", name="index.csv",
                 header="file,MA")  # fmt: skip
    problems = open_dataset(DatasetSpec(root=root, on_error="skip")).problems
    assert [(problem.path.name, problem.reason) for problem in problems] == [
        ("eye0.png", "unsupported"), ("eye1.png", "missing"),
    ]  # fmt: skip


def test_a_name_that_fits_two_files_is_not_guessed(tmp_path: Path) -> None:
    for seed, part in enumerate("ab"):
        trees.picture(tmp_path / part / "eye.png", seed)
    trees.labels(tmp_path, "eye,1,train", "b/eye.png,1,train")
    dataset = open_dataset(DatasetSpec(root=tmp_path, on_error="skip", limit=9))
    assert [record.id for record in dataset.records] == ["b/eye"]
    assert "the name fits 2 files" in dataset.problems[0].detail


def test_absolute_paths_inside_the_data_set_are_followed(tmp_path: Path) -> None:
    root = trees.csv_tree(tmp_path)
    trees.labels(root, f"{root / 'images' / 'eye2.png'},1,train")
    assert ids(DatasetSpec(root=root, limit=1)) == ["eye2"]


def test_hashes_are_those_of_the_stored_pixels_whatever_the_workers(tmp_path: Path) -> None:
    root, calls = trees.csv_tree(tmp_path), []
    one = open_dataset(DatasetSpec(root=root), progress=lambda done, total: calls.append((done, total)))
    assert open_dataset(DatasetSpec(root=root), workers=4) == one
    assert calls == [(done, 6) for done in range(1, 7)]
    for record in one.records:
        assert record.pixel_sha256 == pixel_sha256(read_image(record.path).pixels)


def test_digest_depends_on_content_only(tmp_path: Path) -> None:
    first = open_dataset(DatasetSpec(root=trees.csv_tree(tmp_path / "one")))
    other = trees.csv_tree(tmp_path / "two")
    lines = (other / "labels.csv").read_text().splitlines()
    trees.labels(other, *reversed(lines[1:]))
    picture = other / "images" / "eye3.png"
    trees.picture(picture.with_suffix(".bmp"), 3)
    picture.unlink()
    (other / "labels.csv").write_text((other / "labels.csv").read_text().replace("eye3.png", "eye3.bmp"))
    digest = dataset_digest(first)
    assert len(digest) == 64 and dataset_digest(open_dataset(DatasetSpec(root=other))) == digest
    trees.picture(other / "images" / "eye3.bmp", 33)
    assert dataset_digest(open_dataset(DatasetSpec(root=other))) != digest
    assert dataset_digest(open_dataset(DatasetSpec(root=tmp_path / "one", limit=5))) != digest
    table = tmp_path / "one" / "labels.csv"
    table.write_text(table.read_text().replace("eye0.png,0", "eye0.png,1"))
    assert dataset_digest(open_dataset(DatasetSpec(root=tmp_path / "one"))) != digest
