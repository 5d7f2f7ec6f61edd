"""`medlocker audit` as an owner, a recipient and an auditor use it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from medlocker.audit import KeyIssued, KeyRevoked, Ledger, ReleaseCreated, write_document
from medlocker.cli import main
from medlocker.signing import new_signing_identity

RELEASE = "0" * 32


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out.owner").mkdir()
    identity = new_signing_identity(Path("signing.pem"))
    Path("owner.pub").write_text(identity.public.text)
    ledger = Ledger(Path("out.owner/ledger.jsonl"), identity)
    details = [
        ReleaseCreated(release_id=RELEASE, manifest_sha256="a" * 64, images=3),
        *(
            KeyIssued(
                release_id=RELEASE, recipient=name, key_version=1, recipient_key_sha256="b" * 64,
                key_sha256="c" * 64, images=3,
            )
            for name in ("Ada", "Ben")
        ),
        KeyRevoked(release_id=RELEASE, recipient="Ben", key_version=1, reason="left"),
    ]  # fmt: skip
    for number, one in enumerate(details):
        head = ledger.append(one, actor="owner", now=datetime(2026, 1, 1 + number, tzinfo=UTC))
        write_document(Path(f"receipt{number}.json"), head)

    def invoke(command: str, code: int = 0):
        result = CliRunner().invoke(main, ["audit", *command.split()], prog_name="medlocker")
        assert result.exit_code == code, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result

    return invoke


def test_log_lists_and_filters(run):
    assert len(run("log out").stdout.splitlines()) == 4
    assert "key.revoked  Ben  left  version 1" in run("log out --kind key.revoked").stdout
    found = json.loads(run("log out --recipient Ada --since 2026-01-02 --until 2026-01-03 --json").stdout)["events"]
    assert [event["sequence"] for event in found] == [1]
    assert run("log out --since 2026-02-01").stdout == ""


def test_who_holds_a_key(run):
    text = run("who out").stdout
    assert "revoked 2026-01-04 (left)" in text and "1 of 2 keys are active." in text
    found = json.loads(run("who --ledger out.owner/ledger.jsonl --at 2026-01-03T12:00 --json").stdout)["holdings"]
    assert [(one["recipient"], one["state"]) for one in found] == [("Ada", "active"), ("Ben", "active")]


def test_verify_says_yes_and_no_by_its_exit_code(run):
    run("verify out --owner-key owner.pub --receipt receipt0.json --receipt receipt3.json")
    path = Path("out.owner/ledger.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"Ada"', b'"Eve"'))
    assert "line 2: bad_signature" in run("verify out --owner-key owner.pub", code=1).stderr
    report = json.loads(run("verify out --owner-key owner.pub --json", code=1).stdout)
    assert report["ok"] is False and report["fault_count"] == 3
    path.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    Path("out.owner/ledger.jsonl.head").unlink()
    run("verify out --owner-key owner.pub")
    assert "truncated" in run("verify out --owner-key owner.pub --receipt receipt3.json", code=1).stderr


def test_strict_counts_warnings(run):
    path = Path("out.owner/ledger.jsonl")
    path.write_bytes(path.read_bytes() + b"{")
    assert "torn_tail" in run("verify out --owner-key owner.pub").stderr
    run("verify out --owner-key owner.pub --strict", code=1)


def test_proofs_are_checked_with_the_public_key_alone(run):
    run("prove out --event 1 --out event.json")
    run("prove out --receipt receipt0.json --out growth.json")
    Path("out.owner/ledger.jsonl").unlink()
    assert "key.issued  Ada" in run("prove --check event.json --owner-key owner.pub").stdout
    assert "begins with that of 1" in run("prove --check growth.json --owner-key owner.pub").stdout
    new_signing_identity(Path("other.pem"))
    other = new_signing_identity(Path("third.pem")).public.text
    Path("other.pub").write_text(other)
    assert "not signed" in run("prove --check event.json --owner-key other.pub", code=1).stderr


@pytest.mark.parametrize("form", ["json", "csv", "fhir", "atna"])
def test_exports(run, form):
    text = run(f"export out --format {form}").stdout
    assert text.count("key.revoked") >= 1
    run(f"export out --format {form} --out events.txt")
    assert Path("events.txt").read_text() == text
    assert "events.txt" in run(f"export out --format {form} --out events.txt", code=1).stderr


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("log", 2, ["--ledger"]),
        ("log none", 1, ["none.owner/ledger.jsonl"]),
        ("log out --kind key.lent", 2, ["key.lent"]),
        ("log out --since yesterday", 2, ["yesterday"]),
        ("log out --owner-key none.pub", 1, ["none.pub"]),
        ("verify out", 2, ["--owner-key"]),
        ("verify out --owner-key owner.pub --receipt none.json", 1, ["none.json"]),
        ("verify out --owner-key owner.pub --receipt signing.pem", 1, ["signing.pem"]),
        ("verify out --owner-key signing.pem", 1, ["secret key"]),
        ("prove out", 2, ["--event"]),
        ("prove out --event 0", 2, ["--out"]),
        ("prove out --event 9 --out p.json", 1, ["no event 9"]),
        ("prove --check none.json --owner-key owner.pub", 1, ["none.json"]),
        ("prove --check receipt0.json", 1, ["receipt0.json"]),
        ("export out --format xls", 2, ["xls"]),
    ],
)
def test_bad_input_is_named(run, command, code, words):
    result = run(command, code=code)
    for word in words:
        assert word in result.stderr
