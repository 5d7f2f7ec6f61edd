"""Anti-aliased shapes, smooth noise and the two ways light meets a layer: absorption and reflection."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]
Points = NDArray[np.float64]

_FRACTION_BITS = 4
_LARGEST_OVERSAMPLED_SIDE = 512
_THINNEST_STROKE = 0.35


class Layer:
    """A coverage map that shapes are drawn on, oversampled where the image is small.

    Args:
        side: px, side of the square image the layer belongs to.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self._drawn_side = side * (2 if side <= _LARGEST_OVERSAMPLED_SIDE else 1)
        self._pixels = np.zeros((self._drawn_side, self._drawn_side), np.uint8)

    def polygon(self, outline: Points, strength: float = 1.0) -> None:
        """Fill a polygon.

        Args:
            outline: (n, 2) corners, fractions of the side.
            strength: coverage inside, 0–1.
        """
        corners = self._fixed_point(outline)
        cv2.fillPoly(self._pixels, [corners], round(255 * strength), cv2.LINE_AA, _FRACTION_BITS)

    def stroke(self, path: Points, width: float, strength: float = 1.0) -> None:
        """Draw an open curve of one width; a stroke thinner than a pixel is drawn fainter instead.

        Args:
            path: (n, 2) points, fractions of the side.
            width: fraction of the side.
            strength: coverage at full width, 0–1.
        """
        drawn_width = width * self._drawn_side
        value = round(255 * strength * min(1.0, max(_THINNEST_STROKE, drawn_width)))
        points = self._fixed_point(path)
        thickness = max(1, round(drawn_width))
        cv2.polylines(self._pixels, [points], False, value, thickness, cv2.LINE_AA, _FRACTION_BITS)

    def coverage(self, softness: float = 0.0) -> FloatImage:
        """Return what was drawn at the image's own resolution.

        Args:
            softness: standard deviation of the blurred edge, fraction of the side.

        Returns:
            (side, side) float32, 0–1.
        """
        reduced = cv2.resize(self._pixels, (self.side, self.side), interpolation=cv2.INTER_AREA)
        return blurred(reduced.astype(np.float32) / np.float32(255), softness)

    def _fixed_point(self, points: Points) -> NDArray[np.int32]:
        scaled = (points * self._drawn_side - 0.5) * (1 << _FRACTION_BITS)
        return np.rint(scaled).astype(np.int32).reshape(-1, 1, 2)


def blurred(image: FloatImage, softness: float) -> FloatImage:
    """Blur with a Gaussian whose standard deviation is `softness` times the side; 0 leaves the image as it is."""
    if softness <= 0:
        return image
    sigma = softness * image.shape[0]
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def smooth_noise(rng: np.random.Generator, side: int, cells: int) -> FloatImage:
    """Smooth noise of mean about 0 and standard deviation below 1.

    Args:
        rng: source of the noise; the draws do not depend on `side`.
        side: px.
        cells: number of independent values along a side; more cells give a finer grain.

    Returns:
        (side, side) float32.
    """
    grid = rng.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def distance(side: int, centre: tuple[float, float], stretch: float = 1.0) -> FloatImage:
    """Distance of every pixel centre from a point.

    Args:
        side: px.
        centre: (x, y), fractions of the side.
        stretch: how much longer the level lines are along y than along x.

    Returns:
        (side, side) float32, fractions of the side.
    """
    axis = (np.arange(side, dtype=np.float32) + 0.5) / np.float32(side)
    x, y = axis - np.float32(centre[0]), (axis - np.float32(centre[1])) / np.float32(stretch)
    return np.asarray(np.sqrt(y[:, None] ** 2 + x[None, :] ** 2), np.float32)


def absorb(image: FloatImage, coverage: FloatImage, transmission: Sequence[float]) -> None:
    """Darken an image in place under a layer.

    Args:
        image: (3, side, side) RGB planes.
        coverage: (side, side), 0–1.
        transmission: share of each channel that the layer lets through, 0–1.
    """
    for channel, share in enumerate(transmission):
        image[channel] *= np.float32(1) - np.float32(1 - share) * coverage


def cover(image: FloatImage, coverage: FloatImage, colour: Sequence[float]) -> None:
    """Lay an opaque colour over an image in place.

    Args:
        image: (3, side, side) RGB planes.
        coverage: (side, side), 0–1.
        colour: RGB, 0–1.
    """
    for channel, value in enumerate(colour):
        image[channel] += coverage * (np.float32(value) - image[channel])


def blob(rng: np.random.Generator, centre: Points, radius: float, roughness: float, stretch: float = 1.0) -> Points:
    """Outline of an irregular round spot.

    Args:
        rng: source of shape and orientation.
        centre: (2,) position, fraction of the side.
        radius: mean radius, fraction of the side.
        roughness: relative size of the dents, 0 for an ellipse.
        stretch: ratio of the long to the short axis.

    Returns:
        (20, 2) outline.
    """
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    phases = rng.uniform(0, 2 * np.pi, 3)
    waves = sum(np.cos(k * angles + phases[k - 2]) / k for k in (2, 3, 4))
    reach = radius * (1 + roughness * np.asarray(waves))
    shape = np.stack([reach * np.cos(angles) * np.sqrt(stretch), reach * np.sin(angles) / np.sqrt(stretch)], axis=1)
    return centre + rotated(shape, rng.uniform(0, np.pi))


def rotated(points: Points, angle: float) -> Points:
    """Rotate (n, 2) points about the origin by `angle` radians, from x towards y."""
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[c, s], [-s, c]]), np.float64)
