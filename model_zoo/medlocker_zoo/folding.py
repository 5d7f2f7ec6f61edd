"""Fold batch normalisation into the convolution before it: the same function, one pass over memory less.

At inference a batch normalisation is a scale and a shift per channel, so bn(conv(x)) is a convolution with other
weights. Rewriting changes the last digits; `TorchClassifier.searching` uses it, the reference arithmetic does not.
"""

from __future__ import annotations

import copy

import torch
from timm.layers import BatchNormAct2d
from timm.models.vgg import ConvMlp
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

LEAVES = (nn.Conv2d, nn.BatchNorm2d, ConvMlp)
"""Modules the graph treats as one step; timm's `ConvMlp` branches on shapes, which tracing cannot follow."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES) or super().is_leaf_module(m, module_qualified_name)


def traced(network: nn.Module) -> fx.GraphModule | None:
    """The network as a graph over shared modules; None where it branches on values and cannot be traced."""
    try:
        return fx.GraphModule(network, _Tracer().trace(network))
    except (fx.proxy.TraceError, TypeError, RuntimeError):
        return None


def folded(network: nn.Module) -> nn.Module:
    """A copy with every batch normalisation that follows a convolution folded into it.

    Args:
        network: in evaluation mode; not changed.

    Returns:
        The copy; unchanged where nothing can be folded or the network cannot be traced.
    """
    network = copy.deepcopy(network)
    graph = traced(network) if any(isinstance(m, nn.BatchNorm2d) for m in network.modules()) else None
    modules = dict(network.named_modules())
    for node in graph.graph.nodes if graph else ():
        conv = _foldable(node, modules)
        if conv is not None:
            _replace(network, conv, node.target, modules)
    return network


def _foldable(node: fx.Node, modules: dict[str, nn.Module]) -> str | None:
    """Name of the convolution whose only reader this batch normalisation is."""
    if node.op != "call_module" or not isinstance(modules[str(node.target)], nn.BatchNorm2d):
        return None
    source = node.args[0]
    if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
        return None
    return str(source.target) if isinstance(modules[str(source.target)], nn.Conv2d) else None


def _replace(network: nn.Module, conv: str, norm: str, modules: dict[str, nn.Module]) -> None:
    convolution, normalisation = modules[conv], modules[norm]
    assert isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d)
    network.set_submodule(conv, fuse_conv_bn_eval(convolution, normalisation))
    kept = normalisation.act if isinstance(normalisation, BatchNormAct2d) else nn.Identity()
    network.set_submodule(norm, kept)


def fold_difference(network: nn.Module, other: nn.Module, inputs: torch.Tensor) -> float:
    """Largest difference of a class probability between two networks."""
    with torch.inference_mode():
        one, two = (torch.softmax(n(inputs).float(), 1) for n in (network, other))
    return float((one - two).abs().max())
