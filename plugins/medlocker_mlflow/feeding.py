"""Give images to a pyfunc model in the form it takes, and read the classes it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from mlflow.types.schema import DataType, Schema, TensorSpec
from pydantic import TypeAdapter, ValidationError

from medlocker.blending import Pixels
from medlocker.classifiers import Preprocessing
from medlocker.errors import ModelError, SettingsError
from medlocker.imageio import StoredImage, encode_image, read_image
from medlocker.preprocessing import network_input

InputForm = Literal["auto", "arrays", "paths"]
Picture = Path | Pixels
Classes = npt.NDArray[np.int64]

ARRAY_FLAVORS = frozenset({"pytorch", "onnx"})
METADATA_KEYS = {
    "preprocessing": "medlocker.preprocessing",
    "network": "medlocker.network",
    "class_names": "medlocker.class_names",
}
"""Where a logged model's metadata says what the evaluator needs to know."""


@dataclass(frozen=True, eq=False)
class Feed:
    """How one model takes images.

    Attributes:
        model: a pyfunc model.
        preprocessing: what (N, 3, S, S) float32 batches go through; None for a model that reads files itself.
        input_name: tensor or column the model's signature names; None for a nameless one.
        output_name: column or tensor of the answer; None where there is only one.
        class_names: to read answers that are names.
        scratch: folder for images that exist only in memory, for a model that reads files.
    """

    model: Any
    preprocessing: Preprocessing | None
    input_name: str | None
    output_name: str | None
    class_names: tuple[str, ...]
    scratch: Path

    def classes(self, pictures: Sequence[Picture]) -> Classes:
        """(n,) class the model reads on each picture.

        Raises:
            ModelError: the model fails, or its answer cannot be read as classes.
            ImageReadError: a file cannot be read.
        """
        batch = self._paths(pictures) if self.preprocessing is None else self._arrays(pictures, self.preprocessing)
        try:
            answer = self.model.predict(batch)
        # A logged model is foreign code: whatever it raises is the reason to show.
        except Exception as error:
            raise ModelError(
                f"the model failed on a batch of {len(pictures)} images",
                why=f"{type(error).__name__}: {error}",
                fix="check its input with mlflow.pyfunc.load_model(…).predict, or set input and preprocessing in "
                "evaluator_config",
            ) from error
        return read_classes(answer, len(pictures), self.output_name, self.class_names)

    def _arrays(self, pictures: Sequence[Picture], preprocessing: Preprocessing) -> Any:
        pixels = (read_image(p).pixels if isinstance(p, Path) else p for p in pictures)
        batch = torch.stack([network_input(p, preprocessing) for p in pixels]).numpy()
        return batch if self.input_name is None else {self.input_name: batch}

    def _paths(self, pictures: Sequence[Picture]) -> pd.DataFrame:
        paths = [str(self._file(p, number)) for number, p in enumerate(pictures)]
        return pd.DataFrame({self.input_name or "path": paths})

    def _file(self, picture: Picture, number: int) -> Path:
        if isinstance(picture, Path):
            return picture
        path = self.scratch / f"{number}.png"
        path.write_bytes(encode_image(StoredImage(picture), ".png"))
        return path


def metadata_value(model: Any, name: str) -> Any:
    """What a logged model's metadata says under one of `METADATA_KEYS`; None where it says nothing."""
    metadata = getattr(getattr(model, "metadata", None), "metadata", None) or {}
    return metadata.get(METADATA_KEYS[name])


def settle_input(model: Any, form: InputForm, given: Preprocessing | None) -> tuple[Preprocessing | None, str | None]:
    """How a model takes images, from its signature, flavours and metadata.

    Args:
        model: a pyfunc model.
        form: what the user says; `auto` for what the model says of itself.
        given: the user's preprocessing; None for the one in the model's metadata.

    Returns:
        (preprocessing, name of the input); preprocessing is None for a model that takes paths.

    Raises:
        SettingsError: the model does not say enough, or contradicts what was given.
    """
    metadata = getattr(model, "metadata", None)
    schema = metadata.get_input_schema() if metadata is not None else None
    if form == "auto":
        form = _declared_form(schema, set(metadata.flavors) if metadata is not None else set())
    name = schema.input_names()[0] if schema is not None and schema.has_input_names() else None
    if form == "paths":
        return None, name
    preprocessing = given or _declared_preprocessing(model)
    _check_side(schema, preprocessing)
    return preprocessing, name


