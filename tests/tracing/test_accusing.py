"""Accusations: the guilty are found, and the innocent no more often than stated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medlocker.errors import SettingsError
from medlocker.tracing.accusing import Evidence, accuse, images_needed, innocence, merge_evidence
from medlocker.tracing.attacks import mix_symbols, vote_symbols
from medlocker.tracing.codes import TracingCode

SECRET = bytes(range(32))
RECIPIENTS = range(20)


def code_of(sizes: list[int], secret: bytes = SECRET) -> TracingCode:
    return TracingCode(secret, "r", {str(n): size for n, size in enumerate(sizes)})


def words_of(code: TracingCode, recipients: list[int]) -> np.ndarray:
    return np.array(code.words(recipients, list(code.sizes)))


def hard(code: TracingCode, symbols: np.ndarray) -> list[Evidence]:
    return [Evidence(i, tuple(np.eye(q)[s])) for (i, q), s in zip(code.sizes.items(), symbols.tolist(), strict=True)]


def soft(code: TracingCode, words: np.ndarray) -> list[Evidence]:
    """What the pixel-wise mean of copies shows."""
    return [Evidence(i, tuple(np.eye(q)[words[:, n]].mean(0))) for n, (i, q) in enumerate(code.sizes.items())]


MIXED_SIZES = [1, 2, 3, 4, 5, 8, 8, 8, 2, 6] * 4


def null_scores(code: TracingCode, evidence: list[Evidence], draws: int) -> tuple[np.ndarray, object]:
    model = innocence(code, merge_evidence(evidence))
    rows, ids = np.arange(len(model.scores)), [e.image_id for e in merge_evidence(evidence)]
    words = code.words(range(1000, 1000 + draws), ids)
    return np.array([model.scores[rows, list(word)].sum() for word in words]), model


def test_mean_and_variance_of_the_innocent_are_as_stated():
    code = code_of(MIXED_SIZES)
    scores, model = null_scores(code, soft(code, words_of(code, [1, 2])), 2500)
    assert abs(scores.mean() - model.mean) < 5 * math.sqrt(model.variance / 2500)
    assert scores.var() == pytest.approx(model.variance, rel=0.2)
    assert model.mean < 0


def test_the_innocent_exceed_a_score_no_more_often_than_bounded():
    code = code_of(MIXED_SIZES)
    scores, model = null_scores(code, hard(code, words_of(code, [3])[0]), 2500)
    levels = np.quantile(scores, [0.5, 0.9, 0.99, 0.999])
    bounds = np.exp(model.log_bounds(levels))
    observed = (scores[None] >= levels[:, None]).mean(1)
    assert (observed <= bounds + 3 * np.sqrt(bounds / 2500)).all()
    assert bounds[-1] < 0.03, "a bound that never bites would prove nothing"


def test_the_bound_equals_the_exact_chance_of_a_perfect_match():
    code = code_of([8] * 10)
    model = innocence(code, hard(code, words_of(code, [0])[0]))
    best = model.scores.max(1).sum()
    assert float(model.log_bounds(np.array([best]))[0]) == pytest.approx(-10 * math.log(8), rel=1e-6)


def test_the_bound_is_never_below_the_exact_binomial_tail():
    code = code_of([8] * 30)
    model = innocence(code, hard(code, words_of(code, [0])[0]))
    low, high = model.scores.min(), model.scores.max()
    for matches in range(31):
        bound = math.exp(float(model.log_bounds(np.array([matches * high + (30 - matches) * low - 1e-9]))[0]))
        assert bound >= stats.binom.sf(matches - 1, 30, 1 / 8) * (1 - 1e-6)


def test_false_accusations_stay_within_epsilon():
    wrong = 0
    for trial in range(120):
        code = code_of([8] * 12 + [2] * 6, trial.to_bytes(16, "big"))
        evidence = hard(code, words_of(code, [99])[0])  # 99 is not among those who are tried
        wrong += any(a.accused for a in accuse(code, evidence, RECIPIENTS, epsilon=0.05))
    assert wrong <= stats.binom.isf(1e-3, 120, 0.05)


def test_a_lone_pirate_with_twenty_images_is_always_caught_and_nobody_else():
    for trial in range(30):
        code = code_of([8] * 20, trial.to_bytes(16, "big"))
        guilty = trial % 20
        ranked = accuse(code, hard(code, words_of(code, [guilty])[0]), RECIPIENTS)
        assert [a.recipient for a in ranked if a.accused] == [guilty]
        assert ranked[0].recipient == guilty


@pytest.mark.parametrize("size", [5, 8])
@pytest.mark.parametrize("colluders", [1, 2, 3])
@pytest.mark.parametrize("strategy", ["mix", "majority", "minority"])
def test_one_of_a_coalition_is_caught_after_the_images_the_bound_names(size, colluders, strategy):
    images = images_needed(size, colluders, 20)
    rng = np.random.default_rng(5)
    for trial in range(5):
        code = code_of([size] * images, trial.to_bytes(16, "big"))
        guilty = list(range(colluders))
        words = words_of(code, guilty)
        leak = mix_symbols(words, rng) if strategy == "mix" else vote_symbols(words, rng, rarest=strategy == "minority")
        accused = {a.recipient for a in accuse(code, hard(code, leak), RECIPIENTS) if a.accused}
        assert accused
        assert accused <= set(guilty)


def test_the_bound_on_images_is_the_one_the_accusation_uses():
    for colluders in (1, 2, 3):
        images = images_needed(8, colluders, 20)
        code = code_of([8] * images)
        word = words_of(code, [0])[0]
        wrong = math.ceil(images / colluders)
        leak = word.copy()
        leak[wrong:] = (leak[wrong:] + 1) % 8
        result = {a.recipient: a for a in accuse(code, hard(code, leak), RECIPIENTS)}
        assert result[0].accused


@pytest.mark.parametrize("colluders", [2, 3])
def test_averaging_gives_all_of_the_coalition_away(colluders):
    for trial in range(20):
        code = code_of([8] * 40, trial.to_bytes(16, "big"))
        guilty = set(range(colluders))
        ranked = accuse(code, soft(code, words_of(code, sorted(guilty))), RECIPIENTS)
        assert {a.recipient for a in ranked if a.accused} == guilty


def test_minority_votes_on_two_symbols_do_not_accuse_the_innocent():
    rng = np.random.default_rng(0)
    for trial in range(5):
        code = code_of([2] * 300, trial.to_bytes(16, "big"))
        leak = vote_symbols(words_of(code, [0, 1, 2]), rng, rarest=True)
        accused = {a.recipient for a in accuse(code, hard(code, leak), RECIPIENTS) if a.accused}
        assert accused <= {0, 1, 2}


def test_images_that_say_nothing_change_nothing():
    code = code_of([8] * 12 + [1, 8])
    evidence = hard(code, words_of(code, [4])[0])[:12]
    silent = [Evidence("12", (1.0,)), Evidence("13", (0.0,) * 8)]
    without, with_them = accuse(code, evidence, RECIPIENTS), accuse(code, evidence + silent, RECIPIENTS)
    for a, b in zip(without, with_them, strict=True):
        assert (a.recipient, a.score) == (b.recipient, b.score)
        assert a.p_false == pytest.approx(b.p_false, rel=1e-9)


def test_no_evidence_accuses_nobody():
    ranked = accuse(code_of([8]), [], RECIPIENTS)
    assert len(ranked) == 20
    assert all(a.p_false == 1.0 and not a.accused for a in ranked)


def test_a_picture_leaked_often_counts_once():
    code = code_of([8] * 12)
    evidence = hard(code, words_of(code, [4])[0])[:3]
    assert accuse(code, evidence, RECIPIENTS) == accuse(code, evidence * 50, RECIPIENTS)


def test_bad_input_is_named():
    code = code_of([8])
    with pytest.raises(SettingsError, match="2 shares for 8"):
        accuse(code, [Evidence("0", (1.0, 0.0))], RECIPIENTS)
    with pytest.raises(SettingsError, match="different size"):
        accuse(code, [Evidence("0", (1.0,)), Evidence("0", (1.0, 0.0))], RECIPIENTS)
    with pytest.raises(SettingsError, match="epsilon"):
        accuse(code, [], RECIPIENTS, epsilon=0)
    with pytest.raises(SettingsError, match="forgive"):
        accuse(code, [], RECIPIENTS, coalition=1)
    with pytest.raises(SettingsError, match="8 colluders"):
        images_needed(8, 8, 20)
