"""Make the weights that ship with the model zoo: draw synthetic fundus images, train, measure, save.

python model_zoo/train_demo.py --data build/synthetic --out model_zoo/medlocker_zoo/weights
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from medlocker.datasets import Dataset, DatasetSpec, open_dataset
from medlocker.datasets.synthetic import write_synthetic_dataset
from medlocker_zoo import get_card, list_networks, save_classifier, train_classifier
from medlocker_zoo.checkpoints import EpochRecord
from medlocker_zoo.storage import SUFFIX

SEED = 2024
SIDE = 224
TRAIN_PER_GRADE, TEST_PER_GRADE = 240, 60


def synthetic(root: Path, split: str, per_grade: int) -> Dataset:
    """One split of the synthetic data set, drawn unless it is there already."""
    folder = root / split
    if not (folder / "labels.csv").exists():
        write_synthetic_dataset(folder, per_grade=per_grade, side=SIDE, seed=SEED, split=split)
    return open_dataset(DatasetSpec(root=folder))


def report_epoch(name: str, record: EpochRecord) -> None:
    """Print one line an epoch."""
    print(
        f"{name} epoch {record.epoch + 1}: loss {record.train_loss:.3f}, validation accuracy {record.accuracy:.3f}, "
        f"kappa {record.kappa:.3f}, {record.seconds:.0f} s",
        flush=True,
    )


def train_demo(name: str, data: Path, out: Path) -> None:
    """Train one demo network, print how good it is, and save it."""
    train, test = synthetic(data, "train", TRAIN_PER_GRADE), synthetic(data, "test", TEST_PER_GRADE)
    started = time.perf_counter()
    result = train_classifier(
        get_card(name), train, 0.1, test=test, seed=SEED, precision="float32", checkpoint_dir=data / f"run-{name}"
    )
    for record in result.history:
        report_epoch(name, record)
    save_classifier(out / f"{name}{SUFFIX}", result.classifier)
    assert result.test is not None
    per_class = ", ".join(f"{share.rate:.2f}" for share in result.test.per_class)
    print(f"{name}: test {result.test.accuracy}, kappa {result.test.kappa}, per class {per_class}")
    print(f"{name}: best epoch {result.best_epoch + 1}, {time.perf_counter() - started:.0f} s", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder for the images and checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--networks", default="demo_*", help="wildcard")
    arguments = parser.parse_args()
    for name in list_networks(arguments.networks):
        train_demo(name, arguments.data, arguments.out)


if __name__ == "__main__":
    main()
