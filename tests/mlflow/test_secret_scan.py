from __future__ import annotations

import base64
import gzip
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from secret_scan import find_secrets

NEEDLE = b"AGE-SECRET-KEY-1QQPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"


def _database(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("create table params (value text)")
        # Placed so that the value crosses the 4096-byte page boundary, where raw bytes are interrupted.
        for filler in range(4000, 4100, 8):
            database.execute("insert into params values (?)", ("x" * filler + NEEDLE.decode(),))


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.txt", NEEDLE)


HIDING_PLACES: dict[str, Callable[[Path], object]] = {
    "raw": lambda path: path.write_bytes(b"abc" + NEEDLE),
    "lower case": lambda path: path.write_bytes(NEEDLE.lower()),
    "hexadecimal": lambda path: path.write_text(NEEDLE.hex().upper()),
    "base64": lambda path: path.write_bytes(base64.b64encode(NEEDLE)),
    "base64, shifted by one": lambda path: path.write_bytes(base64.b64encode(b"x" + NEEDLE + b"yz")),
    "base64, shifted by two": lambda path: path.write_bytes(base64.urlsafe_b64encode(b"xy" + NEEDLE + b"z")),
    "gzip": lambda path: path.write_bytes(gzip.compress(NEEDLE)),
    "zip": _zip,
    "database": _database,
}


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_a_secret_is_found_wherever_it_hides(tmp_path: Path, place: str) -> None:
    (tmp_path / "deep").mkdir()
    HIDING_PLACES[place](tmp_path / "deep" / "file")
    assert find_secrets(tmp_path, [NEEDLE])


def test_other_content_is_no_finding(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(NEEDLE[:-1] + b"age1public")
    assert find_secrets(tmp_path, [NEEDLE]) == []


def test_a_needle_that_chance_would_find_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ValueError, match="under 8 bytes"):
        find_secrets(tmp_path, [b"short"])
