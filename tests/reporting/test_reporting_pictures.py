from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medlocker.errors import ImageReadError
from medlocker.reporting import Sample, comparison_picture
from medlocker.reporting.pictures import data_uri, difference, shrunk


def _flat(value: int, shape: tuple[int, int] = (6, 4)) -> np.ndarray:
    return np.full((*shape, 3), value, dtype=np.uint8)


@given(st.integers(0, 255), st.integers(0, 255))
def test_the_difference_is_grey_lighter_or_darker_and_never_clipped(before: int, after: int) -> None:
    value = int(difference(_flat(before), _flat(after))[0, 0, 0])
    assert value == 128 + (after - before) // 2
    assert 0 <= value <= 255


def test_images_of_different_size_have_no_difference() -> None:
    with pytest.raises(ImageReadError, match="differ in size"):
        difference(_flat(0), _flat(0, (4, 6)))


def test_a_comparison_shows_three_panels_in_order() -> None:
    picture = comparison_picture(Sample("a", "x", "fooled", _flat(10), _flat(110), 0.9, 0.1))
    assert picture.shape == (6, 3 * 4 + 16, 3)
    assert [int(picture[0, column, 0]) for column in (0, 3, 4, 11, 12, 15, 16, 24, 27)] == [
        10, 10, 255, 255, 110, 110, 255, 178, 178,
    ]  # fmt: skip


def test_a_large_image_is_shrunk_and_keeps_its_proportions() -> None:
    picture = comparison_picture(Sample("a", "x", "fooled", _flat(0, (1024, 2048)), _flat(0, (1024, 2048)), 1, 0))
    assert picture.shape == (256, 3 * 512 + 16, 3)
    assert shrunk(_flat(0, (1, 4000)), 100).shape == (1, 100, 3)


def test_a_small_image_is_not_enlarged() -> None:
    assert shrunk(_flat(7), 240).shape == (6, 4, 3)


def test_a_thumbnail_is_a_jpeg_that_needs_no_file() -> None:
    head, _, body = data_uri(_flat(200, (300, 480))).partition(",")
    assert head == "data:image/jpeg;base64"
    thumbnail = Image.open(io.BytesIO(base64.b64decode(body)))
    assert thumbnail.size == (240, 150)
    assert abs(int(np.asarray(thumbnail)[75, 120, 0]) - 200) <= 2
