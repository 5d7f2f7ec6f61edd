"""The report: one HTML file that needs no other file, no script and no network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from medlocker.imageio.writing import write_atomic
from medlocker.metrics import AttackSuccess, GradeSuccess, Proportion
from medlocker.reporting import charts, wording
from medlocker.reporting.data import ReportData, Sample
from medlocker.reporting.pictures import data_uri, panels

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("medlocker.reporting"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_report(path: Path, data: ReportData) -> None:
    """Write the report; the file appears complete or not at all.

    It shows small pictures of originals: it belongs to the owner and does not travel with the release. It never shows
    an image's opacity or position.

    Args:
        path: the HTML file; replaced when it exists.
        data: what to show.

    Raises:
        ImageReadError: a sample's original and marked image differ in size.
        ReleaseError: the file cannot be written.
    """
    write_atomic(path, render_report(data).encode())


def render_report(data: ReportData) -> str:
    """The report as HTML text; see `write_report`."""
    return _TEMPLATES.get_template("report.html.j2").render(
        data=data,
        manifest=data.manifest,
        outcome=wording.outcome_sentences(data),
        tiles=_tiles(data),
        cards=[_card(sample) for sample in data.samples],
        headline=_by_network([cell for cell in data.attack_success if wording.is_headline(cell)]),
        further=_by_network(
            [cell for cell in data.attack_success if cell.proportion.n and not wording.is_headline(cell)]
        ),
        grades=_grades(data.by_grade),
        figures=_figures(data),
        map_withheld=0 < len(data.footprints) < charts.FEWEST_FOR_HEAT_MAP,
        wording=wording,
        interval_bar=charts.interval_bar,
        percent=_percent,
    )


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _tiles(data: ReportData) -> list[tuple[str, str, str]]:
    """(figure, what it counts, in more detail) of each tile at the top."""
    images, share = data.manifest.images, wording.fooled(data.manifest)
    tiles = [(f"{len(images):,}", "images locked", _left_out(data))]
    if share.n:
        low, high = share.interval
        tiles.append(
            (f"{share.rate:.0%}", "misread by the sources", f"{share.k} of {share.n}; {100 * low:.0f}–{high:.0%}")
        )
    for cell in wording.headline_targets(data.attack_success)[:2]:
        low, high = cell.proportion.interval
        detail = f"{cell.proportion.k} of {cell.proportion.n}; {100 * low:.0f}–{high:.0%}"
        tiles.append((f"{cell.proportion.rate:.0%}", f"misread by {cell.network}", detail))
    if data.unlock_check:
        tiles.append(("{}/{}".format(*data.unlock_check), "restored bit for bit", "pixels compared by SHA-256"))
    if images:
        tiles.append(
            (f"{np.mean([image.queries for image in images]):,.0f}", "queries an image", "mean over all images")
        )
        packets, files = sum(image.packet_bytes for image in images), sum(image.file_bytes for image in images)
        tiles.append(
            (f"{packets / max(files, 1):.1%}", "of the files is recovery data", f"{files / 1e6:,.1f} MB in all")
        )
    return tiles


def _left_out(data: ReportData) -> str:
    before = sum(image.outcome == "clean_misread" for image in data.manifest.images)
    parts = [f"{before} misread before marking"] if before else []
    parts += [f"{len(data.manifest.infeasible)} without a position"] if data.manifest.infeasible else []
    return ", ".join(parts) or "none left out"


def _card(sample: Sample) -> dict[str, object]:
    return {
        "sample": sample,
        "outcome": wording.OUTCOMES[sample.outcome],
        "pictures": list(zip(("original", "marked", "difference"), map(data_uri, panels(sample)), strict=True)),
    }


def _by_network(cells: list[AttackSuccess]) -> list[tuple[str, str, list[AttackSuccess]]]:
    """(network, role, its cells), sources first; cells in the order of `wording`."""
    networks = list(dict.fromkeys(cell.network for cell in cells))
    methods, counted = list(wording.METHODS), list(wording.COUNTED)

    def order(cell: AttackSuccess) -> tuple[bool, int, int, int]:
        ways = counted.index((cell.basis, cell.condition)), methods.index(cell.method)
        return cell.role == "target", networks.index(cell.network), *ways

    groups = groupby(sorted(cells, key=order), key=lambda cell: (cell.network, cell.role))
    return [(network, role, list(group)) for (network, role), group in groups]


def _grades(cells: Sequence[GradeSuccess]) -> dict[str, dict[str, Proportion]]:
    """Grade → network → attack success, grades and networks in the order they came."""
    table: dict[str, dict[str, Proportion]] = {}
    for cell in cells:
        table.setdefault(cell.grade, {})[cell.network] = cell.proportion
    return table


def _figures(data: ReportData) -> dict[str, tuple[Markup, str]]:
    """Heading → (chart, caption) of each chart there are data for."""
    figures: dict[str, tuple[Markup, str]] = {}
    if len(data.clean_confidences) and len(data.final_confidences):
        chart = charts.confidence_histograms(data.clean_confidences, data.final_confidences)
        figures["Confidence before and after"] = (
            chart,
            "Number of images by the sources' mean probability of the class to leave.",
        )
    if len(data.curve) > 1:
        caption = (
            "Mean probability of the class to leave, for the best mark found so far; generation 0 is the random start."
        )
        figures["Progress of the search"] = charts.search_curve(data.curve), caption
    if len(data.footprints) >= charts.FEWEST_FOR_HEAT_MAP:
        caption = (
            f"Share of {len(data.footprints):,} images on which the logo covers a part of the frame, on a coarse grid."
        )
        figures["Where logos landed"] = charts.heat_map(data.footprints), caption
    return figures
