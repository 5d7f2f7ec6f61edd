"""Folded networks compute the same function, with fewer steps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medlocker.saving import CONFIDENCE_TOLERANCE
from medlocker_zoo.folding import folded
from medlocker_zoo.registry import build_network, get_card


def restless(network: nn.Module) -> nn.Module:
    """Statistics and scales as training leaves them, not the identity that fresh ones are."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return network.eval().requires_grad_(False)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("demo_resnet", 0),
        ("demo_efficientnet", 0),
        ("demo_darknet", 0),
        ("tf_mobilenetv3_small_100", 0),
        ("resnet18", 0),
        ("densenet121", 62),
        ("vit_tiny_patch16_224", 0),
    ],
)
def test_folding_keeps_the_probabilities(name, left):
    network = restless(build_network(get_card(name).architecture, 5))
    before = norms(network)
    fast = folded(network)
    inputs = torch.randn(2, 3, 96 if name != "vit_tiny_patch16_224" else 224, 96 if name[0] != "v" else 224)
    with torch.inference_mode():
        one, two = (torch.softmax(n(inputs) * 10, 1) for n in (network, fast))
    assert float((one - two).abs().max()) < CONFIDENCE_TOLERANCE / 10
    assert norms(fast) == left
    assert norms(network) == before


def test_a_convolution_that_is_read_twice_is_not_folded():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return (x + self.norm(x)).mean((2, 3))

    network = restless(Twice())
    fast = folded(network)
    assert norms(fast) == 1
    inputs = torch.randn(2, 3, 8, 8)
    assert torch.equal(network(inputs), fast(inputs))
