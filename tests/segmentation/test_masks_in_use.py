"""Predicted masks as files, and locking that keeps off them."""

from __future__ import annotations

import shutil
from dataclasses import replace

import mlflow
import numpy as np
import pytest
from click.testing import CliRunner
from fakes import LinearClassifier, bright_corner
from lesion_data import KINDS, SIDE, ColourSegmenter, lesion_dataset
from PIL import Image

from medlocker.cli import main
from medlocker.datasets import DatasetSpec, open_dataset, read_mask
from medlocker.errors import DatasetError
from medlocker.imageio import read_image
from medlocker.jobs.masking import check_masks, decisive_masks, expecting_masks
from medlocker.jobs.progress import SilentProgress
from medlocker.planning import MarkSettings
from medlocker.segmenting import predicted_masks, write_predicted_masks

AVOID = MarkSettings(placement="avoid_lesions")


class FakeLoader:
    """One linear source, and the segmenter that sees colours."""

    origins = ()

    def pinned(self, references):
        return tuple(references)

    def __init__(self, *_: object) -> None:
        pass

    def sources(self, references):
        return [LinearClassifier(bright_corner(gain=0.02), bias=2.0, name=name) for name in references]

    def targets(self, references):
        return [LinearClassifier(bright_corner(gain=0.03), bias=3.0, name=name) for name in references]

    def segmenter(self, _reference):
        return ColourSegmenter()


