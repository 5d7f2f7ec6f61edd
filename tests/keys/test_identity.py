"""Identity files."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from medlocker.errors import IdentityError
from medlocker.keys import load_identity, new_identity, parse_recipient
from medlocker.sealing import open_with, seal_to


def test_an_identity_file_is_what_age_keygen_writes(tmp_path: Path) -> None:
    made = new_identity(tmp_path / "me.txt")
    text = (tmp_path / "me.txt").read_text()
    created, public, secret = (
        r"# created: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
        "age1[a-z0-9]{58}",
        "AGE-SECRET-KEY-1[A-Z0-9]{58}",
    )
    match = re.fullmatch(f"{created}\n# public key: ({public})\n({secret})\n", text)
    assert match and match.groups() == (made.public_key, made.secret)
    assert stat.S_IMODE((tmp_path / "me.txt").stat().st_mode) == 0o600


def test_it_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        new_identity(tmp_path / "me.txt")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "me.txt").stat().st_mode) == 0o600


def test_a_loaded_identity_opens_what_was_sealed_to_it(tmp_path: Path) -> None:
    made = new_identity(tmp_path / "me.txt")
    loaded = load_identity(tmp_path / "me.txt")
    assert loaded == made
    assert open_with(loaded, seal_to([made.public_key], b"data")) == b"data"


def test_an_identity_is_never_overwritten(tmp_path: Path) -> None:
    new_identity(tmp_path / "me.txt")
    before = (tmp_path / "me.txt").read_bytes()
    with pytest.raises(IdentityError, match="already exists"):
        new_identity(tmp_path / "me.txt")
    assert (tmp_path / "me.txt").read_bytes() == before


def test_the_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="cannot be written"):
        new_identity(tmp_path / "missing" / "me.txt")
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_an_identity_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    new_identity(tmp_path / "me.txt")
    (tmp_path / "me.txt").chmod(mode)
    with pytest.raises(IdentityError, match="chmod 600"):
        load_identity(tmp_path / "me.txt")


def test_an_identity_that_cannot_be_changed_is_accepted(tmp_path: Path) -> None:
    made = new_identity(tmp_path / "me.txt")
    (tmp_path / "me.txt").chmod(0o400)
    assert load_identity(tmp_path / "me.txt") == made


def test_a_missing_identity_names_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"no such file.*identity new"):
        load_identity(tmp_path / "me.txt")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# only a comment\n",
        b"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n",
        b"AGE-SECRET-KEY-1DAMAGED\n",
        b"\xff\xfe\x00",
        b"AGE-SECRET-KEY-1A\nAGE-SECRET-KEY-1B\n",
    ],
    ids=["empty", "comment", "public", "damaged", "binary", "two"],
)
def test_what_is_no_identity_is_refused_without_being_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "me.txt"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(IdentityError) as caught:
        load_identity(path)
    assert "SECRET" not in str(caught.value)


def test_recipients_are_parsed(tmp_path: Path) -> None:
    made = new_identity(tmp_path / "me.txt")
    assert parse_recipient(f"  {made.public_key}\n") == made.public_key
    with pytest.raises(IdentityError):
        parse_recipient(made.public_key[:-1] + ("q" if made.public_key[-1] != "q" else "p"))
