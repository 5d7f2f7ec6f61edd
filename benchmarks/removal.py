"""How well a thief without a key removes marks, and what a network reads afterwards; prints one JSON object.

The thief has the logo and knows its scale, and sees the marked image alone. Each image is marked, for each band of α,
at the best of some random placements (the one that misleads the network most), and then
- `formula`: position and α are estimated from the logo's pattern (`locate_mark`), and Eq. 9 undoes the blend;
- `refined`: both are refined until what Eq. 9 leaves is smoothest (least total variation), and Eq. 9 undoes the blend;
- `known`: Eq. 9 with the true position and α, as a bound for both, and what a key without recovery packets would give;
- `inpainted`: what lies under the logo, where `locate_mark` finds it, is painted over (cv2.inpaint, Telea).
PSNR, SSIM and the share of exact pixels count under the mark alone; elsewhere nothing was changed.

Usage: python benchmarks/removal.py [FOLDER --labels CSV --split test] [--network NAME_OR_FILE] [--images N] [--draws N]
       [--seed N] [--threads N]
Without FOLDER images are synthetic.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from medlocker.blending import (
    Logo,
    Mark,
    Pixels,
    Placement,
    colour_channels,
    estimate_original,
    footprint,
    load_logo,
    lock,
    prepare_mark,
)
from medlocker.datasets import DatasetSpec, open_dataset
from medlocker.datasets.synthetic import draw_fundus
from medlocker.fitness import Ensemble
from medlocker.imageio import read_image
from medlocker.metrics import Proportion
from medlocker.placement import feasible_positions
from medlocker.querying import QueryEngine, SearchJob, image_generator
from medlocker.rendering import PreparedImage
from medlocker.search import SearchSpace
from medlocker.search.baselines import RandomPlacement
from medlocker.tracing import locate_mark
from medlocker.visibility import covered, mean_interval, ssim_map
from medlocker_zoo.resolve import resolve_source

BANDS = ((100, 150), (151, 200), (201, 255))
ATTACKS = ("formula", "refined", "known", "inpainted")
MARGIN = 3
"""px around the footprint in which a refined position is sought."""


class Sample(NamedTuple):
    """An image and its class."""

    id: str
    pixels: Pixels
    label: int


class Removal(NamedTuple):
    """One image after one attack, measured under the mark."""

    psnr: float
    ssim: float
    exact: float
    read: int


def samples(options: argparse.Namespace) -> Iterator[Sample]:
    """Labelled images: as many as asked for, in an order drawn by the seed."""
    rng = np.random.default_rng(options.seed)
    if options.folder is None:
        for number in range(options.images * 3):
            yield Sample(str(number), draw_fundus(rng, number % 5).pixels, number % 5)
        return
    where = (("split", options.split),) if options.split else ()
    data = open_dataset(DatasetSpec(root=Path(options.folder), labels=options.labels, where=where, on_error="skip"))
    for number in rng.permutation(len(data.records)).tolist():
        record = data.records[number]
        yield Sample(record.id, read_image(record.path).pixels, int(record.label or 0))


def read_correctly(ensemble: Ensemble, options: argparse.Namespace) -> list[Sample]:
    """The first images that the network reads correctly when clean."""
    chosen: list[Sample] = []
    for sample in samples(options):
        if int(ensemble.read(sample.pixels).argmax()) == sample.label:
            chosen.append(sample)
        if len(chosen) == options.images:
            break
    return chosen


def worst_placements(
    ensemble: Ensemble, chosen: list[Sample], logo: Logo, band: tuple[int, int], options: argparse.Namespace
) -> dict[str, Placement]:
    """For each image the random placement, of those drawn, that misleads the network most."""

    def jobs() -> Iterator[SearchJob]:
        for sample in chosen:
            size = (sample.pixels.shape[1], sample.pixels.shape[0])
            mark = prepare_mark(logo, sample.pixels.shape, sample.pixels.dtype)
            space = SearchSpace(feasible_positions(size, mark.size, "anywhere"), band, size)
            prepared = PreparedImage(sample.pixels, mark, ensemble.preprocessings, ensemble.device)
            rng = image_generator(options.seed, sample.id, f"removal {band[0]}")
            yield SearchJob(sample.id, prepared, space, sample.label, rng, RandomPlacement(options.draws))

    return {found.id: found.best.placement for found in QueryEngine(ensemble, batch_size=32, keep=1).run(jobs())}


def roughness(marked: Pixels, mark: Mark, placement: Placement) -> float:
    """Total variation under the mark of what Eq. 9 makes of an image; opaque pixels left out."""
    rows, columns = footprint(mark, placement, marked.shape)
    patch = estimate_original(marked[rows, columns], mark, Placement(placement.alpha, 0, 0))
    values, seen = colour_channels(patch).astype(np.float32), mark.opacity(placement.alpha) < 255
    down = np.abs(np.diff(values, axis=0)).sum(2)[seen[1:] & seen[:-1]]
    across = np.abs(np.diff(values, axis=1)).sum(2)[seen[:, 1:] & seen[:, :-1]]
    return float(down.mean() + across.mean())


def refined(marked: Pixels, mark: Mark, start: Placement) -> Placement:
    """Position and α with the smoothest remainder: α coarsely, position, α finely."""

    def best(candidates: list[Placement]) -> Placement:
        return min(candidates, key=lambda one: roughness(marked, mark, one))

    height, width = marked.shape[:2]
    found = best([Placement(alpha, start.x, start.y) for alpha in range(100, 256, 5)])
    near = [
        Placement(alpha, x, y)
        for alpha in range(max(100, found.alpha - 10), min(255, found.alpha + 10) + 1, 5)
        for x in range(max(0, start.x - MARGIN), min(width - mark.size[0], start.x + MARGIN) + 1)
        for y in range(max(0, start.y - MARGIN), min(height - mark.size[1], start.y + MARGIN) + 1)
    ]
    found = best([found, *near])
    return best(
        [Placement(a, found.x, found.y) for a in range(max(100, found.alpha - 6), min(255, found.alpha + 6) + 1)]
    )


def inpainted(marked: Pixels, mark: Mark, placement: Placement) -> Pixels:
    """The marked pixels painted over from their surroundings."""
    mask = cv2.dilate(covered(marked.shape, mark, placement).astype(np.uint8), np.ones((3, 3), np.uint8))
    return cv2.inpaint(np.ascontiguousarray(marked), mask, 3, cv2.INPAINT_TELEA)


def measured(original: Pixels, restored: Pixels, mark: Mark, true: Placement, ensemble: Ensemble) -> Removal:
    """PSNR, SSIM and exact pixels under the true mark, and the class that is read."""
    under = covered(original.shape, mark, true)
    difference = original.astype(np.int64)[under] - restored.astype(np.int64)[under]
    error = float((difference**2).mean())
    whole = (slice(0, original.shape[0]), slice(0, original.shape[1]))
    return Removal(
        psnr=10 * np.log10(255**2 / error) if error else float("inf"),
        ssim=float(ssim_map(original, restored, whole)[under].mean()),
        exact=float((difference == 0).all(axis=1).mean()),
        read=int(ensemble.read(restored).argmax()),
    )


def median_interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % interval of a median by bootstrap; an exact image's PSNR is infinite, which a mean would not bear."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (2000, len(values)))
    low, high = np.quantile(np.median(values[drawn], axis=1), [0.025, 0.975])
    return round(float(low), 2), round(float(high), 2)


def summary(rows: list[Removal], labels: list[int], seed: int) -> dict[str, object]:
    """What an attack reached on all images of a band."""
    psnr = np.array([row.psnr for row in rows])
    misread = Proportion(sum(row.read != label for row, label in zip(rows, labels, strict=True)), len(rows))
    ssim, exact = [row.ssim for row in rows], [row.exact for row in rows]

    def mean(values: list[float]) -> list[float]:
        return [round(float(np.clip(value, 0, 1)), 4) for value in (np.mean(values), *mean_interval(values))]

    return {
        "psnr_median_db": [round(float(np.median(psnr)), 2), *median_interval(psnr, seed)],
        "ssim_mean": mean(ssim),
        "exact_pixels_mean": mean(exact),
        "misread": [misread.k, misread.n, *(round(v, 4) for v in misread.interval)],
    }


def band_result(
    ensemble: Ensemble, chosen: list[Sample], band: tuple[int, int], options: argparse.Namespace
) -> dict[str, object]:
    """All attacks on one band of α."""
    logo = load_logo()
    placements = worst_placements(ensemble, chosen, logo, band, options)
    rows: dict[str, list[Removal]] = {name: [] for name in ("marked", *ATTACKS)}
    offsets: dict[str, list[tuple[int, int, int]]] = {"formula": [], "refined": []}
    for sample in chosen:
        mark, true = prepare_mark(logo, sample.pixels.shape, sample.pixels.dtype), placements[sample.id]
        marked = lock(sample.pixels, mark, true)
        guess = locate_mark(marked, logo).placement
        better = refined(marked, mark, guess)
        variants = {
            "marked": marked,
            "formula": estimate_original(marked, mark, guess),
            "refined": estimate_original(marked, mark, better),
            "known": estimate_original(marked, mark, true),
            "inpainted": inpainted(marked, mark, guess),
        }
        for name, pixels in variants.items():
            rows[name].append(measured(sample.pixels, pixels, mark, true, ensemble))
        for name, found in (("formula", guess), ("refined", better)):
            offsets[name].append((found.x - true.x, found.y - true.y, found.alpha - true.alpha))
    labels = [sample.label for sample in chosen]
    return {
        "alpha": list(band),
        "estimates": {name: estimate_errors(found) for name, found in offsets.items()},
        "attacks": {name: summary(found, labels, options.seed) for name, found in rows.items()},
    }


def estimate_errors(offsets: list[tuple[int, int, int]]) -> dict[str, object]:
    """How near the thief's position and α come."""
    table = np.array(offsets)
    place = Proportion(int((table[:, :2] == 0).all(1).sum()), len(table))
    alpha = Proportion(int((table == 0).all(1).sum()), len(table))
    return {
        "position_exact": [place.k, place.n, *(round(v, 4) for v in place.interval)],
        "position_and_alpha_exact": [alpha.k, alpha.n, *(round(v, 4) for v in alpha.interval)],
        "alpha_error_median": float(np.median(np.abs(table[:, 2]))),
    }


def main() -> None:
    """Measure each band of α on the same images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=str)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--network", default="demo_resnet")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = resolve_source(options.network)
    ensemble = Ensemble([network])
    chosen = read_correctly(ensemble, options)
    result = {
        "data": Path(options.folder).name if options.folder else "synthetic fundus",
        "split": options.split,
        "network": {"name": network.name, "fingerprint": network.fingerprint},
        "images": len(chosen),
        "draws": options.draws,
        "seed": options.seed,
        "bands": [band_result(ensemble, chosen, band, options) for band in BANDS],
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
