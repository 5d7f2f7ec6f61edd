"""Searches against each other on photographs, network by network; prints one JSON object.

Every search runs through the query engine, so that its queries are counted as a release counts them. Compared image by
image: the true-class probability f (Wilcoxon signed-rank, and a bootstrap interval of the mean difference) and success
(exact McNemar). Answers are kept in OUT, one file a network and search; a killed run goes on with the next search.

Usage: python benchmarks/search_quality.py --data APTOS --networks FILE,FILE… --out DIR [--searches NAME:BUDGET,…]
       [--reference NAME:BUDGET] [--per-class N] [--skip N] [--seed N]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from photographs import choose, clean_predictions, networks, prepare, test_records
from scipy import stats

from medlocker.allocator import keep_freed_memory
from medlocker.blending import load_logo
from medlocker.fitness import Ensemble
from medlocker.metrics import Proportion, mcnemar
from medlocker.querying import QueryEngine, SearchJob, image_generator
from medlocker.search import SearchSettings, build_search

KEEP = 8


def run(search, network, records, seed: int) -> dict[str, np.ndarray]:
    """Search every image; arrays in the order of the records."""
    logo, ensemble = load_logo(), Ensemble([network])

    def jobs():
        for record in records:
            image, space = prepare(record, [network], logo, 4.0)
            yield SearchJob(record.id, image, space, record.label, image_generator(seed, record.id), search)

    found = {r.id: r for r in QueryEngine(ensemble, batch_size=32, keep=KEEP).run(jobs())}
    results = [found[r.id] for r in records]
    return {
        "f": np.array([r.best.confidence for r in results]),
        "fooled": np.array([r.best.fooled for r in results]),
        "queries": np.array([r.queries for r in results]),
        "usable": np.array([sum(a.fooled for a in r.alternatives) for r in results]),
        "placement": np.array([r.best.placement for r in results]),
    }


def described(found: dict[str, np.ndarray]) -> dict[str, object]:
    """One search on one network."""
    success = Proportion(int(found["fooled"].sum()), len(found["fooled"]))
    return {
        "f_mean": round(float(found["f"].mean()), 4),
        "asr": round(success.rate, 4),
        "asr_interval": [round(b, 4) for b in success.interval],
        "k": success.k,
        "queries_mean": round(float(found["queries"].mean()), 1),
        "queries_max": int(found["queries"].max()),
        f"usable_of_{KEEP}_mean": round(float(found["usable"].mean()), 2),
        "alpha_median": float(np.median(found["placement"][:, 0])),
    }


def compared(found: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> dict[str, object]:
    """A search against the reference, paired by image."""
    difference = found["f"] - reference["f"]
    resampled = np.random.default_rng(0).choice(difference, (10_000, len(difference))).mean(1)
    test = stats.wilcoxon(difference) if difference.any() else None
    return {
        "f_difference": round(float(difference.mean()), 4),
        "f_interval": [round(float(q), 4) for q in np.quantile(resampled, [0.025, 0.975])],
        "f_wilcoxon_p": float(test.pvalue) if test else 1.0,
        "lower_on": int((difference < 0).sum()),
        "higher_on": int((difference > 0).sum()),
        "asr_mcnemar_p": mcnemar(found["fooled"].tolist(), reference["fooled"].tolist()),
    }


def parsed(text: str):
    """`NAME:BUDGET` as a search; without a budget the settings' own."""
    name, _, budget = text.partition(":")
    return build_search(SearchSettings(name=name, budget=int(budget) if budget else None))


def main() -> None:
    """Run what is not on file yet, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--networks", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--searches", default="surrogate:200,random:200,random:650,basin_hopping")
    parser.add_argument("--reference", default="random:650")
    parser.add_argument("--per-class", type=int, default=16)
    parser.add_argument("--skip", type=int, default=0, help="images of each class to leave out first")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    records, report = test_records(options.data), {}
    for network in networks(options.networks.split(",")):
        right = clean_predictions(network, records, options.out) == np.array([r.label for r in records])
        chosen = [records[i] for i in choose(records, right, options.per_class, options.skip, options.seed)]
        found = {}
        for name in dict.fromkeys([*options.searches.split(","), options.reference]):
            file = (
                options.out / f"{network.name}-{name.replace(':', '-')}-{options.seed}-{options.skip}-{len(chosen)}.npz"
            )
            if not file.is_file():
                np.savez(file, **run(parsed(name), network, chosen, options.seed))
            found[name] = dict(np.load(file))
        report[network.name] = {"n": len(chosen)} | {
            name: described(f)
            | ({} if name == options.reference else {"against": compared(f, found[options.reference])})
            for name, f in found.items()
        }
    settings = {"seed": options.seed, "reference": options.reference, "torch": torch.__version__}
    print(json.dumps({"settings": settings, "networks": report}, indent=1))


if __name__ == "__main__":
    main()
