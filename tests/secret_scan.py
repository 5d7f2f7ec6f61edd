"""Does anything a tracking store keeps hold a secret, in the clear or in a common encoding?"""

from __future__ import annotations

import base64
import gzip
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

SQLITE_HEADER = b"SQLite format 3\0"


def find_secrets(store_dir: Path, needles: Iterable[bytes]) -> list[str]:
    """Look for secrets in every file below a folder.

    SQLite databases are also read row by row, because a long value is scattered over pages; zip and gzip files are
    opened. Each needle is looked for raw, in hexadecimal and in base64 at each of the three alignments.

    Args:
        store_dir: folder with databases, artifacts, anything.
        needles: secrets, at least 8 bytes each.

    Returns:
        One line a finding, `file: form of needle`; empty when nothing was found.
    """
    forms = [form for needle in needles for form in _forms(needle)]
    found: list[str] = []
    for path in sorted(item for item in store_dir.rglob("*") if item.is_file()):
        for content in _contents(path):
            lowered = content.lower()
            found += [f"{path}: {name}" for name, form, fold in forms if form in (lowered if fold else content)]
    return sorted(set(found))


def _forms(needle: bytes) -> Iterator[tuple[str, bytes, bool]]:
    if len(needle) < 8:
        raise ValueError("a needle under 8 bytes is found by chance")
    yield f"{needle[:4]!r}… raw", needle.lower(), True
    yield f"{needle[:4]!r}… hexadecimal", needle.hex().encode(), True
    for shift in range(3):
        # The first and last characters of base64 depend on the neighbouring bytes: leave them out.
        standard = base64.b64encode(bytes(shift) + needle)[4 if shift else 0 :].rstrip(b"=")[:-1]
        yield f"{needle[:4]!r}… base64", standard, False
        yield f"{needle[:4]!r}… base64", standard.replace(b"+", b"-").replace(b"/", b"_"), False


def _contents(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    yield data
    if data.startswith(SQLITE_HEADER):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            yield "\n".join(database.iterdump()).encode()
    elif data.startswith(b"\x1f\x8b"):
        yield gzip.decompress(data)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())
