"""Segmentation networks that run: by PyTorch, or by ONNX Runtime from an exported file."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from medlocker.blending import Pixels
from medlocker.errors import ModelError
from medlocker_zoo.classifier import inference_state, state_sha256
from medlocker_zoo.onnx_description import INPUT_NAME
from medlocker_zoo.segmentation.description import OnnxSegmenterDescription, SegmenterMetadata
from medlocker_zoo.segmentation.tiling import Floats, image_probabilities, torch_run
from medlocker_zoo.targets import Provider, open_session


class TorchSegmenter:
    """A UNet++ of the zoo, in evaluation mode and float32.

    Args:
        network: gives (B, K, T, T) logits for (B, 3, T, T) inputs.
        metadata: lesion types, thresholds and what images go through.
        device: where it runs.
        name: for messages and records.
    """

    def __init__(
        self, network: torch.nn.Module, metadata: SegmenterMetadata, device: torch.device, name: str = "unetplusplus"
    ) -> None:
        self.network = network.eval().float().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.metadata, self.device, self.name = metadata, device, name

    @property
    def lesions(self) -> tuple[str, ...]:
        """One type an output."""
        return self.metadata.lesions

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Probability from which a pixel counts as lesion, one a type."""
        return self.metadata.thresholds

    @property
    def runtime(self) -> str:
        """`torch/` and the device."""
        return f"torch/{self.device}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights."""
        return state_sha256(inference_state(self.network))

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """(K, H, W) probabilities in the image's frame; see `medlocker.segmenting.Segmenter`."""
        return image_probabilities(torch_run(self.network, self.device), pixels, self.metadata.input)


class OnnxSegmenter:
    """An exported UNet++, run by ONNX Runtime.

    Args:
        path: the .onnx file that `medlocker export` wrote.
        provider: where to run it; see `open_session`.
        name: for messages and records; the file's stem by default.

    Raises:
        ModelError: the file is no segmentation network of ours.
        ProviderError: it does not run where it was meant to.
    """

    def __init__(self, path: Path, *, provider: Provider = "auto", name: str | None = None) -> None:
        self._path, self.name = path, name or path.stem
        self._session = open_session(path, provider)
        self.description = OnnxSegmenterDescription.read(path, self._session.get_modelmeta().custom_metadata_map)

    @property
    def lesions(self) -> tuple[str, ...]:
        """One type an output."""
        return self.description.lesions

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Probability from which a pixel counts as lesion, one a type."""
        return self.description.thresholds

    @property
    def runtime(self) -> str:
        """`onnxruntime/` and the execution provider that really runs."""
        return f"onnxruntime/{self._session.get_providers()[0]}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights it was exported from."""
        return self.description.fingerprint

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """(K, H, W) probabilities in the image's frame; see `medlocker.segmenting.Segmenter`."""
        return image_probabilities(self._run, pixels, self.description.input)

    def _run(self, tiles: Floats) -> Floats:
        try:
            return np.asarray(self._session.run(None, {INPUT_NAME: np.ascontiguousarray(tiles)})[0])
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise ModelError(f"{self._path}: fails on {len(tiles)} tiles", why=str(error).splitlines()[0]) from error
