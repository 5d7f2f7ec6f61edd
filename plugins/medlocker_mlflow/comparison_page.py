"""A comparison of runs as one HTML file that needs no other file, no script and no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import jinja2
import numpy as np
import numpy.typing as npt

from medlocker.imageio import write_atomic
from medlocker.reporting.pictures import data_uri
from medlocker_mlflow.comparing import RunComparison, RunFacts, Value, run_labels, sentences
from medlocker_mlflow.history import History

EXAMPLES = 6
"""Images shown side by side."""
SHARES = ("asr/", "accuracy/", "visible/mark_area", "visible/lesion_", "packet/share")
"""Beginnings of the names of metrics that are shares, shown in percent."""
_BAR = 8
"""px, width of the bars between the three panels of a logged comparison picture."""
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("medlocker.reporting"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
Example = tuple[str, list[tuple[str, str]]]


def write_comparison(path: Path, comparison: RunComparison, examples: Sequence[Example]) -> None:
    """Write the page; the file appears complete or not at all.

    Args:
        path: the HTML file; replaced when it exists.
        comparison: what to show.
        examples: from `side_by_side`.

    Raises:
        ReleaseError: the file cannot be written.
    """
    write_atomic(path, render_comparison(comparison, examples).encode())


def render_comparison(comparison: RunComparison, examples: Sequence[Example] = ()) -> str:
    """The page as HTML text; see `write_comparison`."""
    return _TEMPLATES.get_template("comparison.html.j2").render(
        title=" against ".join(comparison.labels),
        comparison=comparison,
        sentences=list(sentences(comparison)),
        examples=examples,
        setting=setting_text,
        outcome=outcome_text,
        percent=lambda rate: f"{rate:.1%}",
        points=lambda difference: f"{100 * difference:+.1f}",
        p_value=lambda p: f"{p:.2g}",
    )


def setting_text(value: str | None) -> str:
    """A setting as people read it: what was not logged and what was not set are told apart."""
    return "not logged" if value is None else value or "not set"


def outcome_text(name: str, value: Value | None) -> str:
    """A metric with its interval: shares in percent, everything else as a number."""
    if value is None:
        return "not measured"

    def number(amount: float) -> str:
        if name.startswith(SHARES):
            return f"{amount:.1%}"
        return f"{amount:,.4g}" if abs(amount) < 1e5 else f"{amount:,.0f}"

    interval = "" if value.low is None or value.high is None else f", {number(value.low)}–{number(value.high)}"
    count = "" if value.n is None else f" of {value.n}"
    return f"{number(value.value)}{count}{interval}"


def side_by_side(history: History, runs: Sequence[RunFacts]) -> list[Example]:
    """Images of which every run logged a comparison picture: the original, and the marks of each run.

    Args:
        history: where the runs are.
        runs: to compare.

    Returns:
        At most `EXAMPLES` entries: image name, [(caption, data URI)].
    """
    names = [set(history.picture_names(run)) for run in runs]
    examples: list[Example] = []
    for path in sorted(set.intersection(*names))[:EXAMPLES]:
        strips = [history.picture(run, path) for run in runs]
        pictures = [("original", data_uri(_panel(strips[0], 0)))]
        pictures += [(name, data_uri(_panel(strip, 1))) for name, strip in zip(run_labels(runs), strips, strict=True)]
        examples.append((PurePosixPath(path).stem, pictures))
    return examples


def _panel(strip: npt.NDArray[np.uint8], number: int) -> npt.NDArray[np.uint8]:
    """One of the panels original, marked, difference of `medlocker.reporting.comparison_picture`."""
    width = (strip.shape[1] - 2 * _BAR) // 3
    left = number * (width + _BAR)
    return strip[:, left : left + width]
