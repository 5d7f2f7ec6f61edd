"""Any age implementation opens a sealed key, and what it seals is accepted: tried with Go's `age` and `age-keygen`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from key_case import Case, make_case

from medlocker.keys import load_identity, new_identity, read_key
from medlocker.keys.lifecycle import issue
from medlocker.keys.recipients import Recipient
from medlocker.keys.vault import KEY_TYPE
from medlocker.signing import parse_envelope, verify_envelope

AGE, KEYGEN, SSH_KEYGEN = (shutil.which(name) for name in ("age", "age-keygen", "ssh-keygen"))
needs_age = pytest.mark.skipif(
    AGE is None or KEYGEN is None, reason="no independent age implementation is installed (apt-get install age)"
)
needs_ssh = pytest.mark.skipif(
    SSH_KEYGEN is None, reason="ssh-keygen is not installed (apt-get install openssh-client)"
)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(tmp_path)


def run(*words: object, stdin: bytes = b"") -> bytes:
    done = subprocess.run([str(word) for word in words], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def recipient(case: Case, public: str) -> Recipient:
    return Recipient(name="Rae", key=public, added_at=case.example.manifest.created_at)


def keys_of(kind: str, folder: Path) -> tuple[Path, str]:
    """A private key file and its public key, made by the other implementation."""
    file = folder / f"their-{kind}"
    if kind == "age":
        run(KEYGEN, "-o", file)
        return file, run(KEYGEN, "-y", file).decode().strip()
    run(SSH_KEYGEN, "-q", "-t", kind, "-N", "", "-f", file)
    return file, " ".join(file.with_suffix(".pub").read_text().split()[:2])


@needs_age
@pytest.mark.parametrize(
    "kind", ["age", pytest.param("ed25519", marks=needs_ssh), pytest.param("rsa", marks=needs_ssh)]
)
def test_another_implementation_opens_a_sealed_key(case: Case, kind: str) -> None:
    file, public = keys_of(kind, case.root)
    key = issue(case.copy, case.ledger, recipient(case, public), case.root / "rae.key").path
    opened = run(AGE, "--decrypt", "-i", file, key)
    verified = verify_envelope(parse_envelope(opened), case.owner.public_keys, KEY_TYPE)
    document = read_key(key, load_identity(file), case.owner.public_keys)
    assert document.recipient_name == "Rae" and document.model_validate_json(verified) == document


@needs_age
@pytest.mark.parametrize(
    "kind", ["age", pytest.param("ed25519", marks=needs_ssh), pytest.param("rsa", marks=needs_ssh)]
)
def test_what_another_implementation_seals_is_accepted(case: Case, kind: str) -> None:
    file, public = keys_of(kind, case.root)
    key = issue(case.copy, case.ledger, recipient(case, public), case.root / "rae.key").path
    plain = run(AGE, "--decrypt", "-i", file, key)
    again = case.root / "again.key"
    run(AGE, "--encrypt", "-r", public, "-o", again, stdin=plain)
    assert read_key(again, load_identity(file), case.owner.public_keys).key_version == 1


@needs_age
def test_identities_are_exchanged_both_ways(tmp_path: Path) -> None:
    ours = new_identity(tmp_path / "ours.txt")
    sealed = run(AGE, "--encrypt", "-r", ours.public_key, stdin=b"plain")
    assert run(KEYGEN, "-y", tmp_path / "ours.txt").decode().strip() == ours.public_key
    assert run(AGE, "--decrypt", "-i", tmp_path / "ours.txt", stdin=sealed) == b"plain"


@needs_age
def test_an_armoured_key_opens_too(case: Case) -> None:
    """Mail programs may hand a key on as text: age's armour is another form of the same file."""
    file, public = keys_of("age", case.root)
    key = issue(case.copy, case.ledger, recipient(case, public), case.root / "rae.key").path
    armoured = case.root / "rae.asc"
    run(AGE, "--encrypt", "--armor", "-r", public, "-o", armoured, stdin=run(AGE, "--decrypt", "-i", file, key))
    assert read_key(armoured, load_identity(file), case.owner.public_keys).recipient_name == "Rae"
