"""Small data sets on disk, one builder a layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: Path, seed: int, kind: str | None = None) -> Path:
    """Write a small image whose pixels follow from the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, kind)
    return path


def mask(path: Path) -> Path:
    """Write a mask with one lesion pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((6, 8), np.uint8)
    pixels[2, 3] = 76
    Image.fromarray(pixels).save(path)
    return path


def labels(root: Path, *rows: str, name: str = "labels.csv", header: str = "file,grade,split") -> Path:
    """Write a CSV file."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def csv_tree(root: Path) -> Path:
    """Six images of three grades in two splits."""
    rows = []
    for index in range(6):
        picture(root / "images" / f"eye{index}.png", index)
        rows.append(f"images/eye{index}.png,{index % 3},{'train' if index < 4 else 'test'}")
    labels(root, *rows)
    return root


def synthetic_tree(root: Path) -> Path:
    """The layout the synthetic generator writes: labels.csv, index.csv and masks/."""
    csv_tree(root)
    mask(root / "masks" / "MA" / "eye0.png")
    mask(root / "masks" / "OD" / "eye0.png")
    rows = [f"images/eye{index}.png,train,," for index in range(1, 6)]
    labels(root, "images/eye0.png,train,masks/MA/eye0.png,masks/OD/eye0.png", *rows, name="index.csv",
           header="file,split,MA,OD")  # fmt: skip
    return root


def folders_tree(root: Path) -> Path:
    """Two named classes."""
    for index, kind in enumerate(["sick", "healthy", "sick"]):
        picture(root / kind / f"{index}.png", index)
    return root


def eyepacs_tree(root: Path) -> Path:
    """Kaggle's EyePACS."""
    for index, eye in enumerate(["10_left", "10_right", "13_left"]):
        picture(root / "train" / f"{eye}.jpeg", index)
    picture(root / "test" / "1_left.jpeg", 9)
    labels(root, "10_left,0", "10_right,4", "13_left,2", name="trainLabels.csv", header="image,level")
    return root


def aptos_tree(root: Path) -> Path:
    """Kaggle's APTOS."""
    for index, eye in enumerate(["000c14", "001639"]):
        picture(root / "train_images" / f"{eye}.png", index)
    picture(root / "test_images" / "0005cf.png", 9)
    labels(root, "000c14,2", "001639,4", name="train.csv", header="id_code,diagnosis")
    labels(root, "0005cf", name="test.csv", header="id_code")
    return root


def idrid_grading_tree(root: Path) -> Path:
    """IDRiD part B; both parts count from 001, and the CSV files have nameless columns."""
    base = root / "B. Disease Grading"
    parts = [("a. Training Set", "a. IDRiD_Disease Grading_Training Labels.csv", 0),
             ("b. Testing Set", "b. IDRiD_Disease Grading_Testing Labels.csv", 5)]  # fmt: skip
    for part, table, seed in parts:
        for number in (1, 2):
            picture(base / "1. Original Images" / part / f"IDRiD_00{number}.jpg", seed + number)
        labels(base / "2. Groundtruths", "IDRiD_001,3,1,,", "IDRiD_002,0,0,,", ",,,,", name=table,
               header="Image name,Retinopathy grade,Risk of macular edema ,,")  # fmt: skip
    return root


def idrid_segmentation_tree(root: Path) -> Path:
    """IDRiD part A."""
    base = root / "A. Segmentation"
    for part, number in (("a. Training Set", "01"), ("b. Testing Set", "55")):
        picture(base / "1. Original Images" / part / f"IDRiD_{number}.jpg", int(number))
        truths = base / "2. All Segmentation Groundtruths" / part
        mask(truths / "1. Microaneurysms" / f"IDRiD_{number}_MA.tif")
        mask(truths / "5. Optic Disc" / f"IDRiD_{number}_OD.tif")
    return root


def retinamnist_arrays() -> dict[str, np.ndarray]:
    """The arrays of a small archive of medmnist's form."""
    generator, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        arrays[f"{split}_images"] = generator.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count, dtype=np.uint8) % 5)[:, None]
    return arrays


def retinamnist_tree(root: Path) -> Path:
    """A folder with the archive."""
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / "retinamnist.npz", **retinamnist_arrays())
    return root
