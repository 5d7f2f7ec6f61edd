"""How visible a mark is: what it covers, and how much of the image's structure it leaves.

The mark changes nothing outside its footprint, so the structural similarity is computed around the footprint only; it
is exactly 1 elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from skimage.metrics import structural_similarity

from medlocker.blending import Mark, Pixels, Placement, colour_channels, footprint
from medlocker.regions import Box, Mask, union_mask

SSIM_SIGMA = 1.5
"""px, standard deviation of the Gaussian window (Wang et al. 2004)."""
SSIM_REACH = 5
"""px from the window's middle to its edge; its side is 11 px (Wang et al. 2004)."""
FEWEST_FOR_ALPHA = 10
"""Fewer images than this, and statistics of α would come close to telling one image's α, which belongs to the key."""


@dataclass(frozen=True)
class Visibility:
    """What one image's mark costs to the eye. NaN where there is nothing to measure on.

    Attributes:
        id: the record's id.
        ssim: structural similarity of the marked image to the original, mean over the image.
        ssim_mark: the same over the pixels under the mark.
        ssim_lesions: the same over lesion pixels.
        mark_area: share of the image's pixels under the mark, i.e. where its opacity is above 0.
        lesion_covered: share of the lesion pixels under the mark.
        lesion_boxes_covered: share of the pixels of the lesion boxes (Eq. 7) under the mark.
        alpha: α of the mark, 0–255; secret, only its statistics over many images are ever shown.
    """

    id: str
    ssim: float
    ssim_mark: float
    ssim_lesions: float
    mark_area: float
    lesion_covered: float
    lesion_boxes_covered: float
    alpha: int


def visibility(
    image_id: str,
    original: Pixels,
    marked: Pixels,
    mark: Mark,
    placement: Placement,
    lesions: Sequence[Mask] = (),
    boxes: Sequence[Box] = (),
) -> Visibility:
    """Measure one mark.

    Args:
        image_id: the record's id.
        original: (H, W), (H, W, 3) or (H, W, 4) stored pixels.
        marked: the same after marking.
        mark: the mark as it was scaled for this image.
        placement: where and how strongly it was blended.
        lesions: (H, W) bool masks, in the image's frame.
        boxes: of the lesions.

    Returns:
        The figures.
    """
    similar = ssim_map(original, marked, footprint(mark, placement, original.shape))
    under = covered(original.shape, mark, placement)
    lesion, boxed = union_mask(lesions), _inside(boxes, under.shape)
    return Visibility(
        image_id,
        _mean(similar),
        _mean(similar[under]),
        _mean(similar[lesion]) if lesion is not None else float("nan"),
        _mean(under),
        _mean(under[lesion]) if lesion is not None else float("nan"),
        _mean(under[boxed]),
        placement.alpha,
    )


