"""Small images whose lesions are plain to see: red squares and yellow discs on grey, and a network that sees them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from medlocker.blending import pixel_sha256
from medlocker.datasets import Dataset, Record
from medlocker_zoo.segmentation import SegmentationInput, SegmentationJob, SegmentationRecipe, UnetSettings

SIDE = 64
KINDS = ("HE", "EX")
SMALL_INPUT = SegmentationInput(working_side=SIDE, tile=32, overlap=8)


def lesion_image(rng: np.random.Generator, height: int = SIDE, width: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 and (2, H, W) bool: one red square, one yellow square, of 8 to 12 px."""
    pixels = rng.integers(90, 130, (height, width, 3), dtype=np.uint8)
    masks = np.zeros((2, height, width), dtype=bool)
    for kind, colour in enumerate(((200, 20, 20), (240, 230, 40))):
        side = int(rng.integers(8, 13))
        y, x = rng.integers(0, height - side), rng.integers(0, width - side)
        masks[:, y : y + side, x : x + side] = False
        masks[kind, y : y + side, x : x + side] = True
        pixels[y : y + side, x : x + side] = colour
    return pixels, masks


def lesion_dataset(folder: Path, count: int, seed: int = 0) -> Dataset:
    """Images with one mask a type, laid out as `masks/<type>/<id>.png`."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for index in range(count):
        pixels, masks = lesion_image(rng)
        path = folder / f"{index:02d}.png"
        Image.fromarray(pixels).save(path)
        files = {}
        for kind, mask in zip(KINDS, masks, strict=True):
            files[kind] = folder / "masks" / kind / f"{index:02d}.png"
            files[kind].parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask.astype(np.uint8) * 255).save(files[kind])
        records.append(Record(path.stem, path, PurePosixPath(path.name), None, pixel_sha256(pixels), files))
    return Dataset("lesions", folder, "plain", tuple(records), ())


def small_job(checkpoints: Path | None = None, **recipe: object) -> SegmentationJob:
    """A job on the smallest timm encoder, quick enough for a test."""
    settings: dict[str, object] = {"epochs": 2, "steps_per_epoch": 3, "batch_size": 4, "patch": 32, "warmup_steps": 0}
    return SegmentationJob(
        network=UnetSettings(encoder="test_efficientnet", decoder_channels=(16, 16, 8, 8, 8)),
        input=SMALL_INPUT,
        recipe=SegmentationRecipe.model_validate(settings | recipe),
        lesions=KINDS,
        validation=0.25,
        checkpoints=checkpoints,
    )


class ColourSegmenter:
    """Finds red and yellow pixels exactly."""

    name, lesions, thresholds, fingerprint, runtime = "colour", KINDS, (0.5, 0.5), "0" * 64, "numpy"

    def __init__(self) -> None:
        self.asked = 0

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """(2, H, W): 1 on red, 1 on yellow."""
        self.asked += 1
        red = (pixels[..., 0] > 180) & (pixels[..., 1] < 60)
        yellow = (pixels[..., 0] > 220) & (pixels[..., 1] > 200)
        return np.stack([red, yellow]).astype(np.float32)
