"""One epoch of training: order, schedule, precision, steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from medlocker.classifiers import Preprocessing
from medlocker.errors import SettingsError
from medlocker.preprocessing import normalise
from medlocker_zoo.augmentation import augment
from medlocker_zoo.pixels import PixelCache
from medlocker_zoo.registry import Recipe

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Setup:
    """What stays the same over a training run.

    Attributes:
        recipe: how to train.
        preprocessing: the network's.
        seed: of order, augmentation and dropout.
        device: where the network runs.
        bfloat16: whether forward and backward passes run in bfloat16.
    """

    recipe: Recipe
    preprocessing: Preprocessing
    seed: int
    device: torch.device
    bfloat16: bool


def use_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Whether to train in bfloat16: `auto` does where the hardware multiplies it natively.

    Raises:
        SettingsError: `bfloat16` is asked for where the hardware would only emulate it.
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        features = torch.cpu.get_capabilities()
        native = bool(features.get("avx512_bf16") or features.get("amx_bf16"))
    if precision == "bfloat16" and not native:
        raise SettingsError(f"{device} has no bfloat16 arithmetic", fix="leave --precision at auto")
    return native and precision != "float32"


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for one epoch; everything random in it follows from this, so a resumed run repeats it exactly."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def class_weights(cache: PixelCache, power: float) -> torch.Tensor:
    """(K,) float32, inverse class frequency to a power, mean 1 over the images; 0 for classes without images."""
    counts = torch.bincount(cache.labels, minlength=cache.classes).double()
    weights = torch.where(counts > 0, counts.clamp(min=1) ** -power, 0.0)
    return (weights * counts.sum() / (weights * counts).sum()).float()


def epoch_batches(cache: PixelCache, recipe: Recipe, generator: torch.Generator) -> list[torch.Tensor]:
    """Image indices of every step of one epoch.

    Returns:
        Index tensors of `batch_size` each; a shorter rest is left out unless it is all there is.
    """
    if recipe.balancing == "sampler":
        weights = class_weights(cache, recipe.balancing_power)[cache.labels]
        order = torch.multinomial(weights, len(cache), replacement=True, generator=generator)
    else:
        order = torch.randperm(len(cache), generator=generator)
    steps = max(1, len(cache) // recipe.batch_size)
    return list(torch.split(order[: steps * recipe.batch_size], recipe.batch_size))


def rate_factor(progress: float, warmup: float) -> float:
    """Learning rate as a share of its peak.

    Args:
        progress: epochs done, as a share of all epochs, 0 … 1.
        warmup: share of the epochs spent warming up.

    Returns:
        Linear from 0 to 1 while warming up, then half a cosine to 0.
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(1 - warmup, 1e-9)))


class Decaying(Protocol):
    """The part of a recipe that AdamW needs."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


def decay_groups(network: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups in which weight decay acts on matrices and kernels only."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def make_adamw(network: torch.nn.Module, recipe: Decaying) -> torch.optim.Optimizer:
    """AdamW at the recipe's rate and decay."""
    return torch.optim.AdamW(decay_groups(network, recipe.weight_decay), lr=recipe.learning_rate)


def make_optimiser(network: torch.nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay acts on matrices and kernels only."""
    if recipe.optimiser == "sgd":
        groups = decay_groups(network, recipe.weight_decay)
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    return make_adamw(network, recipe)


def train_epoch(
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    cache: PixelCache,
    epoch: int,
    setup: Setup,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Train for one epoch.

    Args:
        network: on `setup.device`; changed.
        optimiser: of the network; changed.
        cache: training images.
        epoch: 0-based.
        setup: see there.
        progress: called with steps done and steps in all.

    Returns:
        Mean training loss.
    """
    recipe = setup.recipe
    generator = torch.Generator().manual_seed(epoch_seed(setup.seed, epoch))
    batches = epoch_batches(cache, recipe, generator)
    weights = class_weights(cache, recipe.balancing_power).to(setup.device) if recipe.balancing == "loss" else None
    network.train()
    losses = []
    with torch.random.fork_rng():
        torch.manual_seed(epoch_seed(setup.seed, epoch))
        for step, indices in enumerate(batches):
            factor = rate_factor(
                (epoch + (step + 1) / len(batches)) / recipe.epochs, min(recipe.warmup_epochs / recipe.epochs, 1.0)
            )
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * factor
            images, labels = cache.unit_batch(indices, setup.device)
            inputs = normalise(augment(images, recipe.augmentation, generator), setup.preprocessing)
            losses.append(_step(network, optimiser, inputs, labels, weights, setup))
            if progress:
                progress(step + 1, len(batches))
    return float(torch.stack(losses).mean())


def _step(
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor | None,
    setup: Setup,
) -> torch.Tensor:
    optimiser.zero_grad(set_to_none=True)
    with autocast(setup):
        logits = network(inputs.contiguous(memory_format=torch.channels_last))
    loss = F.cross_entropy(logits.float(), labels, weight=weights, label_smoothing=setup.recipe.label_smoothing)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(network.parameters(), setup.recipe.gradient_clip)
    optimiser.step()
    return loss.detach()


def autocast(setup: Setup) -> torch.autocast | nullcontext[None]:
    """The context a forward pass runs in."""
    return torch.autocast(setup.device.type, dtype=torch.bfloat16) if setup.bfloat16 else nullcontext()


@torch.inference_mode()
def predict(network: torch.nn.Module, cache: PixelCache, setup: Setup) -> tuple[torch.Tensor, float]:
    """Grade cached images without augmentation.

    Returns:
        (n,) predicted classes on the CPU, and the mean cross-entropy.
    """
    network.eval()
    predictions, loss = [], 0.0
    for indices in torch.split(torch.arange(len(cache)), 2 * setup.recipe.batch_size):
        images, labels = cache.unit_batch(indices, setup.device)
        with autocast(setup):
            logits = network(normalise(images, setup.preprocessing).contiguous(memory_format=torch.channels_last))
        loss += float(F.cross_entropy(logits.float(), labels, reduction="sum"))
        predictions.append(logits.argmax(dim=1).cpu())
    return torch.cat(predictions), loss / len(cache)
