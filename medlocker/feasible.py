"""A set of positions known exactly, whatever its shape: nothing here draws and rejects.

Positions are the top-left corners of a mark's footprint. Allowed and forbidden corners are unions of rectangles, so the
feasible corners are one too. It is kept as disjoint rectangles in bands of equal rows (the form X11 uses for window
regions): counting, uniform sampling and the nearest feasible corner are then exact, and neither memory nor time depends
on the image's resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
"""(n, 2) int64, columns x and y in px: top-left corners of the footprint."""


Span = tuple[int, int, int, int]
"""Corners from (left, top) to (right, bottom), half-open; may leave the image."""


@dataclass(frozen=True, eq=False)
class FeasibleSet:
    """The positions a mark may take on one image.

    Attributes:
        bounds: (max_x, max_y) = (W − M', H − N') px, the last corner inside the image, inclusive.
        rectangles: (R, 4) int64, columns left, top, right, bottom: half-open, disjoint, sorted by (top, left), R ≥ 1.
            The form is canonical: equal sets have equal rectangles, so one seed draws the same positions from both.
    """

    bounds: tuple[int, int]
    rectangles: npt.NDArray[np.int64]

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        """(R,) number of positions up to and with each rectangle."""
        low, high = self.rectangles[:, :2], self.rectangles[:, 2:]
        ends: npt.NDArray[np.int64] = np.cumsum((high - low).prod(axis=1))
        return ends

    @property
    def count(self) -> int:
        """Exact number of feasible positions, at least 1."""
        return int(self._ends[-1])

    def sample(self, rng: np.random.Generator, n: int) -> Positions:
        """Draw positions uniformly, with replacement.

        Args:
            rng: source of randomness; one integer is drawn from it a position.
            n: how many.

        Returns:
            (n, 2) int64.
        """
        index = rng.integers(0, self.count, size=n)
        chosen = np.searchsorted(self._ends, index, side="right")
        left, top, right, bottom = self.rectangles[chosen].T
        width = right - left
        within = index - self._ends[chosen] + width * (bottom - top)
        return np.stack([left + within % width, top + within // width], axis=1)

    def contains(self, positions: Positions) -> npt.NDArray[np.bool_]:
        """Which positions are feasible.

        Args:
            positions: (n, 2) int64, inside the image or not.

        Returns:
            (n,) bool.
        """
        x, y = positions[:, :1], positions[:, 1:]
        left, top, right, bottom = self.rectangles.T
        inside: npt.NDArray[np.bool_] = (left <= x) & (x < right) & (top <= y) & (y < bottom)
        return np.asarray(inside.any(axis=1))

    def nearest(self, positions: Positions) -> Positions:
        """The feasible position nearest to each.

        Args:
            positions: (n, 2) int64.

        Returns:
            (n, 2) int64: the smallest Euclidean distance; of equal ones the topmost, of those the leftmost.
        """
        closest = np.clip(positions[:, None, :], self.rectangles[:, :2], self.rectangles[:, 2:] - 1)
        distance = ((closest - positions[:, None, :]) ** 2).sum(axis=2)
        order = np.lexsort((closest[..., 0], closest[..., 1], distance), axis=1)
        return closest[np.arange(len(positions)), order[:, 0]]

    def reflect(self, positions: Positions) -> Positions:
        """Bring proposals into the feasible set.

        Source: READINGS 9. A coordinate outside 0 … max is mirrored at the edges, as often as it takes (−d becomes d,
        max + d becomes max − d); a mirrored position that is not feasible moves to the `nearest` one.

        Args:
            positions: (n, 2) int64, any values.

        Returns:
            (n, 2) int64, all feasible; feasible positions are unchanged.
        """
        edge = np.array(self.bounds, dtype=np.int64)
        folded = np.mod(positions, np.maximum(2 * edge, 1))
        return self.nearest(np.minimum(folded, 2 * edge - folded))


def banded_rectangles(
    bounds: tuple[int, int], allowed: Sequence[Span], blocked: Sequence[Span]
) -> npt.NDArray[np.int64]:
    """The corners that lie inside the bounds, in at least one allowed span and in no blocked one.

    Args:
        bounds: (max_x, max_y) px, inclusive; negative where the mark is larger than the image.
        allowed: may overlap and leave the image.
        blocked: likewise.

    Returns:
        (R, 4) int64 in the form of `FeasibleSet.rectangles`; R is 0 where no corner is left.
    """
    end = np.array([bounds[0] + 1, bounds[1] + 1])
    if (end < 1).any():
        return np.empty((0, 4), dtype=np.int64)
    spans = np.clip(np.array([*allowed, *blocked], dtype=np.int64), 0, np.tile(end, 2))
    xs = np.unique(np.append(spans[:, [0, 2]], [0, end[0]]))
    ys = np.unique(np.append(spans[:, [1, 3]], [0, end[1]]))
    cells = np.zeros((len(ys) - 1, len(xs) - 1), dtype=bool)
    columns, rows = np.searchsorted(xs, spans[:, [0, 2]]), np.searchsorted(ys, spans[:, [1, 3]])
    for index, ((left, right), (top, bottom)) in enumerate(zip(columns, rows, strict=True)):
        cells[top:bottom, left:right] = index < len(allowed)
    return _rectangles(cells, xs, ys)


def _rectangles(
    cells: npt.NDArray[np.bool_], xs: npt.NDArray[np.int64], ys: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Set cells of the grid with lines `xs`, `ys`: equal rows joined to a band, neighbours within it to a run."""
    starts = np.append(True, (cells[1:] != cells[:-1]).any(axis=1))
    tops, bands = ys[:-1][starts], cells[starts]
    bottoms = np.append(tops[1:], ys[-1])
    steps = np.diff(np.pad(bands.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    band, first = np.nonzero(steps == 1)
    last = np.nonzero(steps == -1)[1]
    return np.stack([xs[first], tops[band], xs[last], bottoms[band]], axis=1)
