"""Accusations on damaged leaks of real photographs, right and wrong; prints one JSON object.

The images stand in for a release: each has K random placements, at least a quarter of the mark apart, with α in
100–255 (a search would have kept those that fool networks; tracing does not care which). A marked image depends on its
recipient through its symbol alone, so every (image, symbol, damage) is made and read once and serves all recipients.
Averaged copies are made and read for each coalition. Reading starts from pixels: the registration is found each time.

Usage: python benchmarks/tracing.py FOLDER [--labels CSV --split test] [--images N] [--recipients N] [--alphabet K]
       [--leaks N] [--averages N] [--seed N] [--damages NAME …]
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from medlocker.blending import Logo, Mark, Pixels, Placement, load_logo, lock, prepare_mark
from medlocker.imageio import read_image
from medlocker.metrics import Proportion
from medlocker.tracing import Evidence, TracingCode, accuse, attacks, images_needed, read_symbols

EPSILON = 1e-3
Damage = Callable[[Pixels, np.random.Generator], Pixels]
DAMAGES: dict[str, Damage] = {
    "none": lambda p, rng: p,
    "jpeg 75": lambda p, rng: attacks.jpeg(p, 75),
    "jpeg 50": lambda p, rng: attacks.jpeg(p, 50),
    "resize 0.5": lambda p, rng: attacks.resize(p, 0.5),
    "crop 5 %": lambda p, rng: attacks.crop(p, 0.05, rng),
    "crop 5 %, stretched, jpeg 75": lambda p, rng: attacks.jpeg(attacks.crop(p, 0.05, rng, stretch=True), 75),
}
AVERAGED = ("none", "jpeg 75")


class Bench:
    """Images, their stand-in placements and the code over them."""

    def __init__(self, files: list[Path], logo: Logo, options: argparse.Namespace) -> None:
        self.logo, self.rng = logo, np.random.default_rng(options.seed)
        self.originals = [read_image(f).pixels for f in files]
        self.marks = [prepare_mark(logo, p.shape, p.dtype) for p in self.originals]
        self.ids = [f.name for f in files]
        self.candidates = [
            placements(p.shape, m, options.alphabet, self.rng) for p, m in zip(self.originals, self.marks, strict=True)
        ]
        self.code = TracingCode(self.rng.bytes(32), "benchmark", dict.fromkeys(self.ids, options.alphabet))
        self.recipients = range(options.recipients)
        self.words = np.array(self.code.words(self.recipients, self.ids))

    def copy(self, image: int, symbol: int) -> Pixels:
        """One image as a recipient with this symbol has it."""
        return lock(self.originals[image], self.marks[image], self.candidates[image][symbol])

    def read(self, leaked: Pixels, image: int) -> tuple[float, ...]:
        """Shares of the image's placements."""
        return read_symbols(leaked, self.originals[image], self.marks[image], self.candidates[image]).shares

    def readings(self, damage: Damage) -> npt.NDArray[np.float64]:
        """(images, symbols, symbols): what each marked image, damaged, reads as."""
        sizes = range(len(self.candidates[0]))
        return np.array(
            [[self.read(damage(self.copy(n, s), self.rng), n) for s in sizes] for n in range(len(self.ids))]
        )

    def verdict(self, images: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], guilty: set[int]) -> Verdict:
        """Who is accused when these images leak with these shares."""
        evidence = [Evidence(self.ids[n], tuple(s)) for n, s in zip(images.tolist(), shares.tolist(), strict=True)]
        accused = {a.recipient for a in accuse(self.code, evidence, self.recipients, epsilon=EPSILON) if a.accused}
        return len(accused & guilty), len(guilty), len(accused - guilty), len(self.recipients) - len(guilty)


Verdict = tuple[int, int, int, int]
"""Guilty accused, guilty, innocent accused, innocent."""