@pytest.fixture
def shell(tmp_path, monkeypatch, empty_database):
    """Runs `medlocker` beside images with lesions, in `images/` with the masks and in `bare/` without."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    for module in ("protect", "transfer"):
        monkeypatch.setattr(f"medlocker.cli.{module}.ZooLoader", FakeLoader)
    lesion_dataset(tmp_path / "images", 4)
    lesion_dataset(tmp_path / "bare", 4)
    shutil.rmtree(tmp_path / "bare" / "masks")

    def run(words: str, code: int = 0):
        result = CliRunner().invoke(main, words.split(), prog_name="medlocker")
        assert result.exit_code == code, (result.output, result.exception)
        return result

    run("identity new --out owner.txt")
    yield run
    mlflow.set_tracking_uri("")


LOCK = (
    "--out rel --owner owner.txt --sources net --targets other --population 4 --generations 1 --iterations 1 "
    "--logo-scale 5 --placement avoid_lesions --regions min_area_fraction=0,kernel_size=1,iterations=1 "
    "--when-infeasible shrink"
)


def marked_lesion_pixels(folder) -> int:
    """Lesion pixels that differ between the originals and the release."""
    found = 0
    for path in sorted(folder.glob("*.png")):
        before, after = read_image(path).pixels, read_image(folder.parent / "rel" / path.name).pixels
        changed = (before != after).any(axis=2)
        assert changed.any()
        found += int((changed & np.any(list(predicted_masks(ColourSegmenter(), before).values()), axis=0)).sum())
    return found


@pytest.mark.parametrize("masks", ["--data images", "--data bare --masks predicted --segmenter net.onnx"])
def test_no_lesion_is_covered_by_given_or_by_predicted_masks(shell, tmp_path, masks):
    shell(f"protect {masks} {LOCK}")
    folder = tmp_path / ("images" if "images" in masks else "bare")
    assert marked_lesion_pixels(folder) == 0
    assert (tmp_path / "rel.owner" / "masks").exists() == ("predicted" in masks)


def test_a_release_with_predicted_masks_is_measured_and_resumed_later(shell, tmp_path):
    shell(f"protect --data bare --masks predicted --segmenter net.onnx {LOCK}")
    shell(f"protect --data bare --masks predicted --segmenter net.onnx {LOCK}")
    shutil.move(tmp_path / "rel.owner", tmp_path / "kept")
    shell("transfer rel --owner owner.txt --owner-dir kept")
    other = shell(f"protect --data images {LOCK} --owner-dir kept", code=1)
    assert "masks was 'predicted by" in other.stderr


def test_altered_masks_do_not_continue_a_release(shell, tmp_path):
    shell(f"protect --data images {LOCK}")
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(tmp_path / "images/masks/HE/00.png")
    assert "masks was" in shell(f"protect --data images {LOCK}", code=1).stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--data bare", 1, ["avoid_lesions", "needs lesion masks", "--segmenter"]),
        ("--data images --keep-free OD", 1, ["--keep-free OD", "EX, HE"]),
        ("--data images --masks predicted", 2, ["--masks predicted", "--segmenter"]),
        ("--data images --segmenter x.onnx", 2, ["--segmenter x.onnx", "--masks predicted"]),
        ("--data images --regions gamma=1", 2, ["gamma"]),
        ("--data images --regions a.b=1", 2, ["--regions a.b", "min_area_fraction"]),
        ("--data images --masks none", 1, ["none"]),
    ],
)
def test_masks_that_are_not_there_are_no_quiet_anywhere(shell, words, code, said):
    result = shell(f"protect {LOCK} {words}", code=code)
    for word in said:
        assert word in result.stderr


def test_predicting_continues_and_keeps_to_its_folder(tmp_path):
    data, segmenter = lesion_dataset(tmp_path / "d", 3), ColourSegmenter()
    write_predicted_masks(data, segmenter, tmp_path / "masks")
    (tmp_path / "masks" / "HE" / "01.png").unlink()
    write_predicted_masks(data, segmenter, tmp_path / "masks")
    assert segmenter.asked == 4
    for record in data.records:
        for kind in KINDS:
            drawn = read_mask(tmp_path / "masks" / kind / f"{record.id}.png", (SIDE, SIDE))
            np.testing.assert_array_equal(drawn, read_mask(record.lesion_masks[kind], (SIDE, SIDE)))
    with pytest.raises(DatasetError, match="these images"):
        write_predicted_masks(lesion_dataset(tmp_path / "e", 2), segmenter, tmp_path / "masks")


def test_predicted_masks_are_a_data_sets_masks(tmp_path):
    """The folder that is written is the folder that `--masks` reads."""
    data = lesion_dataset(tmp_path / "d", 3)
    write_predicted_masks(data, ColourSegmenter(), tmp_path / "masks")
    shutil.rmtree(tmp_path / "d" / "masks")
    again = open_dataset(DatasetSpec(root=tmp_path / "d", layout="plain", masks=tmp_path / "masks"))
    assert {kind for record in again.records for kind in record.lesion_masks} == set(KINDS)


def test_one_mask_for_all_lesion_types(tmp_path):
    data = lesion_dataset(tmp_path / "d", 2)
    (tmp_path / "flat").mkdir()
    for record in data.records:
        shutil.move(record.lesion_masks["HE"], tmp_path / "flat" / f"{record.id}.png")
    shutil.rmtree(tmp_path / "d" / "masks")
    again = open_dataset(DatasetSpec(root=tmp_path / "d", layout="plain", masks=tmp_path / "flat"))
    assert [list(record.lesion_masks) for record in again.records] == [["lesions"]] * 2


def test_given_anatomy_stays_beside_predicted_lesions(tmp_path):
    data = lesion_dataset(tmp_path / "d", 1)
    record = data.records[0]
    extended = replace(record, lesion_masks={**record.lesion_masks, "OD": record.path, "SE": record.path})
    (changed,) = expecting_masks(replace(data, records=(extended,)), KINDS, tmp_path / "o", AVOID).records
    assert changed.lesion_masks["OD"] == record.path
    assert "SE" not in changed.lesion_masks
    assert changed.lesion_masks["HE"] == tmp_path / "o" / "masks" / "HE" / "00.png"


def test_masks_decide_a_release_only_where_they_are_looked_at(tmp_path):
    data = lesion_dataset(tmp_path / "d", 1)
    assert decisive_masks(data, MarkSettings(), None) == {}
    assert decisive_masks(data, AVOID, None)["masks"].startswith("given, sha256:")
    assert decisive_masks(data, AVOID, ColourSegmenter())["mask_thresholds"] == {"HE": 0.5, "EX": 0.5}


def test_healthy_images_are_counted(tmp_path):
    data = lesion_dataset(tmp_path / "d", 2)
    said = []
    progress = SilentProgress()
    progress.say = said.append  # type: ignore[method-assign]
    check_masks(replace(data, records=(data.records[0], replace(data.records[1], lesion_masks={}))), AVOID, progress)
    assert said == ["1 of 2 images have no lesion mask: healthy"]