def ssim_map(original: Pixels, marked: Pixels, changed: tuple[slice, slice]) -> npt.NDArray[np.float64]:
    """Structural similarity pixel by pixel, mean over the colour channels.

    Source: Wang, Bovik, Sheikh, Simoncelli 2004, with the authors' Gaussian window; the image is mirrored at its edges.

    Args:
        original: (H, W), (H, W, 3) or (H, W, 4) stored pixels.
        marked: the same after marking; equal to `original` outside `changed`.
        changed: rows and columns of the footprint.

    Returns:
        (H, W) float64 in −1 … 1; exactly 1 further than 5 px from the footprint. All NaN for an image with a side under
        11 px, on which the window does not fit.
    """
    height, width = original.shape[:2]
    if min(height, width) <= 2 * SSIM_REACH:
        return np.full((height, width), np.nan)
    # Pixels within one reach of the footprint change; their own windows need another reach of context.
    window = tuple(_grown(part, side) for part, side in zip(changed, (height, width), strict=True))
    first, second = (colour_channels(pixels[window]) for pixels in (original, marked))
    _, local = structural_similarity(
        first,
        second,
        data_range=float(np.iinfo(original.dtype).max),
        channel_axis=2,
        gaussian_weights=True,
        sigma=SSIM_SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    similar = np.ones((height, width))
    similar[window] = local.mean(axis=2)
    return similar


def _grown(part: slice, length: int) -> slice:
    start, stop = part.start - 2 * SSIM_REACH, part.stop + 2 * SSIM_REACH
    # At least one whole window, also for a mark of a few pixels in a corner.
    start = max(0, min(start, length - 2 * SSIM_REACH - 1))
    return slice(start, min(length, max(stop, start + 2 * SSIM_REACH + 1)))


def covered(shape: tuple[int, ...], mark: Mark, placement: Placement) -> Mask:
    """(H, W) bool: where the mark's opacity is above 0."""
    under = np.zeros(shape[:2], dtype=bool)
    under[footprint(mark, placement, shape)] = mark.opacity(placement.alpha) > 0
    return under


def _inside(boxes: Iterable[Box], shape: tuple[int, ...]) -> Mask:
    inside = np.zeros(shape, dtype=bool)
    for box in boxes:
        inside[box.y : box.y + box.height, box.x : box.x + box.width] = True
    return inside


def _mean(values: npt.NDArray[np.float64] | Mask) -> float:
    return float(values.mean()) if values.size else float("nan")


def visibility_metrics(images: Sequence[Visibility]) -> dict[str, float]:
    """Means over images as flat metrics, each with `/lo`, `/hi` (95 % t interval) and `/n`.

    Args:
        images: one entry a released image.

    Returns:
        `visible/ssim_mean`, `/ssim_mark`, `/ssim_lesions`, `/mark_area`, `/lesion_covered`, `/lesion_boxes_covered`;
        what no image allows to measure is left out. Statistics of α only for `FEWEST_FOR_ALPHA` images or more.
    """
    columns = {
        "ssim_mean": [i.ssim for i in images],
        "ssim_mark": [i.ssim_mark for i in images],
        "ssim_lesions": [i.ssim_lesions for i in images],
        "mark_area": [i.mark_area for i in images],
        "lesion_covered": [i.lesion_covered for i in images],
        "lesion_boxes_covered": [i.lesion_boxes_covered for i in images],
    }
    metrics: dict[str, float] = {}
    for name, column in columns.items():
        metrics |= _with_interval(f"visible/{name}", [v for v in column if not np.isnan(v)])
    worst = [i.lesion_covered for i in images if not np.isnan(i.lesion_covered)]
    metrics |= {"visible/lesion_covered_max": max(worst)} if worst else {}
    return metrics | _alpha_statistics([i.alpha for i in images])


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % t interval of a mean; NaN for fewer than two values."""
    if len(values) < 2:
        return float("nan"), float("nan")
    reach = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return float(np.mean(values)) - reach, float(np.mean(values)) + reach


def _with_interval(name: str, values: Sequence[float]) -> dict[str, float]:
    """A mean of shares or similarities, with an interval that stays within what they can be."""
    if not values:
        return {}
    found: dict[str, float] = {name: float(np.mean(values)), f"{name}/n": len(values)}
    low, high = mean_interval(values)
    if not np.isnan(low):
        found |= {f"{name}/lo": max(0.0, low), f"{name}/hi": min(1.0, high)}
    return found


def _alpha_statistics(alphas: Sequence[int]) -> dict[str, float]:
    if len(alphas) < FEWEST_FOR_ALPHA:
        return {}
    low, middle, high = (float(v) for v in np.quantile(alphas, (0.1, 0.5, 0.9)))
    return {
        "visible/alpha_mean": float(np.mean(alphas)),
        "visible/alpha_sd": float(np.std(alphas, ddof=1)),
        "visible/alpha_p10": low,
        "visible/alpha_median": middle,
        "visible/alpha_p90": high,
    }
