"""Data sets of retinal photographs, whatever their layout on disk."""

from medlocker.datasets.base import Dataset, Layout, OnError, Problem, Record
from medlocker.datasets.masks import read_mask
from medlocker.datasets.opening import dataset_digest, open_dataset
from medlocker.datasets.spec import DatasetSpec

__all__ = [
    "Dataset",
    "DatasetSpec",
    "Layout",
    "OnError",
    "Problem",
    "Record",
    "dataset_digest",
    "open_dataset",
    "read_mask",
]
