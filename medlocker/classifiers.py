"""The interface a diagnostic network offers to search and measurement, whatever runs it.

The library owns this protocol; the model zoo (PyTorch, ONNX Runtime) and the MLflow plugin implement it.
"""

from __future__ import annotations

from typing import Annotated, Literal, Protocol, runtime_checkable

import torch
from pydantic import BaseModel, ConfigDict, Field

Channel = Annotated[float, Field(ge=-10, le=10)]
Spread = Annotated[float, Field(gt=0, le=10)]


class Preprocessing(BaseModel):
    """How stored pixels become a network's input: a resize of the whole image, then (v − mean) / std on [0, 1] values.

    Attributes:
        input_size: px, side of the square input.
        mean: per channel, in [0, 1] units.
        std: per channel, in [0, 1] units.
        interpolation: antialiased filter of the resize.
        fit: `squash` maps the whole image onto the square; `crop` scales the shorter side to
            `input_size / crop_fraction` and takes the centre.
        crop_fraction: share of the shorter side that `crop` keeps; ignored for `squash`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_size: Annotated[int, Field(ge=8, le=4096)] = 224
    mean: tuple[Channel, Channel, Channel] = (0.485, 0.456, 0.406)
    std: tuple[Spread, Spread, Spread] = (0.229, 0.224, 0.225)
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    fit: Literal["squash", "crop"] = "squash"
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0


@runtime_checkable
class Classifier(Protocol):
    """A network that grades images.

    Attributes:
        name: unique within one run; appears in tables and metric names.
        num_classes: number of output classes.
        preprocessing: what its input must go through.
        device: where its inputs are expected.
        fingerprint: SHA-256 (hexadecimal) of its weights, to recognise it later.
        runtime: what really executes it, e.g. `torch/cpu`, `onnxruntime/CUDAExecutionProvider`.
    """

    @property
    def name(self) -> str: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def preprocessing(self) -> Preprocessing: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def runtime(self) -> str: ...

    def probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        """Class probabilities.

        Args:
            inputs: (B, 3, S, S) float32 on `device`, preprocessed, any memory format.

        Returns:
            (B, num_classes) float32 on `device`; rows sum to 1.
        """
        ...


@runtime_checkable
class Searchable(Protocol):
    """A classifier that knows a faster arithmetic for the search; every saved file is read in its own again."""

    def searching(self) -> Classifier:
        """The same network, faster; probabilities differ by less than `medlocker.saving.CONFIDENCE_TOLERANCE`."""
        ...
