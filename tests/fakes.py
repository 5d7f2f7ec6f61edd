"""Small networks whose best placement is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from medlocker.classifiers import Preprocessing

UNIT = Preprocessing(input_size=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@dataclass
class LinearClassifier:
    """Two classes; class 0's logit is the weighted sum of the input's pixels, class 1's is `bias`.

    Attributes:
        weights: (3, S, S) float32.
        rows: number of rows it was asked about, padding included.
    """

    weights: torch.Tensor
    bias: float = 0.0
    name: str = "linear"
    preprocessing: Preprocessing = UNIT
    num_classes: int = 2
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    fingerprint: str = "0" * 64
    runtime: str = "torch/cpu"
    class_names: tuple[str, ...] = ("0", "1")
    rows: int = 0
    batches: list[int] = field(default_factory=list)

    def probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        """Softmax of the two logits."""
        self.rows += len(inputs)
        self.batches.append(len(inputs))
        logit = (inputs.double() * self.weights.double()).sum((1, 2, 3))
        return torch.softmax(torch.stack([logit, torch.full_like(logit, self.bias)], 1), 1).float()


class SmallMemory(LinearClassifier):
    """Runs out of memory on more rows than it has room for, as PyTorch says it."""

    room = 5

    def probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        """As those of a linear classifier, where there is room."""
        if len(inputs) > self.room:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")
        return super().probabilities(inputs)


def bright_corner(side: int = 32, gain: float = 0.05) -> torch.Tensor:
    """Weights that read class 0 from the brightness of the upper left quarter."""
    weights = torch.zeros(3, side, side)
    weights[:, : side // 4, : side // 4] = gain
    return weights
