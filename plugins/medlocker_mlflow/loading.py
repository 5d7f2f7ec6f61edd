"""MLflow's view of a classifier of the zoo: what `mlflow.pyfunc.load_model` gives for a model that `train` logged.

The weights stay the one .safetensors file that every verb reads: nothing is pickled. MLflow imports this module by
name, so the environment that loads the model must hold MedLocker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from medlocker.errors import ModelError
from medlocker_zoo.classifier import TorchClassifier
from medlocker_zoo.storage import load_classifier

BATCH = 32
"""Images in one forward pass."""


class ClassifierPredictor:
    """Class probabilities of preprocessed images.

    Args:
        classifier: from `medlocker_zoo`.
    """

    def __init__(self, classifier: TorchClassifier) -> None:
        self.classifier = classifier

    def predict(self, inputs: Any, params: Any = None) -> npt.NDArray[np.float32]:
        """Class probabilities.

        Args:
            inputs: (N, 3, S, S) float32 that went through the preprocessing in the model's metadata.
            params: not used; MLflow passes it.

        Returns:
            (N, classes) float32; rows sum to 1.

        Raises:
            ModelError: the inputs have another shape.
        """
        del params
        batch, side = np.asarray(inputs, dtype=np.float32), self.classifier.preprocessing.input_size
        if batch.ndim != 4 or batch.shape[1:] != (3, side, side):
            raise ModelError(
                f"{self.classifier.name} was given an array of shape {batch.shape}",
                why=f"it takes (N, 3, {side}, {side})",
                fix="prepare images as the model's metadata says under medlocker.preprocessing",
            )
        parts = [
            self.classifier.probabilities(torch.from_numpy(batch[start : start + BATCH]).to(self.classifier.device))
            for start in range(0, len(batch), BATCH)
        ]
        answer = torch.cat(parts) if parts else torch.empty(0, self.classifier.num_classes)
        return np.asarray(answer.cpu().numpy(), dtype=np.float32)


def _load_pyfunc(data_path: str) -> ClassifierPredictor:
    """The entry that MLflow calls with the weights file, or the folder that holds it."""
    path = Path(data_path)
    file = path if path.is_file() else next(path.glob("*.safetensors"))
    return ClassifierPredictor(load_classifier(file, "cuda" if torch.cuda.is_available() else "cpu"))