def _declared_form(schema: Schema | None, flavors: set[str]) -> InputForm:
    if schema is not None and schema.is_tensor_spec():
        return "arrays"
    if schema is not None and len(schema.inputs) == 1 and schema.input_types()[0] == DataType.string:
        return "paths"
    if flavors & ARRAY_FLAVORS:
        return "arrays"
    raise SettingsError(
        "the model does not say whether it takes arrays or paths",
        why="its signature is neither one tensor nor one text column",
        fix='say so: evaluator_config={"input": "arrays", "preprocessing": {…}} or {"input": "paths"}',
    )


def _declared_preprocessing(model: Any) -> Preprocessing:
    stated = metadata_value(model, "preprocessing")
    if stated is None:
        raise SettingsError(
            "the model takes arrays, but nothing says how images become its input",
            fix='give evaluator_config={"preprocessing": {"input_size": 224, …}}, or log the model with '
            f'metadata={{"{METADATA_KEYS["preprocessing"]}": {{…}}}}',
        )
    try:
        reader = TypeAdapter(Preprocessing)
        return reader.validate_json(stated) if isinstance(stated, str) else reader.validate_python(stated)
    except ValidationError as error:
        raise SettingsError(
            f"the preprocessing in the model's metadata is not valid: {error.errors()[0]['msg']}"
        ) from error


def _check_side(schema: Schema | None, preprocessing: Preprocessing) -> None:
    if schema is None or not schema.is_tensor_spec():
        return
    shapes = [tuple(spec.shape) for spec in schema.inputs if isinstance(spec, TensorSpec)]
    shape, side = shapes[0], preprocessing.input_size
    fits = len(shape) == 4 and all(
        known in (-1, wanted) for known, wanted in zip(shape[1:], (3, side, side), strict=True)
    )
    if len(shapes) != 1 or not fits:
        raise SettingsError(
            f"the model's signature does not take batches of (N, 3, {side}, {side})",
            why=f"it takes {', '.join(map(str, shapes))}",
            fix="set input_size in the preprocessing, or wrap the model so that it takes one image batch",
        )


def read_classes(answer: Any, count: int, name: str | None, class_names: Sequence[str]) -> Classes:
    """A model's answer as classes.

    Args:
        answer: an array, table or dictionary: (n, C) scores, or one class index or class name an image.
        count: images asked about, n.
        name: the column or tensor to use; None where there is only one.
        class_names: to read answers that are names.

    Returns:
        (n,) class indices.

    Raises:
        ModelError: it cannot be read so.
    """
    values = _chosen(answer, name, class_names)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if len(values) != count or values.ndim not in (1, 2):
        raise ModelError(f"the model answers {values.shape} for {count} images", fix="return one row an image")
    if values.dtype.kind in "OUST":
        return as_classes(values, class_names, "the model's answer")
    if np.isnan(values.astype(np.float64)).any():
        raise ModelError("the model's answer has NaN in it", fix="check its weights and preprocessing")
    if values.ndim == 2:
        return np.asarray(values.argmax(1), dtype=np.int64)
    return as_classes(values, class_names, "the model's answer")


def _chosen(answer: Any, name: str | None, class_names: Sequence[str]) -> npt.NDArray[Any]:
    if not isinstance(answer, dict | pd.DataFrame):
        return np.asarray(answer)
    names = list(answer)
    if name is not None and name in names:
        return np.asarray(answer[name])
    if name is None and len(names) == 1:
        return np.asarray(answer[names[0]])
    # Scores of all classes side by side are one answer; other columns might mean anything.
    if name is None and isinstance(answer, pd.DataFrame) and names in ([*range(len(names))], list(class_names)):
        return answer.to_numpy()
    raise ModelError(
        f"the model answers with {', '.join(map(str, names))}",
        fix="name the one to use: mlflow.models.evaluate(…, predictions=NAME)",
    )


def as_classes(values: npt.NDArray[Any], class_names: Sequence[str], what: str) -> Classes:
    """Whole numbers or class names as class indices.

    Args:
        values: (n,) of any type.
        class_names: index → name; may be empty.
        what: whose they are, for the message.

    Raises:
        ModelError: a value is neither a whole number from 0 on nor one of the names.
    """
    index = {name: number for number, name in enumerate(class_names)}
    return np.array([_class(value, index, what) for value in values.tolist()], dtype=np.int64)


def _class(value: Any, index: dict[str, int], what: str) -> int:
    if isinstance(value, str) and value in index:
        return index[value]
    if isinstance(value, int | float) and float(value).is_integer() and value >= 0:
        return int(value)
    raise ModelError(
        f"{what}: {value!r} is not a class",
        why="a class is a whole number from 0 on" + (f" or one of {', '.join(index)}" if index else ""),
        fix='give evaluator_config={"class_names": […]} where classes have names',
    )
