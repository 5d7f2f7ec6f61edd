"""Every layout is recognised, and its ids, labels and masks are the ones on disk."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import trees

from medlocker.datasets import DatasetSpec, Layout, open_dataset, read_mask
from medlocker.errors import DatasetError, ImageReadError, MissingImageError
from medlocker.imageio import read_image

GRADING = "B. Disease Grading/1. Original Images"
SEGMENTATION = "A. Segmentation/1. Original Images"

EXPECTED: list[tuple[Layout, Callable[[Path], Path], dict[str, int | None], tuple[str, ...]]] = [
    ("csv", trees.csv_tree, {f"images/eye{index}": index % 3 for index in range(6)}, ("0", "1", "2")),
    ("csv", trees.synthetic_tree, {f"images/eye{index}": index % 3 for index in range(6)}, ("0", "1", "2")),
    ("folders", trees.folders_tree, {"healthy/1": 0, "sick/0": 1, "sick/2": 1}, ("healthy", "sick")),
    ("plain", lambda root: trees.picture(root / "a" / "x.png", 1).parent.parent, {"a/x": None}, ()),
    ("eyepacs", trees.eyepacs_tree, {"train/10_left": 0, "train/10_right": 4, "train/13_left": 2}, tuple("01234")),
    ("aptos", trees.aptos_tree, {"train_images/000c14": 2, "train_images/001639": 4}, tuple("01234")),
    ("idrid_grading", trees.idrid_grading_tree,
     {f"{GRADING}/{part}/IDRiD_00{number}": grade for part in ("a. Training Set", "b. Testing Set")
      for number, grade in ((1, 3), (2, 0))}, tuple("0123")),
    ("idrid_segmentation", trees.idrid_segmentation_tree,
     {f"{SEGMENTATION}/a. Training Set/IDRiD_01": None, f"{SEGMENTATION}/b. Testing Set/IDRiD_55": None}, ()),
    ("retinamnist", trees.retinamnist_tree,
     {f"{split}/{index:05d}": index for split, count in (("train", 5), ("val", 2), ("test", 3))
      for index in range(count)}, tuple("01234")),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "build", "expected", "names"), EXPECTED)
@pytest.mark.parametrize("asked", [True, False], ids=["asked", "auto"])
def test_each_layout(
    tmp_path: Path,
    layout: Layout,
    build: Callable[[Path], Path],
    expected: dict[str, int | None],
    names: tuple[str, ...],
    asked: bool,
) -> None:
    dataset = open_dataset(DatasetSpec(root=build(tmp_path / "data"), layout=layout if asked else "auto"))
    assert dataset.layout == layout
    assert {record.id: record.label for record in dataset.records} == expected
    assert [record.id for record in dataset.records] == sorted(expected)
    assert dataset.class_names == names
    assert dataset.labelled == bool(names)
    for record in dataset.records:
        assert record.path == dataset.root / record.relative_path and record.path.is_file()


def test_synthetic_layout_has_labels_and_masks_at_once(tmp_path: Path) -> None:
    root = trees.synthetic_tree(tmp_path)
    first, second, *_ = open_dataset(DatasetSpec(root=root)).records
    assert first.lesion_masks == {"MA": root / "masks/MA/eye0.png", "OD": root / "masks/OD/eye0.png"}
    assert first.label == 0 and second.lesion_masks == {}
    assert read_mask(first.lesion_masks["MA"], (6, 8)).sum() == 1


@pytest.mark.parametrize("name", ["eye1.png", "eye1_HE.tif", "images/eye1.png"])
def test_masks_are_found_in_a_folder(tmp_path: Path, name: str) -> None:
    root = trees.csv_tree(tmp_path)
    expected = trees.mask(root / "masks" / "HE" / name)
    masks = {record.id: record.lesion_masks for record in open_dataset(DatasetSpec(root=root)).records}
    assert masks.pop("images/eye1") == {"HE": expected}
    assert not any(masks.values())


def test_masks_outside_the_root_are_named_by_option(tmp_path: Path) -> None:
    expected = trees.mask(tmp_path / "lesions" / "EX" / "eye0.png")
    spec = DatasetSpec(root=trees.csv_tree(tmp_path / "data"), masks=tmp_path / "lesions")
    assert open_dataset(spec).records[0].lesion_masks == {"EX": expected}


def test_a_mask_two_images_could_own_is_refused(tmp_path: Path) -> None:
    for seed, part in enumerate("ab"):
        trees.picture(tmp_path / part / "eye.png", seed)
    trees.mask(tmp_path / "masks" / "EX" / "eye.png")
    with pytest.raises(DatasetError, match="belongs to several images"):
        open_dataset(DatasetSpec(root=tmp_path))


@pytest.mark.parametrize("masks", ["none", "empty"])
def test_masks_that_are_not_there_are_refused(tmp_path: Path, masks: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=masks):
        open_dataset(DatasetSpec(root=trees.csv_tree(tmp_path / "data"), masks=tmp_path / masks))


def test_idrid_masks_go_to_their_image(tmp_path: Path) -> None:
    spec = DatasetSpec(root=trees.idrid_segmentation_tree(tmp_path), where=(("split", "test"),))
    (record,) = open_dataset(spec).records
    assert record.id.endswith("IDRiD_55") and sorted(record.lesion_masks) == ["MA", "OD"]
    assert {path.name for path in record.lesion_masks.values()} == {"IDRiD_55_MA.tif", "IDRiD_55_OD.tif"}


def test_read_mask_refuses_another_frame(tmp_path: Path) -> None:
    path = trees.mask(tmp_path / "m.png")
    assert read_mask(path, (6, 8)).tolist() == (read_image(path).pixels > 0).tolist()
    with pytest.raises(DatasetError, match=r"m\.png: the mask is 8 x 6 px, its image 6 x 8 px"):
        read_mask(path, (8, 6))
    with pytest.raises(MissingImageError):
        read_mask(tmp_path / "none.png", (6, 8))


def test_read_mask_ignores_opacity(tmp_path: Path) -> None:
    from PIL import Image

    rgba = np.zeros((6, 8, 4), np.uint8)
    rgba[..., 3], rgba[1, 1, 0] = 255, 200
    Image.fromarray(rgba).save(tmp_path / "m.png")
    assert np.argwhere(read_mask(tmp_path / "m.png", (6, 8))).tolist() == [[1, 1]]


def test_an_index_without_labels_is_an_unlabelled_data_set(tmp_path: Path) -> None:
    root = trees.synthetic_tree(tmp_path)
    (root / "labels.csv").unlink()
    dataset = open_dataset(DatasetSpec(root=root))
    assert dataset.layout == "csv" and not dataset.labelled and dataset.class_names == ()
    assert len(dataset.records) == 6 and sorted(dataset.records[0].lesion_masks) == ["MA", "OD"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["File Name|LEVEL", "image_id|Retinopathy grade", "path|class"])
def test_columns_and_delimiters_are_recognised(tmp_path: Path, delimiter: str, header: str) -> None:
    trees.picture(tmp_path / "x.png", 1)
    trees.labels(tmp_path, f"x{delimiter}2.0", header="\ufeff" + header.replace("|", delimiter))
    assert [record.label for record in open_dataset(DatasetSpec(root=tmp_path)).records] == [2]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("picture,grade", r"no column with file names\. it has the columns picture, grade.*--id-column"),
        ("file,outcome", r"no column with labels\. it has the columns file, outcome.*--label-column"),
        ("file,id,grade", r"file and id may both hold the file names.*--id-column"),
        ("file,level,grade", r"level and grade may both hold the labels.*--label-column"),
        ("file,grade,grade", "the column grade occurs twice"),
    ],
)
def test_unclear_columns_are_listed(tmp_path: Path, header: str, message: str) -> None:
    trees.labels(trees.csv_tree(tmp_path), "images/eye0.png,1,2", header=header)
    with pytest.raises(DatasetError, match=message):
        open_dataset(DatasetSpec(root=tmp_path))


def test_columns_by_option(tmp_path: Path) -> None:
    table = trees.labels(trees.csv_tree(tmp_path / "data"), "a,eye0,1,mild", name="other.csv",
                         header="id,file,level,finding")  # fmt: skip
    spec = DatasetSpec(root=tmp_path / "data", labels=table, id_column="file", label_column="finding", limit=1)
    dataset = open_dataset(spec)
    assert dataset.class_names == ("mild",) and dataset.records[0].id == "images/eye0"
    with pytest.raises(DatasetError, match="no column diagnosis"):
        open_dataset(spec.model_copy(update={"label_column": "diagnosis"}))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no header"), (b"\xff\xfe\x00", "not UTF-8 text"), (b'file,grade\n"x,1', "not a valid CSV file")],
)
def test_broken_csv_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        open_dataset(DatasetSpec(root=tmp_path))


def test_what_auto_cannot_tell_is_refused(tmp_path: Path) -> None:
    trees.eyepacs_tree(tmp_path)
    trees.labels(tmp_path, "train/10_left,1", header="file,grade")
    with pytest.raises(DatasetError, match="eyepacs and csv both fit"):
        open_dataset(DatasetSpec(root=tmp_path))


def test_an_unknown_csv_file_is_not_passed_over(tmp_path: Path) -> None:
    trees.labels(trees.folders_tree(tmp_path), "x,1", name="notes.csv")
    with pytest.raises(DatasetError, match=r"which file holds the labels is unclear.*notes\.csv"):
        open_dataset(DatasetSpec(root=tmp_path))
    assert open_dataset(DatasetSpec(root=tmp_path, layout="folders")).class_names == ("healthy", "sick")


def test_splits_are_not_taken_for_classes(tmp_path: Path) -> None:
    for seed, split in enumerate(["train", "test"]):
        trees.picture(tmp_path / split / str(seed) / "x.png", seed)
    with pytest.raises(DatasetError, match="test, train are splits"):
        open_dataset(DatasetSpec(root=tmp_path))


def test_images_beside_class_folders_are_unclear(tmp_path: Path) -> None:
    trees.picture(trees.folders_tree(tmp_path) / "x.png", 9)
    with pytest.raises(DatasetError, match="both in folders and beside them"):
        open_dataset(DatasetSpec(root=tmp_path))
    with pytest.raises(DatasetError, match=r"x\.png: unlabelled"):
        open_dataset(DatasetSpec(root=tmp_path, layout="folders"))


@pytest.mark.parametrize("layout", ["csv", "eyepacs", "aptos", "idrid_grading", "idrid_segmentation", "retinamnist"])
def test_a_layout_that_is_not_there(tmp_path: Path, layout: Layout) -> None:
    trees.picture(tmp_path / "x.png", 1)
    with pytest.raises(DatasetError):
        open_dataset(DatasetSpec(root=tmp_path, layout=layout))


def test_a_missing_root_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="none: no such folder"):
        open_dataset(DatasetSpec(root=tmp_path / "none"))
    with pytest.raises(DatasetError, match="no images found"):
        open_dataset(DatasetSpec(root=tmp_path))
    with pytest.raises(DatasetError, match="not a folder"):
        open_dataset(DatasetSpec(root=trees.picture(tmp_path / "x.png", 1)))


def test_retinamnist_images_are_those_of_the_archive(tmp_path: Path) -> None:
    root, cache = trees.retinamnist_tree(tmp_path / "data"), tmp_path / "cache"
    spec = DatasetSpec(root=root / "retinamnist.npz", where=(("split", "test"),), limit=2)
    dataset = open_dataset(spec, cache=cache)
    assert dataset.name == "retinamnist" and dataset.root.parent == cache
    images = trees.retinamnist_arrays()["test_images"]
    for record, pixels in zip(dataset.records, images, strict=False):
        assert np.array_equal(read_image(record.path).pixels, pixels)
    assert len(list(cache.rglob("*.png"))) == 2, "only what was selected is taken out"
    assert open_dataset(spec, cache=cache) == dataset


@pytest.mark.parametrize("drop", ["test_labels", "shape", "bytes"])
def test_other_archives_are_refused(tmp_path: Path, drop: str) -> None:
    arrays = trees.retinamnist_arrays()
    if drop == "shape":
        arrays["train_images"] = arrays["train_images"][..., 0]
    arrays.pop(drop, None)
    path = tmp_path / "retinamnist.npz"
    np.savez(path, **arrays)
    if drop == "bytes":
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"retinamnist\.npz: not a RetinaMNIST archive"):
        open_dataset(DatasetSpec(root=tmp_path))


def test_download_happens_only_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(split: str, root: str, download: bool) -> None:
        asked.append(download)
        trees.retinamnist_tree(Path(root))

    monkeypatch.setitem(__import__("sys").modules, "medmnist", SimpleNamespace(RetinaMNIST=fetch))
    spec = DatasetSpec(root=tmp_path, layout="retinamnist")
    with pytest.raises(DatasetError, match="no RetinaMNIST archive"):
        open_dataset(spec)
    assert not asked
    assert len(open_dataset(spec.model_copy(update={"download": True})).records) == 10
    assert asked == [True]


def test_download_without_the_package_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "medmnist", None)
    with pytest.raises(DatasetError, match=r"medmnist is not installed\. pip install"):
        open_dataset(DatasetSpec(root=tmp_path, layout="retinamnist", download=True))


def test_unreadable_masks_surface_when_read(tmp_path: Path) -> None:
    path = trees.mask(tmp_path / "m.png")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ImageReadError, match=r"m\.png"):
        read_mask(path, (6, 8))
