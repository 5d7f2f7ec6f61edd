"""A classifier run by PyTorch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property

import torch
from pydantic import BaseModel, ConfigDict, Field

from medlocker.classifiers import Preprocessing
from medlocker_zoo.folding import folded
from medlocker_zoo.registry import Architecture, Recipe

UNUSED_AT_INFERENCE = "num_batches_tracked"


class ClassifierMetadata(BaseModel):
    """What a weights file says about itself.

    Attributes:
        schema_version: of this document.
        medlocker_version: that wrote the file.
        network: name of the card it was trained from.
        architecture: enough to rebuild the network without the card.
        class_names: one per output, in order.
        preprocessing: what inputs must go through.
        recipe: how it was trained, as resolved; None where it is not known.
        seed: of the training run; None where it is not known.
        trained_on: name and digest of the training data; None where it is not known.
        initial_weights: where training started: `random`, `imagenet`, or a file name with its SHA-256.
        metrics: measured on held-out images, flat names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: str = Field(default="medlocker.classifier/1", pattern=r"^medlocker\.classifier/1$")
    medlocker_version: str
    network: str
    architecture: Architecture
    class_names: tuple[str, ...] = Field(min_length=2)
    preprocessing: Preprocessing
    recipe: Recipe | None = None
    seed: int | None = None
    trained_on: str | None = None
    initial_weights: str | None = None
    metrics: dict[str, float] = {}


def inference_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that decide a network's output, by sorted name, contiguous on the CPU."""
    state = network.state_dict()
    used = sorted(name for name in state if not name.endswith(UNUSED_AT_INFERENCE))
    return {name: state[name].detach().cpu().contiguous() for name in used}


def state_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 (hexadecimal) over sorted tensor names, shapes and float32 bytes of a state on the CPU."""
    digest = hashlib.sha256()
    for name in sorted(state):
        values = state[name].to(torch.float32).contiguous().numpy()
        digest.update(f"{name}{tuple(values.shape)}".encode())
        digest.update(values.astype("<f4").tobytes())
    return digest.hexdigest()


class TorchClassifier:
    """A network of the zoo, in evaluation mode and float32.

    Args:
        network: gives (B, num_classes) logits for (B, 3, S, S) inputs.
        metadata: class names, preprocessing and where the weights come from.
        device: where it runs.
        name: unique within one run; the card's name by default.
    """

    def __init__(
        self, network: torch.nn.Module, metadata: ClassifierMetadata, device: torch.device, name: str | None = None
    ) -> None:
        # Measured on 2 cores: the convolutional networks run 1.2 to 2.1 times as fast in this memory format.
        self.network = network.eval().float().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.requires_grad_(False)
        self.metadata = metadata
        self.device = device
        self.name = name or metadata.network

    @property
    def num_classes(self) -> int:
        """Number of output classes."""
        return len(self.metadata.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per output."""
        return self.metadata.class_names

    @property
    def preprocessing(self) -> Preprocessing:
        """What inputs must go through."""
        return self.metadata.preprocessing

    @property
    def runtime(self) -> str:
        """`torch/cpu`, or `torch/cuda:` with the device's index."""
        return f"torch/{self.device}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights, see `state_sha256`."""
        return state_sha256(inference_state(self.network))

    def searching(self) -> TorchClassifier:
        """The same network with batch normalisation folded away; for the search, see docs/decisions/0005."""
        return self._searching

    @cached_property
    def _searching(self) -> TorchClassifier:
        fast = TorchClassifier(folded(self.network), self.metadata, self.device, self.name)
        fast.fingerprint = self.fingerprint
        return fast

    @torch.inference_mode()
    def probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        """Softmax of the network's logits.

        Args:
            inputs: (B, 3, S, S) float32 on `device`, preprocessed, any memory format.

        Returns:
            (B, num_classes) float32 on `device`; rows sum to 1.
        """
        logits = self.network(inputs.contiguous(memory_format=torch.channels_last))
        return torch.softmax(logits.float(), dim=1)
