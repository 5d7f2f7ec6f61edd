"""Diagnostic networks for MedLocker: a registry on timm, training, ONNX export and ONNX Runtime sessions."""

from medlocker_zoo.classifier import ClassifierMetadata, TorchClassifier
from medlocker_zoo.evaluation import EvalReport, evaluate_classifier
from medlocker_zoo.export import ExportReport, export_onnx
from medlocker_zoo.registry import Card, Recipe, get_card, list_networks
from medlocker_zoo.resolve import demo_networks, resolve_source, resolve_sources, resolve_target, resolve_targets
from medlocker_zoo.storage import load_classifier, save_classifier
from medlocker_zoo.targets import OnnxTarget
from medlocker_zoo.training import TrainResult, train_classifier

__all__ = [
    "Card",
    "ClassifierMetadata",
    "EvalReport",
    "ExportReport",
    "OnnxTarget",
    "Recipe",
    "TorchClassifier",
    "TrainResult",
    "demo_networks",
    "evaluate_classifier",
    "export_onnx",
    "get_card",
    "list_networks",
    "load_classifier",
    "resolve_source",
    "resolve_sources",
    "resolve_target",
    "resolve_targets",
    "save_classifier",
    "train_classifier",
]
