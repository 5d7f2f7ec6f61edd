"""Small charts as inline SVG. Colours and type come from the page's style sheet, so they follow light and dark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from medlocker.metrics import Proportion

HISTOGRAM_BINS = 20
HEAT_CELLS = 24
FEWEST_FOR_HEAT_MAP = 10
"""A map of fewer footprints would show single positions, which belong to the key."""

_LEFT, _WIDTH = 38, 350  # px, plot's left edge and right edge in the viewBox of the larger charts
_SPAN = _WIDTH - _LEFT - 18


def svg(width: float, height: float, title: str, parts: Sequence[Markup]) -> Markup:
    """A drawing with an accessible name.

    Args:
        width: units of the viewBox.
        height: units of the viewBox.
        title: what a person who cannot see it should know.
        parts: its elements.
    """
    opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" preserveAspectRatio="xMidYMid meet">')
    return opening.format(_n(width), _n(height), title) + Markup("").join(parts) + Markup("</svg>")


def interval_bar(proportion: Proportion) -> Markup:
    """A rate as a bar on 0 to 100 % with its interval; hidden from screen readers, which get the numbers."""
    low, high = proportion.interval
    parts = [
        rect("track", 0, 5, 200, 10),
        rect("bar", 0, 5, 200 * proportion.rate, 10),
        line("whisker", 200 * low, 10, 200 * high, 10),
        line("whisker", 200 * low, 6, 200 * low, 14),
        line("whisker", 200 * high, 6, 200 * high, 14),
    ]
    opening = Markup('<svg class="interval" viewBox="-1 0 202 20" aria-hidden="true">')
    return opening + Markup("").join(parts) + Markup("</svg>")


def confidence_histograms(clean: Sequence[float], final: Sequence[float]) -> Markup:
    """Two histograms over the same axis: before marking above, after marking below.

    Args:
        clean: per image, in 0–1.
        final: per image, in 0–1.
    """
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    counts = [np.histogram(values, edges)[0] for values in (clean, final)]
    tallest = max(1, int(max(count.max() for count in counts)))
    parts: list[Markup] = []
    for index, (name, count) in enumerate(zip(("before marking", "after marking"), counts, strict=True)):
        parts += _histogram(count, tallest, base=100.0 + 110 * index, name=name, style=("before", "after")[index])
    parts += _axis(210, [0, 0.25, 0.5, 0.75, 1], "confidence in the class to leave")
    title = f"Histograms of confidence: median {np.median(clean):.0%} before and {np.median(final):.0%} after marking"
    return svg(_WIDTH, 248, title, parts)


def _histogram(counts: npt.NDArray[np.int64], tallest: int, *, base: float, name: str, style: str) -> list[Markup]:
    step = _SPAN / len(counts)
    bars = [
        rect(style, _LEFT + i * step + 0.75, base - 78 * count / tallest, step - 1.5, 78 * count / tallest)
        for i, count in enumerate(counts)
    ]
    scale = [text("tick end", _LEFT - 6, base - 74, tallest), text("tick end", _LEFT - 6, base, 0)]
    return [*bars, *scale, line("axis", _LEFT, base, _LEFT + _SPAN, base), text("name", _LEFT, base - 86, name)]


def heat_map(footprints: Sequence[tuple[float, float, float, float]]) -> Markup:
    """How often each part of the image is covered, summed over all images.

    Args:
        footprints: (x/W, y/H, w/W, h/H) per image, in 0–1.
    """
    shares = coverage(footprints)
    highest = float(shares.max())
    side = 240 / HEAT_CELLS
    cells = [
        rect("heat", x * side, y * side, side + 0.3, side + 0.3, opacity=share / highest)
        for (y, x), share in np.ndenumerate(shares)
        if share > 0
    ]
    legend = [rect("heat", 130 + 11 * i, 248, 11, 10, opacity=(i + 1) / 10) for i in range(10)]
    labels = [text("tick end", 124, 257, "never covered"), text("tick", 246, 257, f"{highest:.0%}")]
    title = f"Map of where logos landed; the part covered most often is covered on {highest:.0%} of the images"
    return svg(_WIDTH, 264, title, [rect("frame", 0, 0, 240, 240), *cells, *legend, *labels])


def coverage(footprints: Sequence[tuple[float, float, float, float]]) -> npt.NDArray[np.float64]:
    """Mean covered share of each cell of a coarse grid over the image.

    Args:
        footprints: (x/W, y/H, w/W, h/H) per image, in 0–1.

    Returns:
        (24, 24) float64 in 0–1, rows from the top.
    """
    boxes = np.asarray(footprints, dtype=np.float64)
    across = _overlaps(boxes[:, 0], boxes[:, 0] + boxes[:, 2])
    down = _overlaps(boxes[:, 1], boxes[:, 1] + boxes[:, 3])
    return np.asarray(np.einsum("ny,nx->yx", down, across) / len(boxes))


def _overlaps(start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    edges = np.linspace(0, 1, HEAT_CELLS + 1)
    shared = np.minimum(end[:, None], edges[1:]) - np.maximum(start[:, None], edges[:-1])
    return np.asarray(np.maximum(shared, 0) * HEAT_CELLS)


def search_curve(values: Sequence[float]) -> Markup:
    """Mean confidence after each generation, generation 0 being the random start.

    Args:
        values: in 0–1, one a generation.
    """
    last = max(1, len(values) - 1)
    points = [(_LEFT + _SPAN * i / last, 200 - 184 * value) for i, value in enumerate(values)]
    grid = [line("grid", _LEFT, 200 - 184 * level, _LEFT + _SPAN, 200 - 184 * level) for level in (0.25, 0.5, 0.75, 1)]
    levels = [text("tick end", _LEFT - 6, 204 - 184 * level, f"{level:.0%}") for level in (0, 0.25, 0.5, 0.75, 1)]
    path = Markup('<polyline class="curve" points="{}"/>').format(" ".join(f"{_n(x)},{_n(y)}" for x, y in points))
    dots = [Markup('<circle class="dot" cx="{}" cy="{}" r="4"/>').format(_n(x), _n(y)) for x, y in points]
    ticks = sorted({round(last * share) for share in (0, 0.25, 0.5, 0.75, 1)})
    marks = [text("tick middle", _LEFT + _SPAN * tick / last, 216, tick) for tick in ticks]
    value = text("value end", points[-1][0], points[-1][1] - 10, f"{values[-1]:.1%}")
    title = f"Mean confidence by generation, from {values[0]:.1%} to {values[-1]:.1%}"
    base = line("axis", _LEFT, 200, _LEFT + _SPAN, 200)
    name = text("tick middle", _LEFT + _SPAN / 2, 236, "generation")
    return svg(_WIDTH, 248, title, [*grid, *levels, *marks, base, path, *dots, value, name])


def _axis(base: float, values: Sequence[float], name: str) -> list[Markup]:
    ticks = [text("tick middle", _LEFT + _SPAN * value, base + 15, f"{value:.0%}") for value in values]
    return [*ticks, text("tick middle", _LEFT + _SPAN / 2, base + 33, name)]


def rect(style: str, x: float, y: float, width: float, height: float, *, opacity: float = 1.0) -> Markup:
    """A filled rectangle of a style class."""
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" opacity="{}"/>').format(
        style, _n(x), _n(y), _n(width), _n(height), _n(opacity)
    )


def line(style: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A straight line of a style class."""
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(style, _n(x1), _n(y1), _n(x2), _n(y2))


def text(style: str, x: float, y: float, content: object) -> Markup:
    """A line of text of a style class; the content is escaped."""
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(style, _n(x), _n(y), content)


def _n(value: float) -> str:
    return f"{float(value):.2f}".rstrip("0").rstrip(".")
