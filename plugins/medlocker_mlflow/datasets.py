"""A MedLocker data set as an MLflow data set: name, digest, source, schema and profile; never the images themselves."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from mlflow.data.dataset import Dataset as MlflowDataset
from mlflow.data.dataset_source import DatasetSource
from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec

from medlocker.datasets import Dataset, dataset_digest
from medlocker.errors import TrackingError

DIGEST_LENGTH = 32
"""Hexadecimal digits of the digest that MLflow keeps; its own limit is 36 characters."""


class ImageFolderSource(DatasetSource):
    """A folder (or file) on this machine that images were read from.

    Args:
        path: the folder.
        layout: the layout it was read with.
    """

    def __init__(self, path: str, layout: str) -> None:
        self._path, self._layout = path, layout

    @staticmethod
    def _get_source_type() -> str:
        return "medlocker_images"

    def load(self, **_: Any) -> str:
        """The folder's path; images are never copied.

        Raises:
            FileNotFoundError: the folder is not on this machine.
        """
        if not Path(self._path).exists():
            raise FileNotFoundError(f"{self._path}: not on this machine; the run recorded where the images were read")
        return self._path

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        del raw_source
        return False  # Plain paths belong to MLflow's own local source; this one is made by `LoggedImages` only.

    @classmethod
    def _resolve(cls, raw_source: Any) -> ImageFolderSource:
        raise TrackingError(f"{raw_source} is no image folder source", fix="make one from a MedLocker data set")

    def to_dict(self) -> dict[str, Any]:
        """Path and layout."""
        return {"uri": self._path, "layout": self._layout}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> ImageFolderSource:
        """The inverse of `to_dict`."""
        return cls(source_dict["uri"], source_dict["layout"])


class LoggedImages(MlflowDataset):
    """The MLflow view of a data set.

    Args:
        dataset: the data set as the library reads it.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        super().__init__(ImageFolderSource(str(dataset.root.absolute()), dataset.layout), name=dataset.name)

    def _compute_digest(self) -> str:
        return dataset_digest(self._dataset)[:DIGEST_LENGTH]

    @property
    def schema(self) -> Schema:
        """Columns of a record, as MLflow shows them."""
        columns: list[ColSpec | TensorSpec] = [ColSpec(DataType.string, "id"), ColSpec(DataType.binary, "image")]
        if self._dataset.labelled:
            columns.append(ColSpec(DataType.long, "label"))
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
        schema = json.dumps({"mlflow_colspec": self.schema.to_dict()})
        return {**super().to_dict(), "schema": schema, "profile": json.dumps(self.profile)}
