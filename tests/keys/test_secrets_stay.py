"""No secret reaches a log, an error, MLflow, a temporary file or a process' arguments; no bomb is inflated."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from key_case import Case, make_case
from PIL import Image
from secret_scan import find_secrets

import medlocker.keys.vault as vault_module
from medlocker.errors import LogoError, MedLockerError, UnlockError
from medlocker.keys import decode_logo, load_identity, unlock_release, verify_release
from medlocker.keys.lifecycle import publish_revocations, revoke
from medlocker.keys.owner import signing_file
from medlocker.keys.recipients import add_recipient, registry_file
from medlocker.keys.release_signature import sign_release
from medlocker.sealing import seal_to

IDENTITIES = ("owner.txt", "owner.txt.signing.pem", "Ada.txt", "recipient.txt")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    made = make_case(tmp_path)
    sign_release(made.copy.folder, made.owner)
    return made


def secrets(case: Case) -> list[bytes]:
    """Everything that only its holder may have, in the forms in which it is used."""
    needles = [case.copy.vault.secret, case.owner.identity.secret.encode()]
    needles += [image.packet_key for image in case.example.key.images]
    needles += [line for line in signing_file(case.owner.file).read_bytes().splitlines() if b"-----" not in line]
    needles += [Path(case.root / "Ada.txt").read_bytes().split()[-1]]
    return needles


def plain(case: Case) -> list[bytes]:
    """What a key holds in the clear, as its JSON would spell it: placements."""
    return [f'"alpha":{image.alpha},'.encode() + b'"dtype"' for image in case.copy.vault.images]


def use_everything(case: Case) -> None:
    add_recipient(registry_file(case.owner.file), case.owner, "Ada", case.recipient("Ada").key, organisation="Ward 4")
    case.issue()
    case.reissue()
    case.unlock(case.root / "ada.key")
    revoke(case.copy, case.ledger, "Ada", "left")
    publish_revocations(case.copy, case.ledger)
    verify_release(case.copy.folder)


def test_no_secret_lies_anywhere_but_in_its_own_file(case: Case, monkeypatch, caplog) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(case.root / "tmp"))
    (case.root / "tmp").mkdir()
    with caplog.at_level(logging.DEBUG):
        use_everything(case)
    found = find_secrets(case.root, [*secrets(case), *plain(case)])
    assert [line for line in found if Path(line.split(": ")[0]).name not in IDENTITIES] == []
    (case.root / "log.txt").write_text(caplog.text)
    assert find_secrets(case.root, secrets(case)) == found
    assert not list((case.root / "tmp").iterdir()) and not list(case.root.rglob("*.partial"))


def test_the_scan_would_find_each_of_them(case: Case) -> None:
    case.recipient("Ada")
    for number, needle in enumerate(secrets(case)):
        (case.root / "leak").write_bytes(b"...." + needle + b"....")
        assert any(line.startswith(f"{case.root / 'leak'}:") for line in find_secrets(case.root, [needle])), number


def test_nothing_unsealed_is_ever_written(case: Case, monkeypatch) -> None:
    """Also not for a moment: every write to a file is looked at, those to files that are gone again included."""
    written: list[bytes] = []
    opened, fdopened = Path.open, os.fdopen

    def watched(file):
        write = file.write

        class Watched:
            def __getattr__(self, name):
                return getattr(file, name)

            def write(self, data) -> int:
                written.append(data.encode() if isinstance(data, str) else bytes(data))
                return write(data)

            def __enter__(self):
                return self

            def __exit__(self, *_) -> None:
                file.close()

            def __iter__(self):
                return iter(file)

        return Watched()

    case.recipient("Ada")
    monkeypatch.setattr(os, "fdopen", lambda *a, **k: watched(fdopened(*a, **k)))
    monkeypatch.setattr(Path, "open", lambda *a, **k: watched(opened(*a, **k)))
    use_everything(case)
    monkeypatch.undo()
    content = b"".join(written)
    assert len(content) > 30_000
    (case.root / "written").write_bytes(content)
    found = find_secrets(case.root, [*secrets(case), *plain(case)])
    assert [line for line in found if Path(line.split(": ")[0]).name == "written"] == []


def test_errors_and_texts_show_no_secret(case: Case) -> None:
    key, other = case.issue(), load_identity(case.owner.file)
    document = case.open(key)
    texts = [repr(document), str(document), repr(case.copy.vault), repr(case.copy), repr(case.owner), repr(other)]
    for attempt in (
        lambda: vault_module.read_key(key, other),
        lambda: document.model_validate_json(document.model_dump_json().replace('"x":3', '"x":-3')),
        lambda: case.copy.vault.model_validate({**case.copy.vault.model_dump(), "images": "none"}),
        lambda: add_recipient(case.root / "r.json", case.owner, "Eve", case.owner.identity.secret),
    ):
        with pytest.raises((MedLockerError, ValueError)) as caught:
            attempt()
        texts += [str(caught.value), repr(caught.value)]
    (case.root / "texts").write_text("\n".join(texts))
    found = find_secrets(case.root, [*secrets(case), *plain(case)])
    assert [line for line in found if Path(line.split(": ")[0]).name == "texts"] == []


def test_a_command_needs_no_secret_among_its_arguments(case: Case) -> None:
    """Passphrases come from a prompt or the environment, identities from files: no option takes either."""
    import click

    from medlocker.cli import main

    def options(command, path):
        for parameter in command.params:
            yield path, parameter
        for name in command.list_commands(click.Context(command)) if isinstance(command, click.Group) else ():
            yield from options(command.get_command(click.Context(command), name), f"{path} {name}")

    named = [(path, one) for path, one in options(main, "medlocker") if isinstance(one, click.Option)]
    assert len(named) > 60
    for path, one in named:
        if any(word in (one.name or "") for word in ("passphrase", "protected", "secret", "password")):
            assert one.is_flag, (path, one.name)
        if any(word in (one.name or "") for word in ("identity", "owner")) and not one.is_flag:
            assert "PATH" in one.make_metavar(click.Context(main)).upper() or "key" in (one.name or ""), (
                path,
                one.name,
            )


def test_the_passphrase_is_not_handed_to_child_processes_arguments(case: Case) -> None:
    environment = {**os.environ, "MEDLOCKER_PASSPHRASE": "correct horse battery"}
    words = [sys.executable, "-m", "medlocker", "identity", "new", "--out", str(case.root / "p.txt"), "--passphrase"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert "correct horse" not in done.stdout + done.stderr
    assert b"AGE-SECRET" not in (case.root / "p.txt").read_bytes()


# Bombs.


def test_a_key_of_a_huge_size_is_not_read(case: Case, monkeypatch) -> None:
    key = case.issue()
    monkeypatch.setattr(vault_module, "MAX_SEALED_BYTES", 100)
    with pytest.raises(UnlockError, match="larger than"):
        case.open(key)


def test_a_sparse_file_of_two_gibibytes_is_refused_at_once(case: Case) -> None:
    with (case.root / "huge.key").open("wb") as file:
        file.truncate((1 << 31) + 1)
    case.recipient("Ada")
    with pytest.raises(UnlockError, match="larger than 1 GiB"):
        case.open(case.root / "huge.key")


def bomb(side: int) -> bytes:
    """A PNG of few bytes that claims very many pixels."""
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


def test_a_logo_that_inflates_is_refused_before_it_does(case: Case, monkeypatch) -> None:
    document = case.open(case.issue()).model_copy(update={"logo": bomb(9000)})
    monkeypatch.setattr(np, "array", lambda *_a, **_k: pytest.fail("the bomb was inflated"))
    with pytest.raises(LogoError, match="9000 x 9000 px"):
        decode_logo(document)


def test_an_image_that_inflates_is_refused_before_it_does(case: Case) -> None:
    document = case.open(case.issue())
    case.example.file("a").write_bytes(bomb(60_000))
    report = unlock_release(case.copy.folder, document, case.root / "out")
    failed = {image.id: image.message for image in report.images if image.status == "failed"}
    assert set(failed) == {"a"} and "60000 x 60000 px" in failed["a"]


def test_a_packet_of_a_huge_size_is_not_read(case: Case) -> None:
    document = case.open(case.issue())
    path = case.example.file("scan")
    with path.with_name(path.name + ".mlrp").open("wb") as file:
        file.truncate((64 << 20) + 1)
    (failed,) = [image for image in unlock_release(case.copy.folder, document, case.root / "out").images
                 if image.status == "failed"]  # fmt: skip
    assert failed.id == "scan" and "larger than 64 MiB" in failed.message


def test_a_document_in_a_document_is_no_bomb(case: Case) -> None:
    """age does not compress: what a sealed file may hold is bounded by its own size."""
    public = case.recipient("Ada").key
    plain_text = b"[" * 5_000_000
    (case.root / "deep.key").write_bytes(seal_to([public], plain_text))
    with pytest.raises(UnlockError, match=r"deep\.key: not a valid medlocker.key/2 document"):
        case.open(case.root / "deep.key")


def test_an_identity_with_a_huge_work_factor_is_refused_in_time(case: Case) -> None:
    """An age file under a passphrase names its own scrypt cost; one of hours must not be paid."""
    body = b"\n" + b"A" * 43 + b"\n--- " + b"A" * 43 + b"\n" + bytes(40)
    path = case.root / "slow.txt"
    path.write_bytes(b"age-encryption.org/v1\n-> scrypt " + b"A" * 22 + b" 62" + body)
    path.chmod(0o600)
    with pytest.raises(MedLockerError, match=r"slow\.txt"):
        load_identity(path, "p")
