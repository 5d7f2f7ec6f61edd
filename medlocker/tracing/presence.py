"""Whether a leak shows one known copy's marks: too often for chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medlocker.tracing.accusing import Innocence


def chance_bound(chances: Sequence[float], matches: int, others: int = 1) -> float:
    """Bound on the probability that other copies' marks match a given copy's at so many images.

    A copy that was drawn for somebody else matches an image of the given one with the probability of that symbol; of
    `others` such copies, mixed at will, at least one does with probability 1 − (1 − p)^others. Images are independent,
    so that Chernoff bounds the number of matches.

    Args:
        chances: for each image that was read, the probability of the given copy's symbol.
        matches: images at which the leak shows the given copy's mark.
        others: copies that the leak might have been made from instead.

    Returns:
        At least the probability of `matches` or more; 1 where nothing was read.
    """
    either = 1 - (1 - np.array(chances, dtype=np.float64)) ** others
    if not len(either):
        return 1.0
    model = Innocence(np.tile([1.0, 0.0], (len(either), 1)), np.stack([either, 1 - either], axis=1))
    return math.exp(float(model.log_bounds(np.array([float(matches)]))[0]))
