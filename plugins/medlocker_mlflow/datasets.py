"""Data sets and releases as MLflow data sets: name, digest, source, schema and profile; never the images themselves."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.data.dataset import Dataset as MlflowDataset
from mlflow.data.evaluation_dataset import EvaluationDataset
from mlflow.data.pyfunc_dataset_mixin import PyFuncConvertibleDatasetMixin, PyFuncInputsOutputs
from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec
from pydantic import ValidationError

from medlocker.datasets import Dataset, DatasetSpec, dataset_digest, open_dataset
from medlocker.errors import SettingsError
from medlocker.release import load_manifest
from medlocker_mlflow.dataset_plugin import ImageFolderSource, ReleaseSource

DIGEST_LENGTH = 32
"""Hexadecimal digits of the digest that MLflow keeps; its own limit is 36 characters."""
TARGETS = "label"
"""Column with the class index when a data set is evaluated."""


class LoggedImages(MlflowDataset, PyFuncConvertibleDatasetMixin):
    """The MLflow view of a data set; a labelled one can be the `data` of `mlflow.models.evaluate`.

    Args:
        dataset: the data set as the library reads it.
        name: shown in MLflow; None for the data set's own.
        digest: None for the start of the library's data set digest.
    """

    def __init__(self, dataset: Dataset, name: str | None = None, digest: str | None = None) -> None:
        self._dataset = dataset
        source = ImageFolderSource(str(dataset.root.absolute()), dataset.layout)
        super().__init__(source, name=name or dataset.name, digest=digest)

    def _compute_digest(self) -> str:
        return dataset_digest(self._dataset)[:DIGEST_LENGTH]

    @property
    def schema(self) -> Schema:
        """Columns of a record, as MLflow shows them."""
        columns: list[ColSpec | TensorSpec] = [ColSpec(DataType.string, "id"), ColSpec(DataType.binary, "image")]
        if self._dataset.labelled:
            columns.append(ColSpec(DataType.long, TARGETS))
        return Schema(columns)

    @property
    def profile(self) -> dict[str, Any]:
        """Numbers of images, images per class, images with lesion masks, and files left out by reason."""
        records, names = self._dataset.records, self._dataset.class_names
        counts = Counter(record.label for record in records)
        return {
            "images": len(records),
            "labelled": self._dataset.labelled,
            "classes": {name: counts[index] for index, name in enumerate(names)},
            "with_lesion_masks": sum(bool(record.lesion_masks) for record in records),
            "left_out": dict(Counter(problem.reason for problem in self._dataset.problems)),
        }

    def to_dict(self) -> dict[str, str]:
        """MLflow's dictionary form, with schema and profile as JSON."""
        return {**super().to_dict(), **_as_json(self.schema, self.profile)}

    @property
    def targets(self) -> str | None:
        """The label column's name; None for an unlabelled data set."""
        return TARGETS if self._dataset.labelled else None

    @property
    def frame(self) -> pd.DataFrame:
        """One row an image: `id`, `path` and, where there are labels, `label`."""
        records = self._dataset.records
        columns: dict[str, list[object]] = {"id": [r.id for r in records], "path": [str(r.path) for r in records]}
        if self._dataset.labelled:
            columns[TARGETS] = [r.label for r in records]
        return pd.DataFrame(columns)

    def to_pyfunc(self) -> PyFuncInputsOutputs:
        """Rows of `frame` as a model's inputs and outputs."""
        frame = self.frame
        if self.targets is None:
            return PyFuncInputsOutputs([frame], None)
        return PyFuncInputsOutputs([frame.drop(columns=TARGETS)], [frame[TARGETS]])

    def to_evaluation_dataset(
        self, path: str | None = None, feature_names: list[str] | None = None
    ) -> EvaluationDataset:
        """What `mlflow.models.evaluate` hands to evaluators.

        Args:
            path: recorded by MLflow.
            feature_names: columns of `frame` to keep; None for all.
        """
        return EvaluationDataset(  # type: ignore[no-untyped-call]
            self.frame,
            targets=self.targets,
            path=path,
            feature_names=feature_names,
            name=self.name,
            digest=self.digest,
        )


class LoggedRelease(MlflowDataset):
    """The MLflow view of a release. It has no labels: a release does not carry them.

    Args:
        path: the folder that holds `release.json`.
        name: shown in MLflow; None for `<data set> locked`.
        digest: None for one of ids and marked pixels.

    Raises:
        ReleaseError: no finished release is there.
    """

    def __init__(self, path: Path, name: str | None = None, digest: str | None = None) -> None:
        self._manifest = load_manifest(path)
        source = ReleaseSource(str(path.absolute()), self._manifest.release_id)
        super().__init__(source, name=name or f"{self._manifest.dataset} locked", digest=digest)

    def _compute_digest(self) -> str:
        rows = sorted((image.id, image.marked_sha256) for image in self._manifest.images)
        text = json.dumps(["medlocker.release.pixels/1", rows], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]

    @property
    def schema(self) -> Schema:
        """Columns of an image, as MLflow shows them."""
        return Schema([ColSpec(DataType.string, "id"), ColSpec(DataType.binary, "image")])

    @property
    def profile(self) -> dict[str, Any]:
        """Release id, data set it was made from, number of images and of images by outcome."""
        manifest = self._manifest
        return {
            "images": len(manifest.images),
            "release_id": manifest.release_id,
            "made_from": manifest.dataset_digest[:DIGEST_LENGTH],
            "outcomes": dict(Counter(image.outcome for image in manifest.images)),
            "infeasible": len(manifest.infeasible),
        }

    def to_dict(self) -> dict[str, str]:
        """MLflow's dictionary form, with schema and profile as JSON."""
        return {**super().to_dict(), **_as_json(self.schema, self.profile)}


def open_images(path: Path, name: str | None, digest: str | None, options: Mapping[str, Any]) -> LoggedImages:
    """Read a folder for MLflow; see `medlocker_mlflow.dataset_plugin.from_image_folder`."""
    try:
        spec = DatasetSpec(root=path, **options)
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            why=f"{first['input']!r} was given",
            fix=f"the options are {', '.join(DatasetSpec.model_fields)}",
        ) from error
    return LoggedImages(open_dataset(spec), name, digest)


def _as_json(schema: Schema, profile: Mapping[str, Any]) -> dict[str, str]:
    return {"schema": json.dumps({"mlflow_colspec": schema.to_dict()}), "profile": json.dumps(profile)}
