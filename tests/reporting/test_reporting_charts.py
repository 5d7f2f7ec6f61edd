from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from medlocker.metrics import Proportion
from medlocker.reporting import charts

unit = st.floats(0, 1)


def _elements(drawing: Markup, tag: str, style: str) -> list[ET.Element]:
    return [
        element for element in ET.fromstring(drawing).iter(tag) if (element.get("class") or "").split()[:1] == [style]
    ]


@given(st.lists(st.tuples(unit, unit, unit, unit), min_size=1, max_size=20))
def test_coverage_is_a_share_and_keeps_the_covered_area(corners: list[tuple[float, float, float, float]]) -> None:
    boxes = [(min(a, b), min(c, d), abs(a - b), abs(c - d)) for a, b, c, d in corners]
    shares = charts.coverage(boxes)
    assert shares.min() >= 0
    assert shares.max() <= 1 + 1e-9
    assert shares.mean() == pytest.approx(np.mean([box[2] * box[3] for box in boxes]), abs=1e-9)


def test_coverage_by_hand() -> None:
    shares = charts.coverage([(0, 0, 0.5, 1), (0.5, 0, 0.5, 0.5)])
    assert np.allclose(shares[:12], 0.5)
    assert np.allclose(shares[12:, :12], 0.5)
    assert np.allclose(shares[12:, 12:], 0)


def test_an_interval_bar_is_as_long_as_the_rate_and_spans_the_interval() -> None:
    share = Proportion(30, 40)
    drawing = charts.interval_bar(share)
    (bar,) = _elements(drawing, "rect", "bar")
    span = _elements(drawing, "line", "whisker")[0]
    assert float(bar.get("width", 0)) == 150
    assert [float(span.get(end, 0)) / 200 for end in ("x1", "x2")] == pytest.approx(share.interval, abs=1e-4)


@given(st.lists(unit, min_size=1), st.lists(unit, min_size=1))
def test_histogram_bars_are_proportional_to_counts(clean: list[float], final: list[float]) -> None:
    drawing = charts.confidence_histograms(clean, final)
    counts = {
        "before": np.histogram(clean, charts.HISTOGRAM_BINS, (0, 1))[0],
        "after": np.histogram(final, charts.HISTOGRAM_BINS, (0, 1))[0],
    }
    tallest = max(count.max() for count in counts.values())
    for style, count in counts.items():
        heights = [float(bar.get("height", 0)) for bar in _elements(drawing, "rect", style)]
        assert np.allclose(heights, 78 * count / tallest, atol=0.006)


def test_the_curve_starts_and_ends_where_the_values_do() -> None:
    (path,) = _elements(charts.search_curve([1.0, 0.5, 0.0]), "polyline", "curve")
    points = [tuple(map(float, point.split(","))) for point in path.get("points", "").split()]
    assert [y for _, y in points] == [16, 108, 200]
    assert points[1][0] == pytest.approx((points[0][0] + points[2][0]) / 2)


def test_every_chart_has_a_name_for_those_who_cannot_see_it() -> None:
    drawings = [
        charts.search_curve([0.5, 0.25]),
        charts.confidence_histograms([0.9], [0.1]),
        charts.heat_map([(0, 0, 1, 1)]),
    ]
    names = [ET.fromstring(drawing).get("aria-label") for drawing in drawings]
    assert names == [
        "Mean confidence by generation, from 50.0% to 25.0%",
        "Histograms of confidence: median 90% before and 10% after marking",
        "Map of where logos landed; the part covered most often is covered on 100% of the images",
    ]


def test_text_in_a_chart_is_escaped() -> None:
    assert "<b>" not in charts.text("name", 0, 0, "<b>")
