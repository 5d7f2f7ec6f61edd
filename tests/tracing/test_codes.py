"""The code: deterministic, independent, with the biases it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medlocker.errors import SettingsError
from medlocker.tracing.codes import BIAS_UNITS, CUTOFF, TracingCode

SECRET = bytes(range(32))


def code_of(sizes: list[int], secret: bytes = SECRET, release: str = "r") -> TracingCode:
    return TracingCode(secret, release, {f"image {n}": size for n, size in enumerate(sizes)})


@given(st.binary(min_size=16, max_size=40), st.text(max_size=8), st.integers(1, 40))
def test_biases_are_a_distribution_with_a_floor(secret, image_id, size):
    units = TracingCode(secret, "r", {image_id: size}).units(image_id)
    assert sum(units) == BIAS_UNITS
    assert len(units) == size
    assert min(units) >= int(CUTOFF / size * BIAS_UNITS)


def test_large_alphabets_are_uniform_and_small_ones_are_not():
    code = code_of([8, 3, 1])
    assert set(code.units("image 0")) == {BIAS_UNITS // 8}
    assert max(code.units("image 1")) - min(code.units("image 1")) > BIAS_UNITS // 50
    assert code.units("image 2") == (BIAS_UNITS,)


@given(st.integers(0, 10**6))
def test_a_word_is_the_same_again_whatever_else_is_asked(recipient):
    code = code_of([8, 2, 5, 1, 8])
    word = code.symbols(recipient, list(code.sizes))
    for n, (image_id, size) in enumerate(code.sizes.items()):
        assert code.symbols(recipient, [image_id]) == (word[n],)
        assert 0 <= word[n] < size


def test_secret_release_and_recipient_each_give_other_words():
    sizes = [8] * 200
    ids = list(code_of(sizes).sizes)
    words = [
        code_of(sizes).symbols(0, ids),
        code_of(sizes).symbols(1, ids),
        code_of(sizes, release="s").symbols(0, ids),
        code_of(sizes, secret=bytes(32)).symbols(0, ids),
    ]
    for n, first in enumerate(words):
        for second in words[:n]:
            agree = sum(a == b for a, b in zip(first, second, strict=True))
            assert agree < stats.binom.isf(1e-9, 200, 1 / 8)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_symbols_follow_their_biases(size):
    code = code_of([size])
    counts = np.bincount([code.symbols(r, ["image 0"])[0] for r in range(4000)], minlength=size)
    assert stats.chisquare(counts, 4000 * code.biases("image 0")).pvalue > 1e-4


def test_foreign_images_negative_indices_and_short_secrets_are_refused():
    code = code_of([8])
    with pytest.raises(SettingsError, match="other"):
        code.symbols(0, ["other"])
    with pytest.raises(SettingsError, match="-1"):
        code.symbols(-1, ["image 0"])
    with pytest.raises(SettingsError, match="16 bytes"):
        code_of([8], secret=b"short").symbols(0, ["image 0"])


def test_the_secret_is_not_shown():
    assert repr(SECRET) not in repr(code_of([8]))
