"""How much the allocator setting of `medlocker.allocator` changes the bare forward rate; prints one JSON object.

Usage: python benchmarks/allocator.py [--network NAME] [--threads N] [--repeats N]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time


def forward_rates(network: str, threads: int, repeats: int) -> list[float]:
    """Images per second of `repeats` forward passes of 64 random rows."""
    import timm
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(threads)
    model = timm.create_model(network, num_classes=5).eval().to(memory_format=torch.channels_last)
    rows = torch.rand(64, 3, 224, 224).to(memory_format=torch.channels_last)
    rates = []
    with torch.inference_mode():
        model(rows)
        for _ in range(repeats):
            start = time.perf_counter()
            model(rows)
            rates.append(64 / (time.perf_counter() - start))
    return rates


def main() -> None:
    """Measure in two fresh processes, since the setting cannot be taken back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="tf_mobilenetv3_small_100")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--child", choices=("without", "with"))
    options = parser.parse_args()
    if options.child:
        if options.child == "with":
            from medlocker.allocator import keep_freed_memory

            assert keep_freed_memory(), "this system's allocator does not take the setting"
        print(json.dumps(forward_rates(options.network, options.threads, options.repeats)))
        return
    rates = {}
    for child in ("without", "with"):
        done = subprocess.run([sys.executable, *sys.argv, "--child", child], capture_output=True, text=True, check=True)
        rates[child] = json.loads(done.stdout.splitlines()[-1])
    medians = {child: statistics.median(values) for child, values in rates.items()}
    result = {
        "network": options.network,
        "threads": options.threads,
        "n": options.repeats,
        "images_per_second": medians,
        "spread": {child: [min(values), max(values)] for child, values in rates.items()},
        "ratio": medians["with"] / medians["without"],
        "environment": {"python": platform.python_version(), "machine": platform.machine()},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
