from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

from medlocker_mlflow.names import component, cut, setting_text, stored_name, stored_names


@given(st.text())
def test_every_stored_name_is_accepted_by_mlflow(name: str) -> None:
    plain = stored_name(name)
    _validate_metric_name(plain)
    _validate_param_name("cfg/" + plain)
    _validate_tag_name(plain)


@given(st.text())
def test_a_component_is_one_level(name: str) -> None:
    assert "/" not in component(name)
    assert stored_name(component(name)) == component(name)


def test_names_of_the_vocabulary_stay_as_they_are() -> None:
    for name in ("asr/source/resnet18", "asr/transfer/vit_small.onnx/lo", "cost/seconds_per_image"):
        assert stored_name(name) == name


def test_a_model_uri_becomes_one_readable_level() -> None:
    assert component("models:/grader@champion") == "models__grader_champion"


def test_names_that_would_merge_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a:b, a@b"):
        stored_names(["a@b", "a:b", "c"])


@given(st.text(max_size=400), st.integers(100, 200))
def test_cut_keeps_the_limit_and_short_text(text: str, limit: int) -> None:
    result = cut(text, limit)
    assert len(result) <= limit
    assert (result == text) == (len(text) <= limit)


def test_cut_text_says_so_and_carries_a_digest_of_the_whole() -> None:
    text = "abc" * 1000
    result = cut(text, 200)
    assert result.startswith("abcabc")
    assert "cut: 3000 characters" in result
    assert hashlib.sha256(text.encode()).hexdigest()[:16] in result


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (0.001, "0.001"),
        (Path("a/b"), "a/b"),
        (("a", 2, None), "a,2,"),
        ({"resnet18": 0.25}, "resnet18=0.25"),
    ],
)
def test_settings_read_like_the_options_they_came_from(value: object, text: str) -> None:
    assert setting_text(value) == text
