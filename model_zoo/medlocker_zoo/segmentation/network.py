"""UNet++ on a timm encoder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import segmentation_models_pytorch as smp
import torch

from medlocker.errors import ModelError, SettingsError
from medlocker_zoo.classifier import UNUSED_AT_INFERENCE
from medlocker_zoo.registry import Architecture, create_timm
from medlocker_zoo.segmentation.description import UnetSettings
from medlocker_zoo.storage import read_tensors

PRIOR_LOGIT = -4.0
"""What the untrained head answers: lesions cover about 2 % of a pathological image, less for each type."""


def build_unet(settings: UnetSettings, lesions: int) -> torch.nn.Module:
    """A UNet++ with random weights drawn from torch's global generator.

    Source: Zhou et al. 2018, as segmentation-models-pytorch builds it.

    Args:
        settings: encoder and decoder.
        lesions: outputs.

    Raises:
        ModelError: this timm does not know the encoder, or it has no five levels of features.
    """
    options = {"pad_type": settings.pad_type} if settings.pad_type else {}
    try:
        network: torch.nn.Module = smp.UnetPlusPlus(
            f"tu-{settings.encoder}",
            encoder_weights=None,
            decoder_channels=settings.decoder_channels,
            classes=lesions,
            **options,
        )
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{settings.encoder} cannot be the encoder of a UNet++",
            why=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="name a convolutional timm network, e.g. tf_mobilenetv3_small_100 or resnet34",
        ) from error
    torch.nn.init.constant_(network.segmentation_head[0].bias, PRIOR_LOGIT)  # type: ignore[index, union-attr]
    return network


def initial_unet(
    settings: UnetSettings, lesions: int, *, init: Path | None, imagenet: bool, seed: int
) -> tuple[torch.nn.Module, str]:
    """The network that training starts from.

    Args:
        settings: encoder and decoder.
        lesions: outputs.
        init: a .safetensors file of a classifier of the encoder's architecture.
        imagenet: start the encoder from timm's ImageNet weights, fetched over the network.
        seed: of random weights.

    Returns:
        The network, and what to record as its encoder's origin.

    Raises:
        SettingsError: both origins are asked for.
        ModelError: the weights cannot be read or fetched, or lack a tensor of the encoder.
    """
    if init and imagenet:
        raise SettingsError("--init and --imagenet are both given", fix="give one of them")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_unet(settings, lesions)
    if init:
        fill_encoder(network, read_tensors(init)[0], init)
        return network, f"{init.name} sha256:{hashlib.sha256(init.read_bytes()).hexdigest()}"
    if imagenet:
        architecture = Architecture(timm_name=settings.encoder, pad_type=settings.pad_type)
        classifier = create_timm(architecture, 1000, pretrained=True)
        fill_encoder(network, classifier.state_dict(), Path(f"timm's {settings.encoder}"))
        return network, "imagenet"
    return network, "random"


def fill_encoder(network: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Copy a classifier's tensors into the encoder; what belongs to its head alone is left out.

    Raises:
        ModelError: a tensor of the encoder is missing or has another shape.
    """
    encoder = network.get_submodule("encoder.model")
    wanted = {name: value for name, value in encoder.state_dict().items() if not name.endswith(UNUSED_AT_INFERENCE)}
    wrong = [name for name, value in wanted.items() if name not in state or state[name].shape != value.shape]
    if wrong:
        raise ModelError(
            f"{path}: the weights do not fit the encoder",
            why=f"{len(wrong)} of {len(wanted)} tensors are missing or of another shape, e.g. {wrong[0]}",
            fix="give weights of the network named with --encoder",
        )
    encoder.load_state_dict({name: state[name].float() for name in wanted}, strict=False)
