"""Leaked copies, from pixels to names: damaged, renamed, mixed, averaged; the release itself; foreign files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from traced_release import Traced, make_traced, picture

from medlocker.audit import TraceReported
from medlocker.errors import ReleaseError, SettingsError
from medlocker.imageio import read_image
from medlocker.jobs.editions import EditionRequest, make_edition
from medlocker.jobs.progress import SilentProgress
from medlocker.jobs.tracing import TraceReport, TraceRequest, run_trace
from medlocker.tracing import attacks
from medlocker.tracing.presence import chance_bound

NAMES = ("Ada", "Ben", "Cem", "Dora")


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    made = make_traced(tmp_path_factory.mktemp("traced"), 24)
    for name in NAMES:
        request = EditionRequest(made.root / name, made.root / f"{name}.owner", made.recipient(name), workers=1)
        make_edition(made.copy, request, made.ledger, SilentProgress())
    return made


def trace(traced: Traced, path: Path, **more) -> TraceReport:
    return run_trace(traced.copy, TraceRequest(path, **more), traced.ledger, SilentProgress())


def accused(report: TraceReport) -> set[str]:
    return {one.recipient for one in report.accused}


def leak(traced: Traced, folder: Path, change, count: int = 24, *, names: str = "p{:02}") -> Path:
    """Write `change(image number, its pixels in each edition)` for the first images, as PNG."""
    folder.mkdir()
    for number, image in enumerate(traced.copy.vault.images[:count]):
        copies = {name: read_image(traced.root / name / image.file).pixels for name in NAMES}
        Image.fromarray(change(number, copies)).save(folder / f"{names.format(number)}.png")
    return folder


def test_an_edition_as_it_was_given_names_its_recipient(traced: Traced) -> None:
    report = trace(traced, traced.root / "Ben")
    assert accused(report) == {"Ben"}
    assert all(one.exact and one.found_by == "name" for one in report.files)
    assert (report.images, report.suspects[0].matches) == (24, 24)
    assert not report.release_itself.named


def test_what_is_recorded_is_what_was_found(traced: Traced) -> None:
    report = trace(traced, traced.root / "Ben")
    event = traced.ledger.events()[-1]
    details = event.details
    assert isinstance(details, TraceReported) and event.sequence + 1 == report.tree_size
    assert [one.recipient for one in details.accused] == ["Ben"]
    assert (details.evidence_sha256, details.images) == (report.evidence_sha256, 24)
    assert details.release_itself is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda pixels, rng: attacks.jpeg(pixels, 60),
        lambda pixels, rng: attacks.resize(pixels, 2.0),
        lambda pixels, rng: attacks.grey(pixels),
    ],
)
def test_damaged_copies_without_their_names_name_their_recipient(traced: Traced, tmp_path: Path, damage) -> None:
    rng = np.random.default_rng(0)
    folder = leak(traced, tmp_path / "leak", lambda _n, c: damage(c["Cem"], rng), 12, names="scan{}")
    report = trace(traced, folder)
    assert accused(report) == {"Cem"}
    assert {one.found_by for one in report.files if one.image} == {"content"}


def test_two_who_average_are_both_named(traced: Traced, tmp_path: Path) -> None:
    folder = leak(traced, tmp_path / "leak", lambda _n, c: attacks.average([c["Ada"], c["Dora"]]))
    assert accused(trace(traced, folder)) == {"Ada", "Dora"}


def test_of_two_who_mix_at_least_one_is_named_and_nobody_else(traced: Traced, tmp_path: Path) -> None:
    folder = leak(traced, tmp_path / "leak", lambda n, c: c[("Ada", "Dora")[n % 2]])
    found = accused(trace(traced, folder, epsilon=0.05))
    assert found and found <= {"Ada", "Dora"}


def test_where_two_splice_their_copies_no_mark_is_left_and_nobody_is_named(traced: Traced, tmp_path: Path) -> None:
    """The marking assumption does not hold then: each copy shows what the other's mark covers."""
    originals = list(traced.originals.values())
    folder = leak(traced, tmp_path / "leak", lambda n, _c: originals[n])
    report = trace(traced, folder)
    assert report.counts == {"no_mark": 24} and report.suspects[0].p_false == 1.0 and not report.accused


def test_the_release_itself_is_recognised_and_nobody_is_accused(traced: Traced, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "leak"
    folder.mkdir()
    for image in traced.copy.vault.images:
        pixels = attacks.jpeg(read_image(traced.root / "rel" / image.file).pixels, 70)
        Image.fromarray(pixels).save(folder / f"{rng.integers(1 << 30)}.png")
    for path in (traced.root / "rel", folder):
        report = trace(traced, path)
        assert report.release_itself.named and report.release_itself.matches == 24 and not report.accused
    assert traced.ledger.events()[-1].details.release_itself < 1e-3


def test_files_that_say_nothing_are_named_with_the_reason(traced: Traced, tmp_path: Path) -> None:
    folder = leak(traced, tmp_path / "leak", lambda n, c: c["Ada"], 8)
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not looked at")
    Image.fromarray(picture(np.random.default_rng(99))).save(folder / "foreign.png")
    Image.fromarray(next(iter(traced.originals.values()))).save(folder / "clean.png")
    report = trace(traced, folder)
    told = {one.file: (one.status, bool(one.message)) for one in report.files}
    assert told.pop("broken.png") == ("unreadable", True)
    assert told.pop("foreign.png") == ("foreign", True)
    assert told.pop("clean.png") == ("no_mark", True)
    assert set(told.values()) == {("read", False)} and len(told) == 8
    assert accused(report) == {"Ada"}


def test_one_image_accuses_nobody(traced: Traced) -> None:
    report = trace(traced, traced.root / "Ada" / "p00.png")
    assert len(report.files) == 1 and not report.accused and report.suspects[0].p_false > 1e-3


def test_the_same_image_many_times_counts_once(traced: Traced, tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes((traced.root / "Ada" / "p00.png").read_bytes())
    report = trace(traced, tmp_path)
    assert (len(report.files), report.images) == (12, 1) and not report.accused


def test_bad_questions_are_refused(traced: Traced, tmp_path: Path) -> None:
    for path, words in ((tmp_path, "no image to examine"), (tmp_path / "none", "no such file or folder")):
        with pytest.raises(ReleaseError, match=words):
            trace(traced, path)
    with pytest.raises(SettingsError, match="--epsilon 0"):
        trace(traced, traced.root / "Ada", epsilon=0)


def test_chance_bounds_cover_the_exact_probability() -> None:
    rng = np.random.default_rng(1)
    chances = rng.uniform(0.05, 0.5, 30)
    for others in (1, 3):
        either = 1 - (1 - chances) ** others
        matches = (rng.random((20000, 30)) < either).sum(1)
        for k in range(0, 31, 5):
            assert chance_bound(chances, k, others) >= (matches >= k).mean() - 0.01
    assert chance_bound([0.2] * 10, 10) == pytest.approx(0.2**10, rel=1e-3)
    assert chance_bound([], 0) == 1.0
    assert chance_bound([0.0] * 3, 3) < 1e-12