def placements(shape: tuple[int, ...], mark: Mark, count: int, rng: np.random.Generator) -> list[Placement]:
    """Random placements at least a quarter of the mark apart, α in 100–255."""
    (width, height), found = mark.size, []
    while len(found) < count:
        x, y = int(rng.integers(shape[1] - width + 1)), int(rng.integers(shape[0] - height + 1))
        if all(abs(x - f.x) >= width // 4 or abs(y - f.y) >= height // 4 for f in found):
            found.append(Placement(int(rng.integers(100, 256)), x, y))
    return found


def summary(verdicts: list[Verdict]) -> dict[str, object]:
    """Rates with 95 % Wilson intervals."""
    table = np.array(verdicts)

    def rate(k: int, n: int) -> dict[str, object]:
        return {"k": int(k), "n": int(n), "rate": k / n, "interval": Proportion(int(k), int(n)).interval}

    return {
        "leaks": len(verdicts),
        "leaks_with_a_culprit_found": rate((table[:, 0] > 0).sum(), len(table)),
        "guilty_accused": rate(table[:, 0].sum(), table[:, 1].sum()),
        "innocent_accused": rate(table[:, 2].sum(), table[:, 3].sum()),
        "leaks_with_a_false_accusation": rate((table[:, 2] > 0).sum(), len(table)),
    }


def copied(bench: Bench, readings: npt.NDArray[np.float64], colluders: int, length: int, leaks: int) -> list[Verdict]:
    """Leaks of `length` random images, each from one of `colluders` random recipients."""
    verdicts = []
    for number in range(leaks):
        guilty = (
            np.array([number % len(bench.recipients)])
            if colluders == 1
            else bench.rng.choice(len(bench.recipients), colluders, replace=False)
        )
        images = np.sort(bench.rng.choice(len(bench.ids), length, replace=False))
        symbols = attacks.mix_symbols(bench.words[np.ix_(guilty, images)], bench.rng)
        verdicts.append(bench.verdict(images, readings[images, symbols], set(guilty.tolist())))
    return verdicts


def averaged(bench: Bench, damage: Damage, colluders: int, lengths: list[int], leaks: int) -> Iterator[list[Verdict]]:
    """The same with the pixel-wise mean of the conspirators' copies; one list a length."""
    longest, tables = max(lengths), []
    for _ in range(leaks):
        guilty = bench.rng.choice(len(bench.recipients), colluders, replace=False)
        images = bench.rng.choice(len(bench.ids), longest, replace=False)
        shares = np.array([bench.read(damage(_mean(bench, n, guilty), bench.rng), n) for n in images.tolist()])
        tables.append([bench.verdict(images[:k], shares[:k], set(guilty.tolist())) for k in lengths])
    yield from (list(column) for column in zip(*tables, strict=True))


def _mean(bench: Bench, image: int, guilty: npt.NDArray[np.int64]) -> Pixels:
    return attacks.average([bench.copy(image, s) for s in bench.words[guilty, image].tolist()])


def reading_errors(readings: npt.NDArray[np.float64]) -> dict[str, object]:
    """How often the strongest share is the true symbol, and how near the shares are to it."""
    symbols = readings.shape[1]
    truth = np.eye(symbols)[None]
    right = (readings.argmax(2) == np.arange(symbols)) & (readings.max(2) > 0)
    proportion = Proportion(int(right.sum()), right.size)
    own = readings[:, np.arange(symbols), np.arange(symbols)]
    return {
        "right": proportion.k,
        "n": proportion.n,
        "interval": proportion.interval,
        "own_share_least": float(own.min()),
        "largest_error_of_other_shares": float((readings * (1 - truth)).max()),
    }


def measure(bench: Bench, options: argparse.Namespace) -> dict[str, object]:
    """All conditions."""
    lengths = sorted({n for n in (10, 25, 60) if n < len(bench.ids)} | {len(bench.ids)})
    result: dict[str, object] = {}
    for name in options.damages:
        damage = DAMAGES[name]
        start = time.perf_counter()
        readings = bench.readings(damage)
        seconds = (time.perf_counter() - start) / readings[..., 0].size
        row: dict[str, object] = {"seconds_per_reading": round(seconds, 4), "readings": reading_errors(readings)}
        for colluders in (1, 2, 3):
            for length in lengths:
                verdicts = copied(bench, readings, colluders, length, options.leaks)
                row[f"{colluders} mixing, {length} images"] = summary(verdicts)
        if name in AVERAGED:
            for colluders in (2, 3):
                short = [n for n in lengths if n <= 25]
                for length, verdicts in zip(
                    short, averaged(bench, damage, colluders, short, options.averages), strict=True
                ):
                    row[f"{colluders} averaging, {length} images"] = summary(verdicts)
        result[name] = row
    return result


def chosen_files(options: argparse.Namespace) -> list[Path]:
    """The first N of the folder, or of one split of its labels file, in order of name."""
    if options.labels:
        with options.labels.open(newline="") as table:
            rows = [r for r in csv.DictReader(table) if r["split"] == options.split]
        files = [options.folder / Path(row["file"]).name for row in rows]
    else:
        files = [f for f in options.folder.iterdir() if f.is_file()]
    return sorted(files)[: options.images]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--recipients", type=int, default=20)
    parser.add_argument("--alphabet", type=int, default=8)
    parser.add_argument("--leaks", type=int, default=40)
    parser.add_argument("--averages", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--damages", nargs="+", choices=DAMAGES, default=list(DAMAGES))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    start = time.perf_counter()
    bench = Bench(chosen_files(options), load_logo(), options)
    print(
        json.dumps(
            {
                "images": len(bench.ids),
                "image_shape": bench.originals[0].shape,
                "recipients": options.recipients,
                "alphabet": options.alphabet,
                "placements": "random stand-ins, at least a quarter of the mark apart, alpha 100-255",
                "epsilon": EPSILON,
                "seed": options.seed,
                "images_needed": {
                    c: images_needed(options.alphabet, c, options.recipients, EPSILON) for c in (1, 2, 3)
                },
                "damages": measure(bench, options),
                "seconds": round(time.perf_counter() - start),
                "environment": {"python": platform.python_version(), "opencv": cv2.__version__, "threads": 1},
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
