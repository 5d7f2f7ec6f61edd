"""Which image of a release a leaked file is, when its name no longer says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medlocker.blending import Pixels
from medlocker.tracing.registration import Plane, Registration, luma, register, resized, unit_colours

THUMBNAIL_SIDE = 24
"""px; coarse enough that a crop of 5 % moves nothing by more than about a pixel."""

SHORTLIST = 8
"""Images whose originals are compared in full."""

LARGEST_ERROR = 0.014
"""Mean clipped difference above which a leaked image is none of the release's. On fundus photographs the right original
stays under 0.012 after every damage tried, and another's was at least 0.016."""

SURE_ERROR = 0.007
"""Under this nothing else is compared: no other image's original came near it."""

_INNER = 0.03
"""Each original is indexed whole and less this margin, so that a crop resembles one of the two."""


class Identified(NamedTuple):
    """A leaked file's image.

    Attributes:
        image_id: in the release.
        registration: where the leak lies in it; pass it on to `read_symbols`.
    """

    image_id: str
    registration: Registration


@dataclass(frozen=True, eq=False)
class ImageIndex:
    """Thumbnails of a release's originals.

    Attributes:
        ids: of the images.
        thumbnails: (n, 2, side²) float32, of the whole and of its inner part, each of mean 0 and length 1.
    """

    ids: tuple[str, ...]
    thumbnails: npt.NDArray[np.float32]

    def likely(self, leaked: Pixels, count: int = SHORTLIST) -> tuple[str, ...]:
        """The ids whose thumbnails correlate best with a leaked image's, best first."""
        correlation = (self.thumbnails @ _thumbnail(_plane(leaked))).max(axis=1)
        return tuple(self.ids[n] for n in np.argsort(-correlation, kind="stable")[:count])


def build_index(originals: Iterable[tuple[str, Pixels]]) -> ImageIndex:
    """Make an index.

    Args:
        originals: (image id, unmarked pixels); drawn one at a time.
    """
    ids, thumbnails = [], [np.empty((0, 2, THUMBNAIL_SIDE**2), dtype=np.float32)]
    for image_id, pixels in originals:
        plane = _plane(pixels)
        rows, columns = (round(side * _INNER) for side in plane.shape)
        inner = plane[rows : plane.shape[0] - rows, columns : plane.shape[1] - columns]
        ids.append(image_id)
        thumbnails.append(np.stack([_thumbnail(plane), _thumbnail(inner)])[None])
    return ImageIndex(tuple(ids), np.concatenate(thumbnails))


def identify(leaked: Pixels, index: ImageIndex, load: Callable[[str], Pixels]) -> Identified | None:
    """Find the image a leaked file was made from.

    Args:
        leaked: as found.
        index: of the release.
        load: image id → unmarked pixels.

    Returns:
        The image that fits best; None when none does.
    """
    best = None
    for image_id in index.likely(leaked):
        found = Identified(image_id, register(leaked, load(image_id)))
        if best is None or found.registration.error < best.registration.error:
            best = found
        if best.registration.error <= SURE_ERROR:
            break
    return best if best is not None and best.registration.error <= LARGEST_ERROR else None


def _plane(pixels: Pixels) -> Plane:
    return luma(unit_colours(pixels))


def _thumbnail(plane: Plane) -> npt.NDArray[np.float32]:
    small = resized(plane, (THUMBNAIL_SIDE, THUMBNAIL_SIDE)).ravel()
    centred = small - small.mean()
    thumbnail: npt.NDArray[np.float32] = centred / max(float(np.linalg.norm(centred)), 1e-6)
    return thumbnail
