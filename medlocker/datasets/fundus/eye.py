"""Where things lie in one eye: field of view, optic disc, fovea."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medlocker.datasets.fundus.canvas import Points


@dataclass(frozen=True)
class Eye:
    """Geometry of one photograph, disc to the left (the photograph is mirrored afterwards for the other eye).

    Attributes:
        centre: (2,) centre of the field of view, fractions of the side like all that follows.
        radius: radius of the field of view; above 0.5 the circle is cropped by the frame.
        disc: (2,) centre of the optic disc.
        disc_radius: its horizontal radius.
        disc_stretch: its height over its width.
        fovea: (2,) centre of the macula.
    """

    centre: Points
    radius: float
    disc: Points
    disc_radius: float
    disc_stretch: float
    fovea: Points

    def sees(self, points: Points, margin: float = 0.0) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Say which of (n, 2) points lie in the frame and the field of view, `margin` away from both edges."""
        off_centre = points - self.centre
        in_circle = np.hypot(off_centre[..., 0], off_centre[..., 1]) < self.radius - margin
        in_frame = (np.abs(points - 0.5) < 0.5 - margin).all(axis=-1)
        return np.asarray(in_frame & in_circle)


def sample_eye(rng: np.random.Generator) -> Eye:
    """Draw an eye; the disc lies about two and a half disc diameters from the fovea, slightly above it."""
    centre = 0.5 + rng.uniform(-0.008, 0.008, 2)
    disc_radius = rng.uniform(0.058, 0.074)
    fovea = centre + np.array([rng.uniform(0.0, 0.10), rng.uniform(-0.02, 0.05)])
    offset = np.array([rng.uniform(0.29, 0.335), rng.uniform(0.0, 0.05)])
    return Eye(
        centre=centre,
        radius=rng.uniform(0.475, 0.545),
        disc=fovea - offset,
        disc_radius=disc_radius,
        disc_stretch=rng.uniform(1.02, 1.2),
        fovea=fovea,
    )
