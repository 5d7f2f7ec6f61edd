"""Does the place of a mark transfer, or only the logo? From the maps of benchmarks/response_maps.py; prints JSON.

For every target, sources are the other networks. A rule chooses one placement an image from what the sources answered;
what the target reads there is compared, image by image, with what it reads at random placements. The random side is the
mean over all random placements of an image, not one draw: the same expectation with less noise. `d` is the difference
in points of attack success with a bootstrap interval over images (10,000 resamples, seed 0); `mcnemar_p` compares with
one draw. Only images count that the target reads correctly when clean.

Three comparisons: `free` chooses among all placements, against α uniform in its range; `at_255` and `at_178` choose
among places at that α, against all places at the same α, so that a stronger mark cannot be the trick.

Usage: python benchmarks/transfer_quality.py MAPS --networks NAME,NAME… [--views NAME+flip,…]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy import stats

from medlocker.metrics import Proportion, mcnemar

RESAMPLES = 10_000
FARTHEST = 1e-6


class Maps:
    """Answers of all networks to the same placements of the same images."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        placed = np.load(folder / "candidates.npz")
        self.labels, self.candidates = placed["labels"], placed["candidates"]
        answers = {name: np.load(folder / f"{name}.npz") for name in names}
        n = self.n = min(len(a["probabilities"]) for a in answers.values())
        self.labels, self.candidates = self.labels[:n], self.candidates[:n]
        random, alphas = int(placed["random"]), placed["alphas"].tolist()
        columns = np.arange(self.candidates.shape[1])
        grid = (len(columns) - random) // len(alphas)
        self.side = round(grid**0.5)
        self.columns = {"free": columns, "random": columns[len(columns) - random :]}
        self.columns |= {f"at_{a}": columns[k * grid : (k + 1) * grid] for k, a in enumerate(alphas)}
        rows = np.arange(n)[:, None]
        self.f = {k: a["probabilities"][:n][rows, columns, self.labels[:, None]] for k, a in answers.items()}
        self.wrong = {k: a["probabilities"][:n].argmax(2) != self.labels[:, None] for k, a in answers.items()}
        self.right = {k: a["clean"][:n] == self.labels for k, a in answers.items()}

    def log_odds(self, name: str) -> np.ndarray:
        """(n, C)."""
        clipped = np.clip(self.f[name].astype(np.float64), FARTHEST, 1 - FARTHEST)
        return np.log(clipped / (1 - clipped))


OBJECTIVES = {
    "mean_probability": lambda maps, sources: np.mean([maps.f[s] for s in sources], axis=0),
    "log_odds": lambda maps, sources: np.mean([maps.log_odds(s) for s in sources], axis=0),
    "worst_member": lambda maps, sources: np.max([maps.f[s] for s in sources], axis=0),
}


