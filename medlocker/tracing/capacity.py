"""How far the placements that a search kept tell recipients apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from medlocker.tracing.codes import TracingCode

EPSILON = 1e-3
"""Allowed probability of a false accusation, over all recipients, unless another is chosen."""


class Capacity(BaseModel):
    """What a release's editions can carry.

    Attributes:
        images: of the release.
        placements: number of usable placements → images that have as many; those with one carry nothing.
        recipients: for whom it was reckoned.
        epsilon: allowed probability of a false accusation.
        images_needed: number of conspirators → images, taken anywhere from the release, after which one of them is
            accused; None where all images of the release are too few.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int
    placements: dict[int, int]
    recipients: int
    epsilon: float
    images_needed: dict[int, int | None]

    @property
    def silent(self) -> int:
        """Images that carry nothing."""
        return self.placements.get(1, 0)


def release_capacity(
    code: TracingCode, recipients: int, *, epsilon: float = EPSILON, coalitions: tuple[int, ...] = (1, 2, 3)
) -> Capacity:
    """Reckon what a release's editions can carry.

    A lone copy matches its recipient at every image, an innocent one with probability p_a at symbol a: on average the
    score grows by the entropy of the image's symbol, and ln(N/ε) has to be reached. A coalition of c matches one of its
    members at n/c images or more, an innocent recipient at each with probability Σ p_a² on average: n · KL(1/c ‖ mean)
    has to reach ln(N/ε) (`images_needed`, whose alphabets are all alike).

    Args:
        code: of the release.
        recipients: N, at least 1.
        epsilon: allowed probability of a false accusation.
        coalitions: numbers of conspirators.
    """
    biases = [code.biases(image_id) for image_id in code.sizes]
    wanted = math.log(recipients / epsilon)
    entropy = sum(float(-(p * [math.log(one) for one in p]).sum()) for p in biases) / max(1, len(biases))
    chance = sum(float((p * p).sum()) for p in biases) / max(1, len(biases))
    rates = {c: entropy if c == 1 else _divergence(1 / c, chance) for c in coalitions}
    return Capacity(
        images=len(biases),
        placements=_histogram(code.sizes),
        recipients=recipients,
        epsilon=epsilon,
        images_needed={c: _needed(wanted, rate, len(biases)) for c, rate in rates.items()},
    )


def _needed(wanted: float, rate: float, images: int) -> int | None:
    if rate <= 0 or wanted / rate > images:
        return None
    return math.ceil(wanted / rate)


def _divergence(share: float, chance: float) -> float:
    """KL(share ‖ chance) of two coins, nats; 0 where the share is no larger."""
    if share <= chance:
        return 0.0
    return share * math.log(share / chance) + (1 - share) * math.log((1 - share) / (1 - chance))


def _histogram(sizes: Mapping[str, int]) -> dict[int, int]:
    return dict(sorted(Counter(sizes.values()).items()))
