"""A classifier run by ONNX Runtime, as a stranger with the images would run it."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnxruntime
import pynvml
import torch

from medlocker.classifiers import Preprocessing
from medlocker.errors import ModelError, ProviderError
from medlocker_zoo.onnx_description import OnnxDescription, OutputKind, describe_onnx

Provider = Literal["auto", "cpu", "cuda"]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def cuda_present() -> bool:
    """Whether this machine shows this process a CUDA device, even one that no installed library can use."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    if torch.cuda.is_available():
        return True
    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount()) > 0
    except pynvml.NVMLError:
        return False


def open_session(path: Path, provider: Provider = "auto") -> onnxruntime.InferenceSession:
    """Load an ONNX file, and make sure that it runs where it was meant to.

    Args:
        path: the ONNX file.
        provider: `auto` is CUDA where there is a CUDA device.

    Raises:
        ModelError: the file is missing or is no valid model.
        ProviderError: it would run on the CPU although CUDA was asked for, or although a device is there.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such ONNX file", fix="check the path")
    wanted = CUDA if provider == "cuda" or (provider == "auto" and cuda_present()) else CPU
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what goes wrong is raised below
    providers: list[object] = [CPU]
    if wanted == CUDA and CUDA in onnxruntime.get_available_providers():
        # PyTorch was imported above: the CUDA libraries it brought are the ones ONNX Runtime then finds.
        onnxruntime.preload_dlls()
        providers.insert(0, (CUDA, {"use_tf32": "0"}))
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: ONNX Runtime cannot load it", why=reason, fix="export it again") from error
    running = session.get_providers()[0]
    if running != wanted:
        raise ProviderError(
            f"{path.name}: ONNX Runtime runs on {running}, not on {wanted}",
            why="no CUDA device was found" if not cuda_present() else "its CUDA libraries could not be loaded",
            fix="install onnxruntime-gpu[cuda,cudnn] to match the driver, or accept the CPU with --provider cpu",
        )
    return session


class OnnxTarget:
    """An ONNX classifier.

    Args:
        path: the ONNX file.
        provider: where to run it; see `open_session`.
        name: its name in this run; by default what the file or sidecar says, else the file's stem.
        preprocessing: for files that do not say; overrides those that do.
        output: what the output holds; by default as declared, else measured on a probe.

    Attributes:
        output_kind: `probabilities`, or `logits`, to which softmax is applied.
        output_declared: whether that was declared; False where it was measured.
        provider: the execution provider that really runs.

    Raises:
        ModelError: the file cannot be used as a classifier of RGB images.
        ProviderError: see `open_session`.
    """

    def __init__(
        self,
        path: Path,
        *,
        provider: Provider = "auto",
        name: str | None = None,
        preprocessing: Preprocessing | None = None,
        output: OutputKind | None = None,
    ) -> None:
        self._path = path
        self._session = open_session(path, provider)
        self.provider: str = self._session.get_providers()[0]
        properties = self._session.get_modelmeta().custom_metadata_map
        self.description: OnnxDescription = describe_onnx(path, properties, preprocessing)
        self.name = name or self.description.name or path.stem
        self.device = torch.device("cpu")
        self._input, self._fixed_batch = self._check_input()
        probe = self._run(np.stack([np.full((3, self._side, self._side), value, dtype=np.float32) for value in (0, 1)]))
        self.num_classes = self._check_output(probe)
        declared = output or self.description.output
        self.output_declared = declared is not None
        self.output_kind: OutputKind = declared or _measured_kind(probe)

    @property
    def _side(self) -> int:
        return self.description.preprocessing.input_size

    @property
    def preprocessing(self) -> Preprocessing:
        """What inputs must go through."""
        return self.description.preprocessing

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per output; `class 0` and so on where the file has none."""
        return self.description.class_names or tuple(f"class {index}" for index in range(self.num_classes))

    @property
    def runtime(self) -> str:
        """`onnxruntime/` and the execution provider that really runs."""
        return f"onnxruntime/{self.provider}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights it was exported from; of the file where that is not known."""
        if self.description.fingerprint:
            return self.description.fingerprint
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        """Class probabilities.

        Args:
            inputs: (B, 3, S, S) float32, preprocessed.

        Returns:
            (B, num_classes) float32 on the CPU; rows sum to 1.
        """
        values = torch.from_numpy(self._run(inputs.detach().cpu().contiguous().numpy()))
        return torch.softmax(values, dim=1) if self.output_kind == "logits" else values

    def _run(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self._fixed_batch is None:
            return self._call(inputs)
        results = []
        for start in range(0, len(inputs), self._fixed_batch):
            part = inputs[start : start + self._fixed_batch]
            padded = np.concatenate([part, np.repeat(part[-1:], self._fixed_batch - len(part), axis=0)])
            results.append(self._call(padded)[: len(part)])
        return np.concatenate(results)

    def _call(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        try:
            return np.asarray(self._session.run(None, {self._input: inputs})[0])
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            reason = str(error).splitlines()[0]
            raise ModelError(f"{self._path}: fails on {len(inputs)} images", why=reason) from error

    def _check_input(self) -> tuple[str, int | None]:
        inputs = self._session.get_inputs()
        shape = inputs[0].shape
        fits = len(inputs) == 1 and inputs[0].type == "tensor(float)" and len(shape) == 4
        if not fits or any(
            isinstance(length, int) and length != expected
            for length, expected in zip(shape[1:], (3, self._side, self._side), strict=True)
        ):
            found = ", ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in inputs)
            raise ModelError(
                f"{self._path}: its input does not fit",
                why=f"it takes {found}; float32 (B, 3, {self._side}, {self._side}) is needed",
                fix="correct input_size in its description, or export it with such an input",
            )
        return inputs[0].name, shape[0] if isinstance(shape[0], int) else None

    def _check_output(self, probe: npt.NDArray[np.float32]) -> int:
        if probe.ndim != 2 or len(probe) != 2 or probe.shape[1] < 2:
            raise ModelError(
                f"{self._path}: its output does not fit",
                why=f"for two images it gives shape {probe.shape}; (2, classes) is needed",
            )
        names = self.description.class_names
        if names and len(names) != probe.shape[1]:
            raise ModelError(f"{self._path}: {probe.shape[1]} outputs, but {len(names)} class names")
        return int(probe.shape[1])


def _measured_kind(probe: npt.NDArray[np.float32]) -> OutputKind:
    sums_to_one = np.allclose(probe.sum(axis=1), 1, atol=1e-3) and (probe >= 0).all()
    return "probabilities" if sums_to_one else "logits"
