"""Symbol detection: which of an image's placements a leaked copy shows, and in what shares.

A leaked image is modelled as gain · original + offset + Σ w_k · effect_k, with effect_k what the k-th placement does to
the original; w ≥ 0 by least squares. A copy has one share near 1; the mean of c copies has shares of 1/c each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from medlocker.blending import Mark, Pixels, Placement
from medlocker.errors import SettingsError
from medlocker.tracing.frames import Frame, overlay
from medlocker.tracing.registration import Registration

SHARE_FLOOR = 0.1
"""Smaller shares are taken for noise: JPEG at quality 50 leaves up to about 0.05."""


@dataclass(frozen=True)
class Reading:
    """What a leaked image shows.

    Attributes:
        shares: per candidate, at least 0; those under `SHARE_FLOOR` are set to 0.
        log_likelihoods: per candidate, nats relative to the best, of "this one alone" under Gaussian noise of the
            residual's own variance, counting 8 × 8 px blocks as independent.
        registration: where the leak lies in the original.
    """

    shares: tuple[float, ...]
    log_likelihoods: tuple[float, ...]
    registration: Registration

    @property
    def symbol(self) -> int | None:
        """The most likely candidate; None when no mark could be read."""
        return int(np.argmax(self.shares)) if any(self.shares) else None


def read_symbols(
    leaked: Pixels,
    original: Pixels,
    mark: Mark,
    candidates: Sequence[Placement],
    registration: Registration | None = None,
) -> Reading:
    """Tell which candidates a leaked image shows.

    Args:
        leaked: as found; scaled, cropped, compressed or grey.
        original: the unmarked image.
        mark: of the original's geometry.
        candidates: the image's alphabet, at least one.
        registration: found when None.

    Returns:
        Shares and log-likelihoods, in the candidates' order.

    Raises:
        SettingsError: no candidates, or one leaves the image.
    """
    if not candidates:
        raise SettingsError("no candidate placements to read from")
    frame = overlay(leaked, original, registration)
    gram, products, energy, pixels = _normal_equations(frame, [frame.effect(mark, c) for c in candidates])
    weights = _non_negative(gram, products)
    kept = np.where(weights < SHARE_FLOOR, 0.0, weights)
    alone = energy - 2 * products + np.diag(gram)
    noise = max(float(energy - 2 * weights @ products + weights @ gram @ weights) / pixels, 1e-8)
    relative = (float(alone.min()) - alone) / (2 * noise * 64)
    return Reading(tuple(kept.tolist()), tuple(relative.tolist()), frame.registration)


def _normal_equations(
    frame: Frame, effects: Sequence[npt.NDArray[np.float32]]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float, int]:
    """Gram matrix of the effects, their products with the difference, its energy and the number of values; gain and
    offset of brightness are projected out of all."""
    count, inside = len(effects), np.broadcast_to(frame.inside[..., None], frame.leaked.shape)
    rows = (*effects, frame.difference, frame.reference * inside, inside.astype(np.float32))
    stacked = np.stack([row.ravel() for row in rows])
    inner = (stacked @ stacked.T).astype(np.float64)
    shading = inner[count + 1 :]
    full = inner - shading.T @ np.linalg.lstsq(shading[:, count + 1 :], shading, rcond=None)[0]
    return full[:count, :count], full[:count, count], float(full[count, count]), int(inside.sum())


def _non_negative(gram: npt.NDArray[np.float64], products: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Least squares with w ≥ 0 from normal equations; a candidate that the leak cannot show gets 0."""
    ridge = 1e-6 * max(float(np.trace(gram)) / len(gram), 1e-12)
    factor = np.linalg.cholesky(gram + ridge * np.eye(len(gram)))
    weights: npt.NDArray[np.float64] = nnls(factor.T, np.linalg.solve(factor, products))[0]
    return weights
