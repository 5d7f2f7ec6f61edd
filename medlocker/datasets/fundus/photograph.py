"""The photograph itself: retina, disc, macula, light and camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medlocker.datasets.fundus.canvas import (
    FloatImage,
    Layer,
    Points,
    absorb,
    blob,
    blurred,
    cover,
    distance,
    rotated,
    smooth_noise,
)
from medlocker.datasets.fundus.eye import Eye
from medlocker.datasets.fundus.lesions import LesionLayers
from medlocker.datasets.fundus.vessels import draw_vessels, grow_tree

# Colours of real retinas (RGB, 0–1): orange, red, brown, olive, pink. A photograph mixes them.
_RETINA_COLOURS = np.array(
    [[0.86, 0.44, 0.10], [0.74, 0.24, 0.07], [0.52, 0.29, 0.12], [0.62, 0.47, 0.14], [0.80, 0.42, 0.30]], np.float32
)
_EXUDATE = (0.99, 0.85, 0.26)
_SOFT_EXUDATE = (0.93, 0.86, 0.68)
_DISC = (0.98, 0.68, 0.30)
_CUP = (1.0, 0.90, 0.60)
_HAZE = (0.62, 0.60, 0.30)
_VEIN = (0.74, 0.43, 0.58)
_ARTERY = (0.88, 0.58, 0.64)
_BLOOD = (0.60, 0.34, 0.45)


@dataclass(frozen=True)
class Camera:
    """What the light and the camera do to one photograph.

    Attributes:
        exposure: brightness factor.
        vignetting: share of the light lost at the rim.
        haze: strength of the greenish glow at the rim.
        softness: blur, fraction of the side.
        noise: standard deviation of the sensor's noise, 0–1.
        notch: whether the mask of the camera shows its orientation tab.
    """

    exposure: float
    vignetting: float
    haze: float
    softness: float
    noise: float
    notch: bool


def sample_camera(rng: np.random.Generator) -> Camera:
    """Draw a camera and its light."""
    return Camera(
        exposure=rng.uniform(0.8, 1.1),
        vignetting=rng.uniform(0.1, 0.5),
        haze=rng.uniform(0.1, 0.7) * (rng.random() < 0.45),
        softness=rng.uniform(0.0008, 0.0028),
        noise=rng.uniform(0.006, 0.018),
        notch=bool(rng.random() < 0.5),
    )


def paint_retina(rng: np.random.Generator, eye: Eye, side: int) -> FloatImage:
    """Paint a healthy retina with disc, macula and vessels, evenly lit.

    Returns:
        (3, side, side) float32 RGB planes, about 0–1.
    """
    colour = rng.dirichlet(np.full(len(_RETINA_COLOURS), 0.6)).astype(np.float32) @ _RETINA_COLOURS
    image = np.repeat(colour, side * side).reshape(3, side, side)
    _mottle(rng, image)
    _paint_macula(rng, eye, image)
    _paint_drusen(rng, eye, image)
    _paint_disc(rng, eye, image)
    _paint_vessels(rng, eye, image)
    return image


def paint_lesions(image: FloatImage, lesions: LesionLayers) -> None:
    """Paint lesions over a retina, in place: exudates reflect, blood absorbs."""
    cover(image, 0.85 * lesions.by_type["SE"].coverage(0.008), _SOFT_EXUDATE)
    cover(image, 0.9 * lesions.by_type["EX"].coverage(0.0012), _EXUDATE)
    absorb(image, lesions.by_type["HE"].coverage(0.003), _BLOOD)
    absorb(image, lesions.by_type["MA"].coverage(0.001), _BLOOD)
    absorb(image, lesions.new_vessels.coverage(0.0008), _BLOOD)


def take_photograph(rng: np.random.Generator, eye: Eye, camera: Camera, retina: FloatImage) -> NDArray[np.uint8]:
    """Light a painted retina and photograph it.

    Returns:
        (side, side, 3) uint8 RGB, near black outside the field of view.
    """
    side = retina.shape[1]
    reach = distance(side, (eye.centre[0], eye.centre[1])) / np.float32(eye.radius)
    light = camera.exposure * (1 + 0.1 * smooth_noise(rng, side, 4)) * (1 - camera.vignetting * reach**3)
    image = retina * light.astype(np.float32)
    cover(image, np.clip(camera.haze * (reach - 0.55) / 0.45, 0, 1).astype(np.float32) ** 2, _HAZE)
    image = blurred(np.stack(list(image * _aperture(eye, camera, side)), axis=-1), camera.softness)
    grain = np.float32(camera.noise) * rng.standard_normal(image.shape, np.float32)
    image += grain * (np.float32(0.15) + np.sqrt(np.abs(image)))
    return np.asarray(np.clip(np.rint(image * 255), 0, 255), np.uint8)


def disc_outline(eye: Eye) -> Points:
    """Outline of the optic disc, (64, 2)."""
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    axes = eye.disc_radius * np.array([1.0, eye.disc_stretch])
    return np.asarray(eye.disc + axes * np.stack([np.cos(angles), np.sin(angles)], axis=1))


def _mottle(rng: np.random.Generator, image: FloatImage) -> None:
    """Vary brightness and hue from patch to patch, and add the grain of the choroid."""
    side = image.shape[1]
    image *= (1 + 0.04 * smooth_noise(rng, side, 10) + 0.018 * smooth_noise(rng, side, 90)).astype(np.float32)
    tilt = np.array([0.02, -0.05, -0.07], np.float32)
    image *= 1 + smooth_noise(rng, side, 5) * tilt[:, None, None]


def _paint_macula(rng: np.random.Generator, eye: Eye, image: FloatImage) -> None:
    reach = distance(image.shape[1], (eye.fovea[0], eye.fovea[1]))
    wide, narrow = rng.uniform(0.08, 0.12), rng.uniform(0.025, 0.04)
    shade = rng.uniform(0.25, 0.5) * np.exp(-((reach / wide) ** 2)) + 0.3 * np.exp(-((reach / narrow) ** 2))
    absorb(image, shade, (0.55, 0.4, 0.5))


def _paint_drusen(rng: np.random.Generator, eye: Eye, image: FloatImage) -> None:
    """Now and then, faint pale dots that are no lesion of the scale: being spotted alone does not make a grade."""
    layer = Layer(image.shape[1])
    for _ in range(int(rng.integers(3, 15)) if rng.random() < 0.25 else 0):
        layer.polygon(blob(rng, eye.fovea + rng.normal(0, 0.12, 2), rng.uniform(0.003, 0.006), 0.2), 0.3)
    cover(image, layer.coverage(0.002), _EXUDATE)


def _paint_disc(rng: np.random.Generator, eye: Eye, image: FloatImage) -> None:
    side = image.shape[1]
    reach = distance(side, (eye.disc[0], eye.disc[1]), eye.disc_stretch) / np.float32(eye.disc_radius)
    halo = rng.uniform(0.0, 0.15)
    image *= 1 + halo * np.exp(-((reach / 2.0) ** 2))
    edge = np.float32(rng.uniform(0.025, 0.07))
    cover(image, rng.uniform(0.85, 1.0) * _inside((reach - 1) / edge), _DISC)
    shift = rng.uniform(0.05, 0.25) * eye.disc_radius
    cup_reach = distance(side, (eye.disc[0] + shift, eye.disc[1])) / np.float32(eye.disc_radius)
    cover(image, rng.uniform(0.5, 0.9) * _inside((cup_reach - np.float32(rng.uniform(0.3, 0.6))) * 10), _CUP)


def _inside(steps: FloatImage) -> FloatImage:
    """Soft edge: 1 well inside (negative), 0 well outside (positive)."""
    return np.asarray(0.5 - 0.5 * np.tanh(steps / 2), np.float32)


def _paint_vessels(rng: np.random.Generator, eye: Eye, image: FloatImage) -> None:
    vessels = grow_tree(rng, eye)
    contrast = np.float32(rng.uniform(0.65, 1.0))
    for kind, transmission in (("vein", _VEIN), ("artery", _ARTERY)):
        layer = Layer(image.shape[1])
        draw_vessels(layer, [vessel for vessel in vessels if vessel.kind == kind])
        absorb(image, contrast * layer.coverage(0.0008), transmission)
    reflex = Layer(image.shape[1])
    draw_vessels(reflex, [vessel for vessel in vessels if vessel.kind == "artery" and vessel.depth == 0], 0.3)
    cover(image, 0.22 * contrast * reflex.coverage(0.0005), (0.95, 0.6, 0.4))


def _aperture(eye: Eye, camera: Camera, side: int) -> FloatImage:
    layer = Layer(side)
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    layer.polygon(eye.centre + eye.radius * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    if camera.notch:
        tab = np.array([[0.0, -0.02], [1.03, -0.02], [1.03, 0.02], [0.0, 0.02]]) * [eye.radius, 1.0]
        layer.polygon(eye.centre + rotated(tab, -np.pi / 4))
    return layer.coverage()
