"""Lesion segmentation: UNet++ trained on patches, run on whole images tile by tile."""

from medlocker_zoo.segmentation.description import (
    SegmentationInput,
    SegmentationRecipe,
    SegmenterMetadata,
    UnetSettings,
)
from medlocker_zoo.segmentation.export import SegmenterExport, export_segmenter
from medlocker_zoo.segmentation.measuring import LesionReport, collect_counts, lesion_reports
from medlocker_zoo.segmentation.resolve import resolve_segmenter
from medlocker_zoo.segmentation.segmenter import OnnxSegmenter, TorchSegmenter
from medlocker_zoo.segmentation.storage import is_segmenter, load_segmenter, save_segmenter
from medlocker_zoo.segmentation.training import SegmentationJob, SegmentationResult, train_segmenter

__all__ = [
    "LesionReport",
    "OnnxSegmenter",
    "SegmentationInput",
    "SegmentationJob",
    "SegmentationRecipe",
    "SegmentationResult",
    "SegmenterExport",
    "SegmenterMetadata",
    "TorchSegmenter",
    "UnetSettings",
    "collect_counts",
    "export_segmenter",
    "is_segmenter",
    "lesion_reports",
    "load_segmenter",
    "resolve_segmenter",
    "save_segmenter",
    "train_segmenter",
]
