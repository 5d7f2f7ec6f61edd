"""From symbols read off a leak to accusations, each with a proved bound on its being false.

The score of a recipient is a sum over images of the log-likelihood ratio between "one of the c₀ recipients who made
this leak" and "drew at random": h(a) = ln(1 + (w_a / p_a − 1) / c₀), where p_a is the probability of symbol a and w_a
its share in the leaked image. For a hard symbol this is the interleaving decoder of Laarhoven (2014), which is
universal: it holds against other strategies as well.

Source: accusation by score, Tardos 2003; score, T. Laarhoven, "Capacities and capacity-achieving decoders for various
fingerprinting games", 2014, here extended to shares.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medlocker.errors import SettingsError
from medlocker.tracing.codes import TracingCode

DEFAULT_COALITION = 3
_EXPONENTS = np.geomspace(1e-3, 1e3, 241)


@dataclass(frozen=True)
class Evidence:
    """What one leaked image says.

    Attributes:
        image_id: of the image in the release.
        shares: of each symbol of the image's alphabet, at least 0; all zero when nothing could be read.
    """

    image_id: str
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Accusation:
    """One recipient and how far the leak speaks against it.

    Attributes:
        recipient: index in the code.
        score: log-likelihood ratio, nats.
        p_false: at least as large as the probability that any of the recipients, being innocent, scores this high.
        accused: whether `p_false` is at most the allowed probability.
    """

    recipient: int
    score: float
    p_false: float
    accused: bool


@dataclass(frozen=True, eq=False)
class Innocence:
    """The distribution of an innocent recipient's score: a sum of independent terms, each known exactly.

    Attributes:
        scores: (n, q) what each symbol of each image scores; 0 where an alphabet is shorter.
        biases: (n, q) its probability; 0 where an alphabet is shorter.
    """

    scores: npt.NDArray[np.float64]
    biases: npt.NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Expected score, nats; never above 0."""
        return float((self.biases * self.scores).sum())

    @property
    def variance(self) -> float:
        """Variance of the score, nats²."""
        first = (self.biases * self.scores).sum(1)
        return float(((self.biases * self.scores**2).sum(1) - first**2).sum())

    def log_bounds(self, totals: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Logarithm of an upper bound on the probability of scoring at least as high.

        Chernoff: P(S ≥ t) ≤ exp(K(λ) − λt) for every λ ≥ 0, K being the exact cumulant function of S. Each λ gives a
        valid bound, so that the least over a grid is one too; nothing is approximated.

        Args:
            totals: (r,) scores.

        Returns:
            (r,) at most 0.
        """
        with np.errstate(divide="ignore"):
            log_biases = np.log(self.biases)
        cumulants = np.array([_cumulant(log_biases, self.scores, exponent) for exponent in _EXPONENTS])
        bounds = cumulants[:, None] - _EXPONENTS[:, None] * totals[None, :]
        least: npt.NDArray[np.float64] = bounds.min(axis=0)
        return np.minimum(least, 0.0)


def _cumulant(log_biases: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], exponent: float) -> float:
    terms = log_biases + exponent * scores
    peak = terms.max(axis=1, keepdims=True)
    return float((peak[:, 0] + np.log(np.exp(terms - peak).sum(axis=1))).sum())


def innocence(code: TracingCode, evidence: Sequence[Evidence], coalition: int = DEFAULT_COALITION) -> Innocence:
    """What recipients who had no part in a leak score on it.

    Args:
        code: of the release.
        evidence: one per image, as `merge_evidence` returns it.
        coalition: c₀, the number of conspirators the score is made for, at least 2; others are found too.

    Raises:
        SettingsError: shares do not fit the image's alphabet, or `coalition` is below 2.
    """
    if coalition < 2:
        raise SettingsError(
            f"coalition of {coalition}", why="a score for one offender would not forgive a misread image"
        )
    width = max((len(e.shares) for e in evidence), default=1)
    scores, biases = np.zeros((len(evidence), width)), np.zeros((len(evidence), width))
    for row, item in enumerate(evidence):
        own = code.biases(item.image_id)
        if len(own) != len(item.shares):
            raise SettingsError(f"{item.image_id}: {len(item.shares)} shares for {len(own)} symbols")
        biases[row, : len(own)] = own
        if (total := sum(item.shares)) > 0:
            scores[row, : len(own)] = np.log1p((np.array(item.shares) / total / own - 1) / coalition)
    return Innocence(scores, biases)


def accuse(
    code: TracingCode,
    evidence: Iterable[Evidence],
    recipients: Sequence[int],
    *,
    epsilon: float = 1e-3,
    coalition: int = DEFAULT_COALITION,
) -> tuple[Accusation, ...]:
    """Who had a part in a leak.

    Args:
        code: of the release.
        evidence: what the leaked images say; several files of one image count once, by their mean.
        recipients: indices of all to whom an edition was given.
        epsilon: largest allowed probability that anyone innocent is accused, over all recipients (Bonferroni).
        coalition: c₀ of the score.

    Returns:
        One per recipient, highest score first.

    Raises:
        SettingsError: `epsilon` is not in (0, 1), or the evidence does not fit the code.
    """
    if not 0 < epsilon < 1:
        raise SettingsError(f"epsilon is {epsilon}", why="it is a probability between 0 and 1")
    merged = merge_evidence(evidence)
    model = innocence(code, merged, coalition)
    ids, rows = [e.image_id for e in merged], np.arange(len(merged))
    # fsum is exact, so that equal words score equally whatever other images are in the leak.
    totals = np.array([math.fsum(model.scores[rows, list(word)]) for word in code.words(recipients, ids)])
    bounds = np.minimum(model.log_bounds(totals) + math.log(max(1, len(recipients))), 0.0)
    ranked = sorted(
        zip(recipients, totals.tolist(), np.exp(bounds).tolist(), strict=True), key=lambda row: (-row[1], row[0])
    )
    return tuple(Accusation(r, score, p, p <= epsilon) for r, score, p in ranked)


def merge_evidence(evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """One item per image: the mean of its files' shares, so that a picture leaked twice does not count twice.

    Raises:
        SettingsError: files of one image have alphabets of different size.
    """
    grouped: dict[str, list[tuple[float, ...]]] = {}
    for item in evidence:
        grouped.setdefault(item.image_id, []).append(item.shares)
    merged = []
    for image_id, shares in sorted(grouped.items()):
        if len({len(s) for s in shares}) > 1:
            raise SettingsError(f"{image_id}: evidence over alphabets of different size")
        merged.append(Evidence(image_id, tuple(np.mean(shares, axis=0).tolist())))
    return tuple(merged)


def images_needed(alphabet: int, colluders: int, recipients: int, epsilon: float = 1e-3) -> int:
    """Images after which some member of a coalition is accused for certain, whatever it did with its copies.

    At each image the leak shows a symbol that at least one of c members holds, so that the best of them matches n/c
    images or more; an innocent one matches each with probability 1/q. Chernoff: n · KL(1/c ‖ 1/q) ≥ ln(N/ε). This
    needs symbols to be read without error, uniform alphabets (q ≥ 5 here) and c < q.

    Args:
        alphabet: q, placements per image, at least `UNIFORM_FROM`.
        colluders: c, at least 1.
        recipients: N, all recipients.
        epsilon: as in `accuse`.

    Returns:
        n, images in the leak.

    Raises:
        SettingsError: the argument does not hold for these numbers.
    """
    if not 1 <= colluders < alphabet:
        raise SettingsError(
            f"{colluders} colluders on alphabets of {alphabet}", why="the bound needs fewer than symbols"
        )
    share, chance = 1 / colluders, 1 / alphabet
    divergence = share * math.log(share / chance)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - chance))
    return math.ceil(math.log(recipients / epsilon) / divergence)
