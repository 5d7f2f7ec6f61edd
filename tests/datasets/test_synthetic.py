"""The synthetic fundus: deterministic, true to its grade, and written in the layout it promises."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from medlocker.datasets.fundus.canvas import Layer, absorb, blob, cover
from medlocker.datasets.fundus.eye import sample_eye
from medlocker.datasets.fundus.lesions import PLANS, draw_lesions
from medlocker.datasets.fundus.vessels import grow_tree
from medlocker.datasets.synthetic import (
    GRADE_NAMES,
    MASK_TYPES,
    SyntheticFundus,
    draw_fundus,
    image_generator,
    write_synthetic_dataset,
)
from medlocker.errors import SettingsError

GRADES = range(len(GRADE_NAMES))


def draw(seed: int, grade: int, side: int = 96) -> SyntheticFundus:
    return draw_fundus(np.random.default_rng(seed), grade, side)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("grade", GRADES)
def test_same_state_gives_the_same_bytes_and_another_seed_does_not(grade: int) -> None:
    first, again, other = draw(3, grade), draw(3, grade), draw(4, grade)
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert all((first.masks[kind] == again.masks[kind]).all() for kind in MASK_TYPES)
    assert first.pixels.tobytes() != other.pixels.tobytes()


@pytest.mark.parametrize("side", [96, 131, 224, 600])
def test_shapes_and_types_at_any_side(side: int) -> None:
    fundus = draw(0, 3, side)
    assert fundus.pixels.shape == (side, side, 3)
    assert fundus.pixels.dtype == np.uint8
    assert fundus.pixels.flags.c_contiguous
    assert set(fundus.masks) == set(MASK_TYPES)
    assert all(mask.shape == (side, side) and mask.dtype == np.bool_ for mask in fundus.masks.values())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("grade", GRADES)
def test_masks_follow_the_grade(seed: int, grade: int) -> None:
    present = {kind for kind, mask in draw(seed, grade).masks.items() if mask.any()}
    assert "OD" in present
    if grade == 0:
        assert present == {"OD"}
    elif grade == 1:
        assert present == {"OD", "MA"}
    elif grade == 2:
        assert {"MA", "HE"} <= present
        assert "SE" not in present
    elif grade == 3:
        assert present == {"OD", "MA", "HE", "EX", "SE"}


@pytest.mark.parametrize("seed", range(3))
def test_severe_has_haemorrhages_in_every_quadrant_and_more_of_them_than_moderate(seed: int) -> None:
    severe, moderate = draw(seed, 3, 224).masks["HE"], draw(seed, 2, 224).masks["HE"]
    assert all(quarter.any() for half in np.split(severe, 2) for quarter in np.split(half, 2, axis=1))
    assert cv2.connectedComponents(severe.astype(np.uint8))[0] > cv2.connectedComponents(moderate.astype(np.uint8))[0]


@pytest.mark.parametrize("seed", range(8))
def test_proliferative_eyes_and_no_others_have_new_vessels_or_else_a_preretinal_bleed(seed: int) -> None:
    for grade in GRADES:
        rng = np.random.default_rng(seed)
        layers = draw_lesions(rng, sample_eye(rng), PLANS[grade], 128)
        new_vessels = bool(layers.new_vessels.coverage().any())
        assert grade == 4 or not new_vessels
        blood = (layers.by_type["HE"].coverage() > 0.5).astype(np.uint8)
        widest = cv2.distanceTransform(blood, cv2.DIST_L2, 3).max() / 128
        assert grade != 4 or new_vessels or widest > 0.015


@pytest.mark.parametrize("seed", range(3))
def test_lesions_change_the_retina_where_their_masks_are(seed: int) -> None:
    fundus = draw(seed, 3, 224)
    green = cv2.GaussianBlur(fundus.pixels[..., 1].astype(np.float32), (0, 0), 0.7)
    around = cv2.medianBlur(fundus.pixels[..., 1], 41).astype(np.float32)
    assert (green - around)[fundus.masks["HE"]].mean() < -10
    assert (green - around)[fundus.masks["EX"]].mean() > 10
    assert (green - around)[fundus.masks["SE"]].mean() > 10


def test_the_corners_are_dark_and_the_disc_is_bright() -> None:
    for seed in range(5):
        fundus = draw(seed, 0, 224)
        corner = np.concatenate([fundus.pixels[:12, :12].ravel(), fundus.pixels[-12:, -12:].ravel()])
        luma = fundus.pixels.mean(axis=2)
        assert np.median(corner) < 8
        assert luma[fundus.masks["OD"]].mean() > 1.05 * luma[70:154, 70:154].mean()


def test_left_and_right_eyes_both_occur() -> None:
    columns = [np.nonzero(draw(seed, 0, 96).masks["OD"])[1].mean() < 48 for seed in range(12)]
    assert 1 <= sum(columns) <= 11


def test_the_same_state_gives_the_same_eye_at_another_side() -> None:
    small, large = draw(11, 3, 224), draw(11, 3, 448)
    reduced = cv2.resize(large.pixels, (224, 224), interpolation=cv2.INTER_AREA).astype(np.float32)
    assert np.abs(reduced - small.pixels).mean() < 5
    for kind in MASK_TYPES:
        assert small.masks[kind].mean() == pytest.approx(large.masks[kind].mean(), rel=0.3, abs=1e-3)


def test_vessels_spare_the_fovea_and_branches_are_thinner_than_trunks() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        eye = sample_eye(rng)
        tree = grow_tree(rng, eye)
        assert min(np.linalg.norm(vessel.path - eye.fovea, axis=1).min() for vessel in tree) > 0.05
        assert max(v.width for v in tree if v.depth == 2) < max(v.width for v in tree if v.depth == 0)
        assert [v.width for v in tree] == sorted(v.width for v in tree)


def test_layer_covers_a_known_area() -> None:
    layer = Layer(100)
    layer.polygon(np.array([[0.2, 0.2], [0.6, 0.2], [0.6, 0.7], [0.2, 0.7]]))
    assert layer.coverage().mean() == pytest.approx(0.4 * 0.5, rel=0.05)
    assert layer.coverage()[40, 40] == 1
    assert layer.coverage()[80, 80] == 0


def test_a_hair_thin_stroke_is_faint_not_lost() -> None:
    layer = Layer(100)
    layer.stroke(np.array([[0.1, 0.5], [0.9, 0.5]]), 0.001)
    assert 0 < layer.coverage().max() < 0.5


def test_blob_without_roughness_is_a_circle_of_its_radius() -> None:
    outline = blob(np.random.default_rng(0), np.array([0.5, 0.4]), 0.1, 0.0)
    assert np.allclose(np.linalg.norm(outline - [0.5, 0.4], axis=1), 0.1)


def test_absorb_and_cover_are_linear_in_coverage() -> None:
    image = np.full((3, 1, 2), 0.8, np.float32)
    absorb(image, np.array([[0.0, 0.5]], np.float32), (0.5, 0.0, 1.0))
    assert np.allclose(image[:, 0, 1], [0.6, 0.4, 0.8])
    cover(image, np.array([[0.0, 1.0]], np.float32), (0.1, 0.2, 0.3))
    assert np.allclose(image[:, 0], [[0.8, 0.1], [0.8, 0.2], [0.8, 0.3]])


@pytest.mark.parametrize(("grade", "side"), [(-1, 224), (5, 224), (0, 95), (0, 2049)])
def test_out_of_range_is_refused(grade: int, side: int) -> None:
    with pytest.raises(SettingsError):
        draw(0, grade, side)


@pytest.mark.parametrize(("per_grade", "seed"), [(0, 0), (1, -1)])
def test_a_dataset_that_cannot_be_written_is_refused_before_anything_is_made(
    tmp_path: Path, per_grade: int, seed: int
) -> None:
    with pytest.raises(SettingsError):
        write_synthetic_dataset(tmp_path / "set", per_grade=per_grade, seed=seed)
    assert not (tmp_path / "set").exists()


def test_the_written_layout_holds_what_the_tables_say(tmp_path: Path) -> None:
    write_synthetic_dataset(tmp_path, per_grade=2, side=96, split="train")
    labels, index = table(tmp_path / "labels.csv"), table(tmp_path / "index.csv")
    assert list(labels[0]) == ["file", "grade", "split"]
    assert list(index[0]) == ["file", "split", *MASK_TYPES]
    assert [row["file"] for row in labels] == [row["file"] for row in index]
    assert sorted(row["grade"] for row in labels) == sorted("0123401234")
    assert {row["file"] for row in labels} == {f"images/{p.name}" for p in (tmp_path / "images").iterdir()}
    for row in index:
        for kind in MASK_TYPES:
            assert bool(row[kind]) == (tmp_path / "masks" / kind / Path(row["file"]).name).exists()


def test_the_written_pixels_are_those_drawn(tmp_path: Path) -> None:
    write_synthetic_dataset(tmp_path, per_grade=1, side=96, seed=5, split="test")
    drawn = draw_fundus(image_generator(5, "test", 3), 3, 96)
    assert (np.asarray(Image.open(tmp_path / "images/test_3_0000.png")) == drawn.pixels).all()
    mask = np.asarray(Image.open(tmp_path / "masks/HE/test_3_0000.png"))
    assert set(np.unique(mask)) == {0, 255}
    assert ((mask == 255) == drawn.masks["HE"]).all()


def test_an_image_does_not_depend_on_how_many_others_are_made(tmp_path: Path) -> None:
    write_synthetic_dataset(tmp_path / "one", per_grade=1, side=96)
    write_synthetic_dataset(tmp_path / "two", per_grade=2, side=96)
    for file in (tmp_path / "one/images").iterdir():
        assert file.read_bytes() == (tmp_path / "two/images" / file.name).read_bytes()


def test_a_second_split_joins_the_first_and_writing_again_changes_nothing(tmp_path: Path) -> None:
    for split in ("train", "test", "train"):
        write_synthetic_dataset(tmp_path, per_grade=1, side=96, split=split)
    labels = table(tmp_path / "labels.csv")
    assert len(labels) == 10
    assert {row["split"] for row in labels} == {"train", "test"}
    train, test = (Image.open(tmp_path / f"images/{split}_2_0000.png") for split in ("train", "test"))
    assert np.asarray(train).tobytes() != np.asarray(test).tobytes()


# Mean RGB and the area of each mask (px, in the order of MASK_TYPES) at 96 px, seed 2024. The demo weights were trained
# on this look: whoever changes it must train them again.
LOOK = (
    ((92.19, 50.75, 18.57), (0, 0, 0, 0, 150)),
    ((95.86, 52.47, 19.21), (65, 0, 0, 0, 150)),
    ((95.58, 52.66, 19.24), (63, 63, 76, 0, 150)),
    ((93.57, 51.92, 19.58), (104, 313, 113, 110, 150)),
    ((98.45, 54.24, 20.03), (41, 142, 76, 46, 150)),
)


@pytest.mark.parametrize("grade", GRADES)
def test_the_look_is_the_one_the_demo_weights_were_trained_on(grade: int) -> None:
    fundus, (colour, areas) = draw(2024, grade), LOOK[grade]
    assert fundus.pixels.mean(axis=(0, 1)) == pytest.approx(colour, abs=0.3)
    assert [int(fundus.masks[kind].sum()) for kind in MASK_TYPES] == pytest.approx(areas, abs=4)
