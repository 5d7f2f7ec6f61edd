"""Is this folder that copy? Identical, altered, another's, or not to be told; with and without the owner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from traced_release import Traced, make_traced, picture

from medlocker.errors import ReleaseError
from medlocker.imageio import read_image
from medlocker.jobs.comparing import ComparisonReport, compare_publicly, compare_with_secrets, release_vault
from medlocker.jobs.editions import EditionRequest, make_edition
from medlocker.jobs.progress import SilentProgress
from medlocker.keys.copies import open_copy
from medlocker.tracing import attacks


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    made = make_traced(tmp_path_factory.mktemp("compared"), 12, silent=2)
    for name in ("Ada", "Ben"):
        request = EditionRequest(made.root / name, made.root / f"{name}.owner", made.recipient(name), workers=1)
        make_edition(made.copy, request, made.ledger, SilentProgress())
    return made


def compare(traced: Traced, path: Path, name: str) -> ComparisonReport:
    copy = open_copy(traced.root / name, traced.root / f"{name}.owner", traced.owner.identity)
    vault = release_vault(copy, traced.owner.identity)
    return compare_with_secrets(path, copy, vault, SilentProgress())


def altered(traced: Traced, name: str, folder: Path, change, count: int = 12) -> Path:
    folder.mkdir()
    for number, image in enumerate(traced.copy.vault.images[:count]):
        pixels = change(read_image(traced.root / name / image.file).pixels)
        Image.fromarray(pixels).save(folder / f"x{number}.png")
    return folder


@pytest.mark.parametrize("name", ["rel", "Ada", "Ben"])
def test_a_copy_is_itself_and_no_other(traced: Traced, name: str) -> None:
    for other in ("rel", "Ada", "Ben"):
        report, public = compare(traced, traced.root / other, name), compare_publicly(
            traced.root / other, traced.root / name
        )  # fmt: skip
        assert report.verdict == ("identical" if other == name else "other")
        assert public.verdict == ("identical" if other == name else "unproved")
        assert report.recipient == (None if name == "rel" else name)
    same = compare(traced, traced.root / name, name)
    assert (same.present, same.images, same.counts) == (12, 12, {"identical": 12})
    assert same.p_other == pytest.approx(0.2**10, rel=1e-2)


@pytest.mark.parametrize("change", [lambda p: attacks.jpeg(p, 60), lambda p: attacks.resize(p, 1.5), attacks.grey])
def test_altered_copies_are_told_by_their_marks(traced: Traced, tmp_path: Path, change) -> None:
    folder = altered(traced, "Ada", tmp_path / "leak", change)
    report = compare(traced, folder, "Ada")
    assert report.verdict == "lossy" and report.p_other < 1e-4
    assert report.counts == {"same_mark": 10, "says_nothing": 2}
    assert compare(traced, folder, "Ben").verdict == "other"
    assert compare_publicly(folder, traced.root / "Ada").counts == {"differs": 12}


def test_renamed_files_are_identical_all_the_same(traced: Traced, tmp_path: Path) -> None:
    folder = altered(traced, "Ada", tmp_path / "leak", lambda p: p, 7)
    report, public = compare(traced, folder, "Ada"), compare_publicly(folder, traced.root / "Ada")
    assert (report.verdict, report.present, public.verdict, public.present) == ("identical", 7, "identical", 7)


def test_too_few_images_and_foreign_ones_prove_nothing(traced: Traced, tmp_path: Path) -> None:
    few = altered(traced, "Ada", tmp_path / "few", lambda p: attacks.jpeg(p, 60), 2)
    assert compare(traced, few, "Ada").verdict == "unproved"
    many = altered(traced, "Ada", tmp_path / "many", lambda p: attacks.jpeg(p, 60))
    Image.fromarray(picture(np.random.default_rng(77))).save(many / "foreign.png")
    report = compare(traced, many, "Ada")
    assert report.verdict == "unproved" and report.counts["foreign"] == 1


def test_the_release_behind_an_edition_must_be_at_hand(traced: Traced, tmp_path: Path) -> None:
    copy = open_copy(traced.root / "Ada", traced.root / "Ada.owner", traced.owner.identity)
    with pytest.raises(ReleaseError, match="no such file"):
        release_vault(copy, traced.owner.identity, tmp_path)
    with pytest.raises(ReleaseError, match="--release-owner-dir"):
        release_vault(copy, traced.owner.identity, traced.root / "Ben.owner")
