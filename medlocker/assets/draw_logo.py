"""Draw `logo.png`, the default mark: a padlock with a medical cross above the project's name.

It is drawn four times too large and reduced, so that edges are smooth; run `python -m medlocker.assets.draw_logo`
to make the file again. Its shapes are few and bold because the mark is usually scaled to about 56 px.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

LOGO_SIDE = 512
OVERSAMPLING = 4
NAVY = (10, 34, 96, 255)
WHITE = (255, 255, 255, 255)
CYAN = (0, 176, 208, 255)
CLEAR = (0, 0, 0, 0)


def _scaled(*values: float) -> list[float]:
    return [value * OVERSAMPLING for value in values]


def _draw_shackle(draw: ImageDraw.ImageDraw) -> None:
    for inset, colour in ((0, WHITE), (14, NAVY), (54, WHITE), (68, CLEAR)):
        box = _scaled(116 + inset, 4 + inset, 396 - inset, 330)
        draw.rounded_rectangle(box, radius=(140 - inset) * OVERSAMPLING, fill=colour)


def _draw_body(draw: ImageDraw.ImageDraw) -> None:
    for inset, colour in ((0, WHITE), (14, NAVY)):
        box = _scaled(4 + inset, 150 + inset, 508 - inset, 508 - inset)
        draw.rounded_rectangle(box, radius=(56 - inset / 2) * OVERSAMPLING, fill=colour)
    draw.rectangle(_scaled(18, 392, 494, 404), fill=CYAN)


def _draw_cross(draw: ImageDraw.ImageDraw) -> None:
    draw.rounded_rectangle(_scaled(222, 180, 290, 376), radius=10 * OVERSAMPLING, fill=WHITE)
    draw.rounded_rectangle(_scaled(158, 244, 354, 312), radius=10 * OVERSAMPLING, fill=WHITE)


def _draw_name(draw: ImageDraw.ImageDraw) -> None:
    font = ImageFont.load_default(size=69 * OVERSAMPLING)
    centre = (LOGO_SIDE / 2 * OVERSAMPLING, 448 * OVERSAMPLING)
    draw.text(centre, "MEDLOCKER", font=font, fill=WHITE, anchor="mm", stroke_width=4 * OVERSAMPLING, stroke_fill=WHITE)


def draw_logo() -> Image.Image:
    """Draw the default logo.

    Returns:
        A (512, 512) RGBA image, fully transparent outside the padlock.
    """
    canvas = Image.new("RGBA", (LOGO_SIDE * OVERSAMPLING, LOGO_SIDE * OVERSAMPLING), CLEAR)
    draw = ImageDraw.Draw(canvas)
    for part in (_draw_shackle, _draw_body, _draw_cross, _draw_name):
        part(draw)
    return canvas.resize((LOGO_SIDE, LOGO_SIDE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw_logo().save(Path(__file__).with_name("logo.png"), optimize=True)
