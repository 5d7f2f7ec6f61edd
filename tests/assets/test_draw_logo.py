"""The default logo: the file is what its script draws, and it marks most of its square."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from PIL import Image

from medlocker.assets.draw_logo import LOGO_SIDE, draw_logo


def shipped_logo() -> Image.Image:
    with files("medlocker.assets").joinpath("logo.png").open("rb") as stream:
        return Image.open(stream).copy()


def test_the_file_is_what_the_script_draws() -> None:
    shipped, drawn = shipped_logo(), draw_logo()
    assert (shipped.mode, shipped.size) == (drawn.mode, drawn.size) == ("RGBA", (LOGO_SIDE, LOGO_SIDE))
    # Not equal to the byte: the font renderer differs between Pillow builds.
    assert np.abs(np.asarray(shipped, np.int16) - np.asarray(drawn, np.int16)).mean() < 2


def test_it_is_opaque_on_most_of_its_square_and_clear_outside() -> None:
    alpha = np.asarray(shipped_logo())[..., 3]
    assert (alpha == 255).mean() >= 0.6
    assert alpha[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [0, 0, 0, 0]


def test_it_keeps_its_contrast_at_56_px() -> None:
    small = np.asarray(shipped_logo().resize((56, 56), Image.Resampling.LANCZOS), np.float64)
    luma = small[..., :3].mean(axis=2)[small[..., 3] > 200]
    assert np.percentile(luma, 90) - np.percentile(luma, 10) > 120
