"""Render many candidate marks of one image at once, as network inputs on the query device.

The stored image is marked at its own resolution with the integers of `medlocker.blending`, and the resize to the
network's input is applied to the *change* alone: input(marked) = input(original) + A_y · Δ · A_xᵀ / std, where Δ is
zero outside the footprint. That equals resizing the whole marked image, up to float32 rounding (READINGS 7; the bound
is `INPUT_TOLERANCE`, held by a test), and costs a sixteenth of it or less.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from medlocker.blending import Mark, Pixels
from medlocker.classifiers import Preprocessing
from medlocker.preprocessing import axis_matrices, normalise, resize_unit, unit_channels

INPUT_TOLERANCE = 2e-5
"""Largest difference between a rendered input and the input made from the saved image, in normalised units."""


@dataclass(frozen=True, eq=False)
class _AxisWindow:
    """The part of one axis's resize that a footprint at each offset touches.

    Attributes:
        weights: (S, length) float32, or None for an axis that is not resized.
        first: (offsets,) int64, first input row each offset touches.
        extent: rows touched, the same for every offset.
    """

    weights: torch.Tensor | None
    first: torch.Tensor
    extent: int
    span: int

    @classmethod
    def of(cls, weights: torch.Tensor | None, length: int, span: int, device: torch.device) -> _AxisWindow:
        offsets = torch.arange(length - span + 1)
        if weights is None:
            return cls(None, offsets.to(device), span, span)
        touched = (weights != 0).to(torch.int64)
        running = torch.cat([torch.zeros(len(weights), 1, dtype=torch.int64), touched.cumsum(1)], dim=1)
        hit = (running[:, span:] - running[:, :-span]) > 0  # (S, offsets)
        rows = torch.arange(len(weights))[:, None]
        last = torch.where(hit, rows, -1).amax(0)
        first = torch.where(hit, rows, len(weights)).amin(0)
        extent = max(1, int((last - first + 1).clamp(min=1).max()))
        first = first.clamp(max=len(weights) - extent)
        return cls(weights.to(device), first.to(device), extent, span)

    def rows(self, offsets: torch.Tensor) -> torch.Tensor:
        """(n, extent) int64: input rows touched at each offset."""
        return self.first[offsets][:, None] + torch.arange(self.extent, device=offsets.device)

    def resize(self, change: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """Resize the last axis but one of (n, 3, span, k) to (n, 3, extent, k)."""
        if self.weights is None:
            return change
        columns = offsets[:, None] + torch.arange(self.span, device=offsets.device)
        window = self.weights[self.rows(offsets)[:, :, None], columns[:, None, :]]
        return torch.matmul(window[:, None], change)


@dataclass(frozen=True, eq=False)
class _View:
    """One preprocessing's view of the image."""

    clean: torch.Tensor  # (3, S, S) normalised
    scale: torch.Tensor  # (3, 1, 1): 1 / std
    down: _AxisWindow
    across: _AxisWindow


class PreparedImage:
    """One image on the query device, ready to be rendered with any number of candidate marks.

    Args:
        pixels: (H, W), (H, W, 3) or (H, W, 4) stored pixels, uint8 or uint16.
        mark: from `medlocker.blending.prepare_mark` for this image.
        preprocessings: one per distinct network input.
        device: where inputs are wanted.
    """

    def __init__(
        self, pixels: Pixels, mark: Mark, preprocessings: Iterable[Preprocessing], device: torch.device
    ) -> None:
        self.device = device
        self.mark = mark
        # float32 holds 255 · 255 + 127.5 with room for an exact quotient; 16-bit products need float64.
        self._real = torch.float32 if mark.peak == 255 else torch.float64
        colour = pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]
        self._pixels = torch.from_numpy(np.ascontiguousarray(colour.transpose(2, 0, 1)).astype(np.int32)).to(device)
        self._colour = torch.from_numpy(mark.colour.transpose(2, 0, 1).copy()).to(device, self._real)
        self._cap = torch.from_numpy(mark.cap.copy()).to(device, self._real)
        width, height = mark.size
        unit = unit_channels(pixels)
        self._views: dict[Preprocessing, _View] = {}
        for preprocessing in preprocessings:
            down, across = axis_matrices(pixels.shape, preprocessing)
            self._views[preprocessing] = _View(
                normalise(resize_unit(unit, preprocessing), preprocessing).to(device),
                1 / torch.tensor(preprocessing.std, device=device)[:, None, None],
                _AxisWindow.of(down, pixels.shape[0], height, device),
                _AxisWindow.of(across, pixels.shape[1], width, device),
            )

    def changes(self, candidates: npt.NDArray[np.int64]) -> torch.Tensor:
        """What each candidate adds to the stored pixels inside its footprint.

        Source: Eq. 1, the same integers as `medlocker.blending.lock`.

        Args:
            candidates: (n, 3) int64 rows [α, x, y].

        Returns:
            (n, C, N', M') float32 or float64, whole numbers.
        """
        width, height = self.mark.size
        genes = torch.from_numpy(candidates).to(self.device)
        windows = self._pixels.unfold(1, height, 1).unfold(2, width, 1)
        original = windows[:, genes[:, 2], genes[:, 1]].transpose(0, 1).to(self._real)
        opacity = torch.minimum(self._cap, genes[:, 0, None, None].to(self._real))[:, None]
        # The half added to 127 keeps every quotient clear of a whole number, so that floor is exact.
        blended = torch.floor(((255 - opacity) * original + opacity * self._colour + 127.5) / 255)
        return blended - original

    def render(self, candidates: npt.NDArray[np.int64], preprocessing: Preprocessing) -> torch.Tensor:
        """Network inputs of marked candidates.

        Args:
            candidates: (n, 3) int64 rows [α, x, y].
            preprocessing: one of those given at construction.

        Returns:
            (n, 3, S, S) float32 on the device, normalised.
        """
        view = self._views[preprocessing]
        change = (self.changes(candidates) / self.mark.peak).to(torch.float32)
        change = change.expand(-1, 3, -1, -1) * view.scale
        x, y = (torch.from_numpy(candidates[:, column].copy()).to(self.device) for column in (1, 2))
        change = view.down.resize(change, y)
        change = view.across.resize(change.transpose(2, 3), x).transpose(2, 3)
        side = preprocessing.input_size
        index = view.down.rows(y)[:, :, None] * side + view.across.rows(x)[:, None, :]
        count = len(candidates)
        inputs = view.clean.expand(count, -1, -1, -1).reshape(count, 3, -1).clone()
        inputs.scatter_add_(2, index.reshape(count, 1, -1).expand(-1, 3, -1), change.reshape(count, 3, -1))
        return inputs.view(count, 3, side, side)

    def clean(self, preprocessing: Preprocessing) -> torch.Tensor:
        """The unmarked input, (3, S, S) float32 on the device."""
        return self._views[preprocessing].clean
