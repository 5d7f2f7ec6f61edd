"""Which networks the zoo knows: one card a network, in `cards/<name>.toml`."""

from __future__ import annotations

import fnmatch
import tomllib
from functools import cache
from importlib import resources
from typing import Annotated, Literal

import timm
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medlocker.classifiers import Preprocessing
from medlocker.errors import ModelError

Share = Annotated[float, Field(ge=0, lt=1)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Architecture(_Model):
    """Which timm network to build. Only harmless options are allowed, because weights files carry them too.

    Attributes:
        timm_name: name of a timm architecture, without a weights tag.
        pad_type: `same` pads as TensorFlow does; None leaves timm's default.
        drop_rate: dropout before the head.
        drop_path_rate: stochastic depth; None for architectures that do not know it.
    """

    timm_name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    pad_type: Literal["same"] | None = None
    drop_rate: Share = 0.0
    drop_path_rate: Share | None = None


class Augmentation(_Model):
    """Random changes of a training image, each drawn uniformly from ± its bound.

    Attributes:
        flip_horizontal: mirror left and right in half of the draws.
        flip_vertical: mirror top and bottom in half of the draws.
        rotation: degrees.
        zoom: relative change of scale.
        shift: share of the image's side.
        brightness: relative change of all values.
        contrast: relative change of the distance to the image's mean.
        colour: relative change of each channel by itself.
    """

    flip_horizontal: bool = True
    flip_vertical: bool = True
    rotation: Annotated[float, Field(ge=0, le=180)] = 30.0
    zoom: Share = 0.1
    shift: Share = 0.03
    brightness: Share = 0.15
    contrast: Share = 0.15
    colour: Share = 0.05


class Recipe(_Model):
    """How a network is trained. The paper names no optimiser, rate or schedule: all of it is our choice (READINGS 23).

    Attributes:
        epochs: passes over the training images at most.
        learning_rate: peak of the schedule: linear warm-up, then half a cosine down to 0.
        warmup_epochs: length of the warm-up, may be a fraction.
        weight_decay: on weight matrices and kernels only.
        batch_size: images a step.
        optimiser: `adamw`, or `sgd` with Nesterov momentum 0.9.
        label_smoothing: share of the target spread over all classes.
        balancing: `sampler` draws rare classes more often, `loss` weighs them more, `none` does neither.
        balancing_power: 1 makes every class count the same, 0 changes nothing; between, the weights are damped.
        gradient_clip: largest norm of the gradient of a step.
        patience: epochs without a better validation kappa before training stops; None never stops early.
        augmentation: see there.
    """

    epochs: Annotated[int, Field(ge=1, le=1000)] = 30
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.05
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    optimiser: Literal["adamw", "sgd"] = "adamw"
    label_smoothing: Share = 0.1
    balancing: Literal["sampler", "loss", "none"] = "sampler"
    balancing_power: Annotated[float, Field(ge=0, le=1)] = 0.5
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    patience: Annotated[int, Field(ge=1)] | None = 8
    augmentation: Augmentation = Augmentation()


class Card(_Model):
    """One network of the zoo.

    Attributes:
        name: registry name.
        family: kind of architecture, for choosing networks that differ.
        note: what it is for, and which of its settings are our own choice.
        in_paper: one of the seven networks of the paper.
        architecture: what to build.
        preprocessing: input size, normalisation and resize.
        recipe: how to train it.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    family: str
    note: str
    in_paper: bool = False
    architecture: Architecture
    preprocessing: Preprocessing
    recipe: Recipe


@cache
def _cards() -> dict[str, Card]:
    folder = resources.files("medlocker_zoo") / "cards"
    found = [_read_card(entry.read_text(encoding="utf-8"), entry.name) for entry in folder.iterdir()]
    return {card.name: card for card in sorted(found, key=lambda card: card.name)}


def _read_card(text: str, file_name: str) -> Card:
    try:
        card = Card.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise ModelError(f"{file_name}: not a valid network card", why=str(error)) from error
    if f"{card.name}.toml" != file_name:
        raise ModelError(f"{file_name}: the card calls itself {card.name}", fix=f"rename it to {card.name}.toml")
    return card


def list_networks(pattern: str = "*") -> list[str]:
    """Names of the zoo's networks.

    Args:
        pattern: shell wildcard, e.g. `demo_*`.

    Returns:
        Matching names in alphabetical order; empty when none matches.
    """
    return [name for name in _cards() if fnmatch.fnmatchcase(name, pattern)]


def paper_networks() -> list[str]:
    """Names of the paper's seven networks, in alphabetical order."""
    return [name for name, card in _cards().items() if card.in_paper]


def get_card(name: str) -> Card:
    """The card of one network.

    Raises:
        ModelError: the zoo has no network of this name.
    """
    card = _cards().get(name)
    if card is None:
        raise ModelError(f"the model zoo has no network {name!r}", fix=f"choose one of {', '.join(_cards())}")
    return card


def build_network(architecture: Architecture, num_classes: int) -> torch.nn.Module:
    """A network with random weights drawn from torch's global generator.

    Args:
        architecture: what to build.
        num_classes: outputs; 1000 gives timm's ImageNet head.

    Raises:
        ModelError: this timm does not know the architecture or its options.
    """
    return create_timm(architecture, num_classes, pretrained=False)


def create_timm(architecture: Architecture, num_classes: int, *, pretrained: bool) -> torch.nn.Module:
    """As `build_network`, with timm's ImageNet weights when `pretrained` (needs the network)."""
    options = architecture.model_dump(exclude={"timm_name"}, exclude_none=True)
    try:
        network: torch.nn.Module = timm.create_model(
            architecture.timm_name, pretrained=pretrained, num_classes=num_classes, **options
        )
    except (RuntimeError, TypeError, OSError) as error:
        action = "fetched" if pretrained else "built"
        raise ModelError(
            f"{architecture.timm_name} cannot be {action}",
            why=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="connect to the network or give local weights with --init" if pretrained else "update timm",
        ) from error
    return network
