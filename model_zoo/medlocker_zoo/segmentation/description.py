"""What a segmentation network is, how its input is made and how it was trained: plain values that travel with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medlocker.classifiers import Channel, Spread
from medlocker.errors import ModelError
from medlocker_zoo.registry import Augmentation

HEADER_KEY = "medlocker_segmenter"
"""Of the description, in a .safetensors header and in an ONNX file's metadata."""

Lesion = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,16}$")]
Unit = Annotated[float, Field(gt=0, lt=1)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UnetSettings(_Model):
    """Which UNet++ to build. The paper names only the architecture (READINGS 23); the rest is our choice.

    Attributes:
        encoder: name of a timm network, without a weights tag.
        pad_type: `same` pads as TensorFlow does; None leaves timm's default.
        decoder_channels: of the five levels, coarse to fine.
    """

    encoder: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")] = "tf_mobilenetv3_small_100"
    pad_type: Literal["same"] | None = None
    decoder_channels: tuple[Annotated[int, Field(ge=4, le=1024)], ...] = Field((128, 64, 32, 24, 16), min_length=5)


class SegmentationInput(_Model):
    """How stored pixels become the network's input.

    The image is scaled so that its shorter side is `working_side`, cut into overlapping square tiles, and each tile is
    normalised as (v − mean) / std on [0, 1] values. Where tiles overlap, their probabilities are blended.

    Attributes:
        working_side: px, shorter side of the image the network looks at. At 1024 a microaneurysm of IDRiD is about
            5 px wide.
        tile: px, side of a tile, a multiple of 32.
        overlap: px, by which neighbouring tiles overlap at least.
        mean: per channel, in [0, 1] units.
        std: per channel, in [0, 1] units.
    """

    working_side: Annotated[int, Field(ge=32, le=8192)] = 1024
    tile: Annotated[int, Field(ge=32, le=4096, multiple_of=32)] = 512
    overlap: Annotated[int, Field(ge=0, le=2048)] = 128
    mean: tuple[Channel, Channel, Channel] = (0.5, 0.5, 0.5)
    std: tuple[Spread, Spread, Spread] = (0.5, 0.5, 0.5)

    @model_validator(mode="after")
    def _advances(self) -> SegmentationInput:
        if self.overlap >= self.tile:
            raise ValueError(f"an overlap of {self.overlap} px leaves a tile of {self.tile} px nothing to add")
        return self


class SegmentationRecipe(_Model):
    """How a segmentation network is trained; all of it is our choice.

    Attributes:
        epochs: at most; after each the network is measured on the validation images.
        steps_per_epoch: steps between two such measurements.
        batch_size: patches a step.
        patch: px, side of a training patch, a multiple of 32.
        lesion_share: share of the patches that are laid around a lesion; each type equally often, then each image that
            has it, then each of its lesions, so that small and rare ones are seen. The others lie anywhere.
        learning_rate: peak of the schedule: linear warm-up, then half a cosine down to 0.
        warmup_steps: length of the warm-up.
        weight_decay: on weight matrices and kernels only.
        gradient_clip: largest norm of the gradient of a step.
        tversky_missed: weight of missed lesion pixels in the Tversky index; the false alarms weigh the rest.
        tversky_gamma: exponent of the Tversky loss.
        focal_weight: of the focal loss beside the Tversky loss.
        augmentation: bounds of the random changes.
    """

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 40
    steps_per_epoch: Annotated[int, Field(ge=1, le=100_000)] = 100
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8
    patch: Annotated[int, Field(ge=32, le=4096, multiple_of=32)] = 256
    lesion_share: Annotated[float, Field(ge=0, le=1)] = 0.75
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    tversky_missed: Unit = 0.7
    tversky_gamma: Annotated[float, Field(gt=0, le=5)] = 0.75
    focal_weight: Annotated[float, Field(ge=0, le=1000)] = 20.0
    augmentation: Augmentation = Augmentation(rotation=180, zoom=0.15, shift=0.0)

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.steps_per_epoch


class SegmenterMetadata(_Model):
    """What a segmentation network's file says about itself.

    Attributes:
        schema_version: of this document.
        medlocker_version: that wrote the file.
        network: enough to rebuild it.
        lesions: one type an output, in order.
        thresholds: one a type, the best Dice on the validation images.
        input: what images must go through.
        recipe: how it was trained; None where it is not known.
        seed: of the training run.
        trained_on: name and digest of the training data.
        initial_weights: where the encoder started: `random`, `imagenet`, or a file name with its SHA-256.
        metrics: measured on held-out images, flat names.
    """

    schema_version: Literal["medlocker.segmenter/1"] = "medlocker.segmenter/1"
    medlocker_version: str
    network: UnetSettings
    lesions: tuple[Lesion, ...] = Field(min_length=1)
    thresholds: tuple[Unit, ...]
    input: SegmentationInput
    recipe: SegmentationRecipe | None = None
    seed: int | None = None
    trained_on: str | None = None
    initial_weights: str | None = None
    metrics: dict[str, float] = {}

    @model_validator(mode="after")
    def _one_threshold_a_type(self) -> SegmenterMetadata:
        if len(self.thresholds) != len(self.lesions):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.lesions)} lesion types")
        return self


class TileParity(_Model):
    """How far ONNX Runtime and PyTorch are apart on the same tiles.

    Attributes:
        inputs: tiles compared.
        batch_sizes: each compared on all tiles.
        probability: largest absolute difference of a lesion's probability at any pixel.
    """

    inputs: int
    batch_sizes: tuple[int, ...]
    probability: float


class OnnxSegmenterDescription(_Model):
    """How to use the ONNX file of a segmentation network.

    Attributes:
        schema_version: of this document.
        lesions: one type an output, in order.
        thresholds: one a type.
        input: what images must go through.
        fingerprint: SHA-256 of the weights it was exported from.
        parity: against PyTorch, measured at export.
    """

    schema_version: Literal["medlocker.onnx_segmenter/1"] = "medlocker.onnx_segmenter/1"
    lesions: tuple[Lesion, ...]
    thresholds: tuple[float, ...]
    input: SegmentationInput
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    parity: TileParity

    @classmethod
    def read(cls, path: Path, properties: Mapping[str, str]) -> OnnxSegmenterDescription:
        """From a file's metadata strings.

        Raises:
            ModelError: it holds no such description.
        """
        if HEADER_KEY not in properties:
            raise ModelError(
                f"{path}: not a segmentation network of MedLocker",
                fix="train one with medlocker segment train and write it with medlocker export",
            )
        try:
            return cls.model_validate_json(properties[HEADER_KEY])
        except ValidationError as error:
            raise ModelError(f"{path}: its description cannot be used", why=str(error)) from error
