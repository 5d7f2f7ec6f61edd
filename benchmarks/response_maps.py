"""What networks answer to one logo all over an image: the raw material of benchmarks/transfer_quality.py.

For each photograph the same placements are put to every network: a square grid at each of some opacities, and
random ones. Probabilities go to OUT/NETWORK.npz, placements to OUT/candidates.npz; a killed run goes on.

Usage: python benchmarks/response_maps.py --data APTOS --networks FILE,FILE… --required FILE,FILE… --out DIR
       [--per-class N] [--grid PX] [--alphas A,B] [--random N] [--logo PNG] [--logo-scale SL] [--view NAME] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from photographs import choose, clean_predictions, networks, prepare, test_records

from medlocker.allocator import keep_freed_memory
from medlocker.blending import load_logo
from medlocker.querying import image_generator

VIEWS = {
    "plain": lambda inputs: inputs,
    "flip": lambda inputs: inputs.flip(3),
    "turn": lambda inputs: inputs.rot90(1, (2, 3)),
}
"""How a network looks at its input; a thief may turn photographs."""
SAVE_EVERY = 5


def candidates_of(space, grid: int, alphas: list[int], random: int, rng: np.random.Generator) -> np.ndarray:
    """(C, 3) placements: the grid at each opacity, then random ones."""
    right, bottom = space.positions.bounds
    xs, ys = np.arange(0, right + 1, grid), np.arange(0, bottom + 1, grid)
    places = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    rows = [np.column_stack([np.full(len(places), alpha), places]) for alpha in alphas]
    return np.concatenate([*rows, space.sample(rng, random)])


def answers(network, image, candidates: np.ndarray, view, batch: int = 32) -> np.ndarray:
    """(C, K) probabilities."""
    network, parts = network.searching(), np.array_split(candidates, max(1, len(candidates) // batch))
    inputs = (view(image.render(part, network.preprocessing)) for part in parts)
    return torch.cat([network.probabilities(i) for i in inputs]).numpy()


def main() -> None:
    """Choose the images, then put the placements to each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--networks", required=True)
    parser.add_argument("--required", required=True, help="images that these read correctly")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--per-class", type=int, default=16)
    parser.add_argument("--grid", type=int, default=14)
    parser.add_argument("--alphas", default="255,178")
    parser.add_argument("--random", type=int, default=100)
    parser.add_argument("--logo", type=Path)
    parser.add_argument("--logo-scale", type=float, default=4.0)
    parser.add_argument("--view", choices=VIEWS, default="plain")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    records, logo = test_records(options.data), load_logo(options.logo)
    required = networks(options.required.split(","))
    labels = np.array([r.label for r in records])
    right = np.logical_and.reduce([clean_predictions(n, records, options.out) == labels for n in required])
    chosen = choose(records, right, options.per_class, 0, options.seed)
    alphas = [int(a) for a in options.alphas.split(",")]
    spaces = {}
    for network in networks(options.networks.split(",")):
        clean = clean_predictions(network, records, options.out)
        file = options.out / (network.name + ("" if options.view == "plain" else f"+{options.view}") + ".npz")
        done: list[np.ndarray] = list(np.load(file)["probabilities"]) if file.is_file() else []
        started = time.perf_counter()
        for number, index in enumerate(chosen[len(done) :], len(done)):
            image, space = prepare(records[index], [network], logo, options.logo_scale)
            rng = image_generator(options.seed, records[index].id, "maps")
            spaces[index] = candidates_of(space, options.grid, alphas, options.random, rng)
            done.append(answers(network, image, spaces[index], VIEWS[options.view]))
            if (number + 1) % SAVE_EVERY == 0 or number + 1 == len(chosen):
                np.savez(file.with_suffix(".part.npz"), probabilities=np.stack(done), clean=clean[chosen])
                file.with_suffix(".part.npz").rename(file)
        print(json.dumps({"network": network.name, "seconds": round(time.perf_counter() - started), "n": len(done)}))
    placed = []
    for index in chosen:
        _, space = prepare(records[index], required[:1], logo, options.logo_scale)
        rng = image_generator(options.seed, records[index].id, "maps")
        placed.append(candidates_of(space, options.grid, alphas, options.random, rng))
    np.savez(
        options.out / "candidates.npz",
        candidates=np.stack(placed),
        ids=np.array([records[i].id for i in chosen]),
        labels=labels[chosen],
        random=options.random,
        alphas=alphas,
    )


if __name__ == "__main__":
    main()
