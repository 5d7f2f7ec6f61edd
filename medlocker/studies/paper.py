"""The paper's figures, to stand beside ours. Source: Tables 1 to 3 as in READINGS."""

from __future__ import annotations

COLUMNS = (
    "resnet18",
    "vgg16",
    "inception_v3",
    "mobilenetv3_large_100",
    "resnet50",
    "densenet121",
    "vit_small_patch16_224",
)
ENSEMBLE = "ensemble"

TABLE1: dict[str, float] = dict(
    zip((*COLUMNS, ENSEMBLE), (71.69, 72.88, 50.00, 60.89, 55.92, 66.96, 67.26, 52.05), strict=True)
)
"""Source → ASR in %."""

_TABLE2_ROWS: dict[str, tuple[float | None, ...]] = {
    "resnet18": (None, 91.10, 64.83, 69.91, 69.49, 67.01, 83.25, 70.34),
    "vgg16": (80.83, None, 54.89, 65.41, 63.16, 60.96, 74.56, 64.29),
    "inception_v3": (73.91, 81.64, None, 70.53, 69.08, 71.62, 79.72, 74.88),
    "mobilenetv3_large_100": (72.69, 76.65, 55.07, None, 74.01, 77.66, 73.4, 69.6),
    "resnet50": (72.25, 74.01, 58.15, 74.01, None, 83.42, 78.39, 68.72),
    "densenet121": (62.6, 65.85, 55.04, 69.51, 73.58, None, 69.1, 52.44),
    "vit_small_patch16_224": (74.89, 79.15, 57.87, 70.21, 74.04, 72.34, None, 65.53),
    ENSEMBLE: (None, None, None, None, 82.11, 78.71, 80.91, None),
}

TABLE2: dict[tuple[str, str], float] = {
    (source, target): value
    for source, row in _TABLE2_ROWS.items()
    for target, value in zip((*COLUMNS, ENSEMBLE), row, strict=True)
    if value is not None
}
"""(source, target) → ASR in % of the samples that fooled the source."""

TABLE3: dict[tuple[str, str, str], float] = {
    ("basin_hopping", "anywhere", "DR"): 72.06,
    ("basin_hopping", "anywhere", "no DR"): 73.53,
    ("basin_hopping", "inside_lesions", "DR"): 11.69,
    ("basin_hopping", "avoid_lesions", "DR"): 18.18,
    ("random_mutation", "anywhere", "DR"): 2.59,
    ("random_mutation", "anywhere", "no DR"): 58.82,
    ("random_mutation", "inside_lesions", "DR"): 12.98,
    ("random_mutation", "avoid_lesions", "DR"): 2.59,
}
"""(search, placement, images) → ASR in %; small samples, so a shape and not a target."""
