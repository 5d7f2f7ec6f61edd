from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from medlocker.errors import ImageReadError
from medlocker.metrics import AttackSuccess, GradeSuccess, Proportion
from medlocker.release import ReleaseImage, ReleaseManifest, SourceModel
from medlocker.reporting import ReportData, Sample, write_report
from medlocker.reporting.html import render_report

VOID = {"meta", "img", "br", "rect", "line", "circle", "polyline"}


class Page(HTMLParser):
    """Checks nesting while it collects what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag
        if tag in {"td", "th"}:
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in ([], ["style"]):
            self.text += data

    def tags(self, name: str) -> Iterator[dict[str, str]]:
        return (attributes for tag, attributes in self.seen if tag == name)

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def _image(index: int, outcome: str) -> ReleaseImage:
    return ReleaseImage(
        id=f"eye{index}", file=f"eye{index}.png", marked_sha256="a" * 64, packet="embedded", packet_bytes=100,
        file_bytes=1000, outcome=outcome, clean_confidence=0.9, final_confidence=0.2, queries=600 + index,
    )  # fmt: skip


@pytest.fixture(scope="module")
def manifest() -> ReleaseManifest:
    outcomes = ["fooled"] * 8 + ["not_fooled"] * 2 + ["clean_misread"]
    return ReleaseManifest(
        release_id="0" * 32, created_at=datetime(2026, 3, 4, 5, 6, tzinfo=UTC), medlocker_version="0.1.0",
        dataset="eyes", dataset_digest="d" * 64, placement="anywhere", search="basin_hopping", logo_scale=4,
        alpha_range=(100, 255), sources=(SourceModel(name="net-a", fingerprint="f" * 64, weight=1),),
        images=tuple(_image(index, outcome) for index, outcome in enumerate(outcomes)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def full(manifest: ReleaseManifest) -> ReportData:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 260, 3), dtype=np.uint8)
    cells = [
        AttackSuccess("net-b", "target", "searched", "per_model", "unconditional", Proportion(4, 10)),
        AttackSuccess("net-a", "source", "searched", "per_model", "unconditional", Proportion(8, 10)),
        AttackSuccess("net-a", "source", "random_single", "per_model", "unconditional", Proportion(1, 10)),
        AttackSuccess("net-b", "target", "searched", "common", "source_fooled", Proportion(3, 6)),
        AttackSuccess("net-b", "target", "box", "common", "source_fooled", Proportion(0, 0)),
    ]
    return ReportData(
        title="Eyes <1>",
        manifest=manifest,
        settings={"seed": 3, "logo": None, "resume": True, "sources": ["net-a"], "note": "<script>"},
        samples=[Sample(f"eye{i}", "mild", "fooled", pixels, 255 - pixels, 0.9, 0.2) for i in range(24)],
        attack_success=cells,
        by_grade=[GradeSuccess("net-a", "mild", Proportion(8, 10)), GradeSuccess("net-a", "severe", Proportion(0, 0))],
        clean_confidences=[0.9] * 11,
        final_confidences=[0.2] * 11,
        footprints=[(0.123456, 0.654321, 0.25, 0.25)] * 11,
        curve=[0.6, 0.4, 0.2],
        unlock_check=(11, 11),
        notes=["One file was left out."],
    )


@pytest.fixture(scope="module")
def page(full: ReportData) -> Page:
    return Page(render_report(full))


def test_the_outcome_comes_first_with_its_interval(page: Page) -> None:
    opening = page.words[: page.words.index("Release 0000")]
    assert (
        "8 of 10 images (80%, 95% interval 49% to 94%) that net-a read correctly are misread after marking." in opening
    )
    assert "net-b, which the search never asked, misreads 4 of 10 (40%)." in opening
    assert "All 11 originals were restored bit for bit." in opening


def test_it_needs_no_other_file_no_script_and_no_network(page: Page) -> None:
    assert list(page.tags("script")) == list(page.tags("link")) == []
    addresses = [value for _, attributes in page.seen for name, value in attributes.items() if name in {"src", "href"}]
    assert len(addresses) == 72
    assert all(address.startswith("data:image/") for address in addresses)


def test_every_picture_and_table_can_be_read_aloud(page: Page) -> None:
    assert all(attributes["alt"] for attributes in page.tags("img"))
    assert all(attributes.get("aria-label") or attributes.get("aria-hidden") for attributes in page.tags("svg"))
    assert all(attributes["scope"] in {"row", "col", "rowgroup"} for attributes in page.tags("th"))


def test_sources_come_before_targets_and_empty_cells_are_left_out(page: Page) -> None:
    table = page.words[page.words.index("How often networks") :]
    assert table.index("net-a source, asked by the search") < table.index("net-b target, never asked")
    assert "those common to all networks that fooled the sources the search 3 of 6 50.0% 18.8% to 81.2%" in table
    assert "plain box" not in table


def test_a_class_without_images_says_so(page: Page) -> None:
    assert "severe net-a no image of this class was read correctly before" in page.words


def test_text_from_outside_is_escaped_and_settings_read_naturally(page: Page) -> None:
    assert "Eyes <1>" in page.words
    assert "seed 3 logo not set resume yes sources net-a note <script>" in page.words


def test_no_position_of_an_image_can_be_read_from_the_page(full: ReportData) -> None:
    text = render_report(full)
    assert all(str(number) not in text for number in (0.123456, 0.654321))
    cells = [attributes for attributes in Page(text).tags("rect") if attributes["class"] == "heat"]
    assert cells
    assert all(float(cell["x"]) % 10 == 0 for cell in cells if float(cell["y"]) < 240)
    single = render_report(replace(full, footprints=full.footprints[:9]))
    assert "Where logos landed" in text
    assert "Where logos landed" not in single
    assert "would show single positions" in single


def test_a_page_of_24_samples_stays_small(full: ReportData, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", full)  # noise: the least compressible pictures there are
    assert (tmp_path / "report.html").stat().st_size < 5_000_000


SECTIONS = {
    "samples": "What the marks look like",
    "attack_success": "How often networks misread",
    "by_grade": "By class",
    "curve": "Progress of the search",
    "clean_confidences": "Confidence before and after",
    "settings": "Settings of the run",
    "notes": "Notes",
}


@pytest.mark.parametrize("field", SECTIONS)
def test_a_section_without_data_vanishes(full: ReportData, page: Page, field: str) -> None:
    assert SECTIONS[field] in page.words
    without = Page(render_report(replace(full, **{field: {} if field == "settings" else ()})))
    assert SECTIONS[field] not in without.words


def test_the_least_a_report_can_be(manifest: ReleaseManifest) -> None:
    bare = Page(render_report(ReportData("Bare", manifest.model_copy(update={"images": ()}), {})))
    assert "0 images marked; net-a read none of them correctly before." in bare.words
    assert "Unlock check" not in bare.words
    assert "What this report does not promise" in bare.words


def test_an_incomplete_unlock_is_not_dressed_up(full: ReportData) -> None:
    words = Page(render_report(replace(full, unlock_check=(10, 11)))).words
    assert "Only 10 of 11 originals could be restored." in words
    assert "Keep the originals" in words
    assert "All 11" not in words


def test_without_labels_nothing_is_called_correct_in_the_outcome(full: ReportData) -> None:
    words = Page(render_report(replace(full, labelled=False))).words
    assert "are read as another class by net-a after marking. The data set has no labels." in words


def test_a_report_that_cannot_be_made_leaves_the_old_one(full: ReportData, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    odd = replace(full.samples[0], marked=np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(ImageReadError):
        write_report(path, replace(full, samples=[odd]))
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]
