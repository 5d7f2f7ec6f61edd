"""What an ONNX file says about itself: in its own metadata, or in a JSON file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medlocker.classifiers import Preprocessing
from medlocker.errors import ModelError

METADATA_KEY = "medlocker"
INPUT_NAME = "pixels_normalised"
OUTPUT_NAME = "probabilities"

OutputKind = Literal["probabilities", "logits"]


class Parity(BaseModel):
    """How far ONNX Runtime and PyTorch are apart on the same inputs.

    Attributes:
        inputs: images compared.
        batch_sizes: each compared on all inputs.
        probability: largest absolute difference of a class probability.
        relative_logit: largest difference of a logit, as a share of the largest logit; logits are known up to a
            constant, so each row is centred.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: int
    batch_sizes: tuple[int, ...]
    probability: float
    relative_logit: float


class OnnxDescription(BaseModel):
    """How to use an ONNX file.

    Attributes:
        schema_version: of this document.
        preprocessing: what inputs must go through.
        name: the network's name; the file's stem by default.
        class_names: one per output; not needed for measuring.
        output: what the output holds; measured on a probe where it is not declared.
        fingerprint: SHA-256 of the weights it was exported from; of the file by default.
        parity: against PyTorch, measured at export.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["medlocker.onnx/1"] = "medlocker.onnx/1"
    preprocessing: Preprocessing
    name: str | None = None
    class_names: tuple[str, ...] | None = None
    output: OutputKind | None = None
    fingerprint: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    parity: Parity | None = None


def sidecar_path(path: Path) -> Path:
    """`model.onnx` → `model.onnx.json`."""
    return path.with_name(f"{path.name}.json")


def describe_onnx(path: Path, properties: Mapping[str, str], preprocessing: Preprocessing | None) -> OnnxDescription:
    """Find out how to use an ONNX file.

    Args:
        path: the ONNX file.
        properties: its metadata strings.
        preprocessing: overrides what the file or its sidecar says.

    Returns:
        The file's own description, else its sidecar's, else one made from `preprocessing` alone.

    Raises:
        ModelError: there is none of the three, or it cannot be used.
    """
    sidecar = sidecar_path(path)
    origin, text = path, properties.get(METADATA_KEY)
    if text is None and sidecar.is_file():
        origin, text = sidecar, sidecar.read_text(encoding="utf-8")
    if text is None and preprocessing is None:
        raise ModelError(
            f"{path}: does not say how images must be prepared for it",
            why="`medlocker export` did not write it",
            fix=f'write {sidecar.name} beside it, e.g. {{"preprocessing": {{"input_size": 224}}}}',
        )
    try:
        found = OnnxDescription.model_validate_json(text) if text else None
    except ValidationError as error:
        raise ModelError(f"{origin}: its description cannot be used", why=str(error)) from error
    if found and preprocessing:
        return found.model_copy(update={"preprocessing": preprocessing})
    return found or OnnxDescription.model_validate({"preprocessing": preprocessing})
