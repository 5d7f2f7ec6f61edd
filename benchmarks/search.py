"""Queries per second of the search against the bare forward pass of the same network; prints one JSON object.

Both are measured in turns in one process, the forward pass at each batch size; the ratio is of medians, the forward
rate that of the best batch size. Images are synthetic.

Usage: python benchmarks/search.py [--network NAME_OR_FILE] [--images N] [--batch-size N] [--repeats N] [--threads N]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time

import numpy as np
import torch

from medlocker.allocator import keep_freed_memory
from medlocker.blending import load_logo, prepare_mark
from medlocker.classifiers import Classifier
from medlocker.datasets.synthetic import draw_fundus
from medlocker.fitness import Ensemble
from medlocker.placement import feasible_positions
from medlocker.querying import QueryEngine, SearchJob, image_generator
from medlocker.rendering import PreparedImage
from medlocker.search import SearchSettings, SearchSpace, build_search
from medlocker_zoo.resolve import resolve_source

BATCH_SIZES = (8, 16, 32, 64, 128)


def search_rate(ensemble: Ensemble, images: list[np.ndarray], batch_size: int, repeat: int) -> float:
    """Queries answered per second by a whole search of all images, preparation included."""
    logo, search = load_logo(), build_search(SearchSettings())

    def jobs():
        for number, pixels in enumerate(images):
            size = (pixels.shape[1], pixels.shape[0])
            mark = prepare_mark(logo, pixels.shape, pixels.dtype)
            space = SearchSpace(feasible_positions(size, mark.size, "anywhere"), (100, 255), size)
            prepared = PreparedImage(pixels, mark, ensemble.preprocessings, ensemble.device)
            yield SearchJob(str(number), prepared, space, 0, image_generator(repeat, str(number)), search)

    start = time.perf_counter()
    queries = sum(result.queries for result in QueryEngine(ensemble, batch_size=batch_size).run(jobs()))
    return queries / (time.perf_counter() - start)


def forward_rate(network: Classifier, batch_size: int, rows: int = 256) -> float:
    """Images per second of the network alone on inputs that lie ready."""
    side = network.preprocessing.input_size
    inputs = torch.rand(batch_size, 3, side, side, device=network.device)
    start = time.perf_counter()
    for _ in range(max(1, rows // batch_size)):
        network.probabilities(inputs).cpu()
    return max(1, rows // batch_size) * batch_size / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="demo_resnet")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    network = resolve_source(options.network, "cuda" if torch.cuda.is_available() else "cpu")
    images = [draw_fundus(np.random.default_rng(n), n % 5, options.side).pixels for n in range(options.images)]
    ensemble = Ensemble([network])
    forward: dict[int, list[float]] = {size: [] for size in BATCH_SIZES}
    search: list[float] = []
    for size in BATCH_SIZES:
        forward_rate(network, size)
    for repeat in range(options.repeats):
        search.append(search_rate(ensemble, images, options.batch_size, repeat))
        for size, rates in forward.items():
            rates.append(forward_rate(network, size))
    best = max(forward, key=lambda size: statistics.median(forward[size]))
    median = statistics.median(search)
    print(
        json.dumps(
            {
                "network": network.name,
                "ratio": median / statistics.median(forward[best]),
                "n": options.repeats,
                "search_queries_per_second": median,
                "forward_images_per_second": {s: statistics.median(r) for s, r in forward.items()},
                "best_batch_size": best,
                "spread": {"search": [min(search), max(search)], "forward": [min(forward[best]), max(forward[best])]},
                "environment": {
                    "runtime": network.runtime,
                    "threads": options.threads,
                    "torch": torch.__version__,
                    "machine": platform.machine(),
                    "image_side": options.side,
                },
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