def lowest(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(n,) the column with the lowest value, among these columns."""
    return columns[values[:, columns].argmin(1)]


def smoothed(values: np.ndarray, side: int) -> np.ndarray:
    """(n, side²) grid values averaged with their eight neighbours; edges repeat."""
    padded = np.pad(values.reshape(-1, side, side), ((0, 0), (1, 1), (1, 1)), mode="edge")
    shifted = [padded[:, y : y + side, x : x + side] for y in range(3) for x in range(3)]
    return np.mean(shifted, axis=0).reshape(len(values), -1)


def held_out(maps: Maps, sources: list[str], judge: str, columns: np.ndarray, keep: int = 8) -> np.ndarray:
    """(n,) of the sources' `keep` best places, a quarter of the mark apart, the one that the judge likes least."""
    values, judged, chosen = OBJECTIVES["log_odds"](maps, sources), maps.f[judge], []
    for image in range(maps.n):
        kept: list[int] = []
        for column in columns[values[image, columns].argsort(kind="stable")]:
            place = maps.candidates[image, column, 1:]
            if all(np.abs(place - maps.candidates[image, k, 1:]).max() >= 14 for k in kept):
                kept.append(int(column))
                if len(kept) == keep:
                    break
        chosen.append(kept[int(judged[image, kept].argmin())])
    return np.array(chosen)


def universal(values: np.ndarray, labels: np.ndarray, columns: np.ndarray, by_class: bool) -> np.ndarray:
    """(n,) the place that is best on average over the other images (of the same class)."""
    chosen = []
    for image, label in enumerate(labels):
        others = np.arange(len(labels)) != image
        if by_class:
            others &= labels == label
        chosen.append(columns[values[others][:, columns].mean(0).argmin()])
    return np.array(chosen)


def stopped(values: np.ndarray, maps: Maps, target: str, threshold: float) -> np.ndarray:
    """(n,) chance that the target errs at the first random placement under the threshold, in a random order.

    Where none is under it, the lowest counts, as a search that ran its whole budget.
    """
    columns, result = maps.columns["random"], []
    for image in range(maps.n):
        under = columns[values[image, columns] < threshold]
        taken = under if len(under) else columns[[values[image, columns].argmin()]]
        result.append(maps.wrong[target][image, taken].mean())
    return np.array(result)


def interval(difference: np.ndarray) -> list[float]:
    """Mean with its bootstrap interval, in points."""
    resampled = np.random.default_rng(0).choice(difference, (RESAMPLES, len(difference))).mean(1)
    return [round(100 * float(v), 1) for v in (difference.mean(), *np.quantile(resampled, [0.025, 0.975]))]


def compared(maps: Maps, target: str, success: np.ndarray, baseline: str) -> dict[str, object]:
    """Success per image (0–1) against the mean over the baseline's placements."""
    among = maps.right[target]
    random = maps.wrong[target][:, maps.columns[baseline]].mean(1)
    drawn = maps.wrong[target][:, maps.columns["random"][0]]
    row: dict[str, object] = {
        "n": int(among.sum()),
        "chosen": round(100 * float(success[among].mean()), 1),
        "random": round(100 * float(random[among].mean()), 1),
        "d": interval((success - random)[among]),
    }
    if baseline == "random" and set(np.unique(success)) <= {0.0, 1.0}:
        row["mcnemar_p"] = mcnemar((success > 0)[among].tolist(), drawn[among].tolist())
        row["chosen_interval"] = [
            round(100 * b, 1) for b in Proportion(int(success[among].sum()), int(among.sum())).interval
        ]
    return row


def rules(maps: Maps, sources: list[str], target: str, where: str) -> dict[str, np.ndarray]:
    """Per rule the target's success on each image, (n,) in 0–1."""
    columns, images = maps.columns[where], np.arange(maps.n)

    def read(chosen: np.ndarray) -> np.ndarray:
        return maps.wrong[target][images, chosen].astype(float)

    found = {f"all:{name}": read(lowest(o(maps, sources), columns)) for name, o in OBJECTIVES.items()}
    found |= {f"one:{s}": read(lowest(maps.f[s], columns)) for s in sources}
    mean = OBJECTIVES["log_odds"](maps, sources)
    if len(sources) > 1:
        for judge in sources:
            others = [s for s in sources if s != judge]
            found[f"judge:{judge}"] = read(held_out(maps, others, judge, columns))
    if where != "free":
        found["all:log_odds smoothed"] = read(columns[smoothed(mean[:, columns], maps.side).argmin(1)])
        found["universal"] = read(universal(mean, maps.labels, columns, by_class=False))
        found["universal by class"] = read(universal(mean, maps.labels, columns, by_class=True))
    found["target itself (bound)"] = read(lowest(maps.f[target], columns))
    return found


def agreement(maps: Maps, names: list[str]) -> dict[str, float]:
    """Mean over images of the rank correlation of two networks' log-odds over places at α = 255."""
    columns = maps.columns["at_255"]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return {
        f"{a}~{b}": round(
            float(
                np.nanmean(
                    [
                        stats.spearmanr(x, y).statistic
                        for x, y in zip(maps.log_odds(a)[:, columns], maps.log_odds(b)[:, columns], strict=True)
                    ]
                )
            ),
            3,
        )
        for a, b in pairs
    }


def alone(maps: Maps, name: str) -> dict[str, object]:
    """What the mark does to one network that is asked: a random place, and the best of those at each α."""
    among, images = maps.right[name], np.arange(maps.n)
    random = maps.wrong[name][:, maps.columns["random"]].mean(1)
    report: dict[str, object] = {"n": int(among.sum()), "random_place": interval(random[among])}
    for where, columns in maps.columns.items():
        best = maps.wrong[name][images, lowest(maps.f[name], columns)]
        report[f"best_{where}"] = str(Proportion(int(best[among].sum()), int(among.sum())))
        report[f"anywhere_{where}"] = interval(maps.wrong[name][among][:, columns].mean(1))
    best = maps.wrong[name][images, lowest(maps.f[name], maps.columns["free"])]
    by_class = [among & (maps.labels == c) for c in range(maps.labels.max() + 1)]
    report["best_free_by_class"] = [str(Proportion(int(best[m].sum()), int(m.sum()))) for m in by_class]
    report["random_place_by_class"] = [round(100 * float(random[m].mean()), 1) if m.any() else None for m in by_class]
    return report


def pooled(maps: Maps, per_target: dict[str, dict[str, np.ndarray]], where: str) -> dict[str, list[float]]:
    """Each rule over all targets: the mean over targets of an image's difference, resampled by image."""
    baseline = "random" if where == "free" else where
    shared = [r for r in next(iter(per_target.values())) if all(r in found for found in per_target.values())]
    result = {}
    for rule in shared:
        differences = []
        for target, found in per_target.items():
            random = maps.wrong[target][:, maps.columns[baseline]].mean(1)
            differences.append(np.where(maps.right[target], found[rule] - random, np.nan))
        counted = ~np.isnan(differences).all(0)
        result[rule] = interval(np.nanmean(np.array(differences)[:, counted], axis=0))
    return result


def main() -> None:
    """Every rule, target by target and pooled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path)
    parser.add_argument("--networks", required=True, help="each is a target in turn, the others its sources")
    parser.add_argument("--views", default="", help="further maps that serve as sources only, as NETWORK+VIEW")
    options = parser.parse_args()
    names = options.networks.split(",")
    views = [v for v in options.views.split(",") if v]
    maps = Maps(options.maps, [*names, *views])
    report: dict[str, object] = {
        "images": maps.n,
        "by_class": np.bincount(maps.labels).tolist(),
        "agreement": agreement(maps, names),
        "networks": {name: alone(maps, name) for name in names},
    }
    if len(names) == 1:
        print(json.dumps(report, indent=1))
        return
    for where in [w for w in maps.columns if w != "random"]:
        per_target = {}
        for target in names:
            sources = [s for s in [*names, *views] if s.partition("+")[0] != target]
            per_target[target] = rules(maps, sources, target, where)
        baseline = "random" if where == "free" else where
        report[where] = {
            "targets": {t: {r: compared(maps, t, s, baseline) for r, s in f.items()} for t, f in per_target.items()},
            "pooled": pooled(maps, per_target, where),
        }
    report["stop_below"] = {
        target: {
            str(threshold): compared(maps, target, stopped(maps.f[source], maps, target, threshold), "random")
            for threshold in (0.5, 0.3, 0.1, 0.0)
        }
        | {"source": source}
        for target in names
        for source in [next(s for s in names if s != target)]
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
