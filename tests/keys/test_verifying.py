"""Checking a release without any secret, and reading its manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import test_unlocking as faults
from example_release import Example

from medlocker.errors import ReleaseError
from medlocker.keys import load_manifest, verify_release
from medlocker.release import MANIFEST_NAME, path_inside

# A flipped bit in a sealed body, and a foreign secret, show only to whoever has the key.
NEEDS_A_KEY = {faults._flip_a_bit_of_the_packet, faults._take_packet_under_another_secret}


def test_a_whole_release_is_as_released(example: Example) -> None:
    report = verify_release(example.folder)
    assert report.ok and len(report.images) == 4 and report.extra_files == ()
    assert not any(image.message for image in report.images)


@pytest.mark.parametrize(
    ("fault", "error"),
    [pair for pair in faults.FAULTS.items() if pair[0] not in NEEDS_A_KEY],
    ids=[fault.__name__.lstrip("_") for fault in faults.FAULTS if fault not in NEEDS_A_KEY],
)
def test_a_fault_is_named(example: Example, fault: Callable[[Example], None], error: str) -> None:
    fault(example)
    report = verify_release(example.folder)
    assert not report.ok
    assert {image.id: image.error for image in report.images}["a"] == error


@pytest.mark.parametrize("fault", NEEDS_A_KEY)
def test_what_needs_a_key_is_not_claimed(example: Example, fault: Callable[[Example], None]) -> None:
    fault(example)
    assert verify_release(example.folder).ok


def test_extra_files_are_named_and_no_fault(example: Example) -> None:
    (example.folder / "sub" / "report.html").write_text("x")
    (example.folder / "a.png.mlrp").write_text("x")
    report = verify_release(example.folder)
    assert report.ok and report.extra_files == ("a.png.mlrp", "sub/report.html")


def _manifest(example: Example) -> dict[str, object]:
    return dict(json.loads((example.folder / MANIFEST_NAME).read_bytes()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a valid manifest"),
        (b"{}", "release_id"),
        (b'{"schema_version":"medlocker.release/9"}', "update MedLocker"),
    ],
    ids=["empty", "cut", "binary", "deep", "list", "fields", "newer"],
)
def test_what_is_no_manifest_is_refused(example: Example, content: bytes, message: str) -> None:
    (example.folder / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(ReleaseError, match=message):
        load_manifest(example.folder)


@pytest.mark.parametrize(
    "file", ["../a.png", "/etc/passwd", "sub/../../a.png", "sub\\b.png", "a\n.png", "", "C:/a.png"]
)
def test_a_manifest_cannot_name_files_elsewhere(example: Example, file: str) -> None:
    manifest = _manifest(example)
    manifest["images"][0]["file"] = file  # type: ignore[index]
    (example.folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(ReleaseError, match=r"images\.0\.file"):
        load_manifest(example.folder)


def test_a_manifest_cannot_name_an_image_twice(example: Example) -> None:
    manifest = _manifest(example)
    manifest["images"] = [manifest["images"][0]] * 2  # type: ignore[index]
    (example.folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(ReleaseError, match="named twice"):
        load_manifest(example.folder)


def test_a_huge_manifest_is_refused_before_it_is_read(example: Example) -> None:
    with (example.folder / MANIFEST_NAME).open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(ReleaseError, match="1 GiB"):
        load_manifest(example.folder)


def test_paths_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert path_inside(tmp_path / "in", "a/b.png") == tmp_path / "in" / "a" / "b.png"
    with pytest.raises(ReleaseError):
        path_inside(tmp_path / "in", "../b.png")
