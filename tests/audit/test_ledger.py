"""Appending: what is on disk afterwards, what is refused, what survives a crash and another writer."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_kit import fill, issued, lines_of, minute, rewrite, six_events

from medlocker.audit import Ledger, LedgerError, ReleaseCreated, read_events, read_proof, read_receipt, verify_ledger
from medlocker.audit.events import Event
from medlocker.audit.heads import sidecar_path
from medlocker.sealing import canonical_json


def test_a_line_is_a_signed_canonical_event(path, owner, heads):
    first = json.loads(lines_of(path)[0])
    assert first["event"]["sequence"] == 0 and first["event"]["previous"] == "0" * 64
    assert [event.details for event in read_events(path, [owner.public])] == six_events()
    assert lines_of(path)[0] == json.dumps(first, sort_keys=True, separators=(",", ":")).encode()


def test_a_ledger_is_its_owners_alone(path, heads):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_head_is_a_receipt(path, owner, heads):
    assert [head.head.size for head in heads] == [1, 2, 3, 4, 5, 6]
    assert verify_ledger(path, owner.public, heads).receipts == 7
    assert verify_ledger(path, owner.public, heads).ok


def test_the_latest_head_is_that_of_the_last_append(ledger, path, owner):
    assert ledger.latest() is None
    heads = fill(ledger, six_events())
    assert ledger.latest().head.root == heads[-1].head.root


def test_appending_reads_no_more_than_the_end(path, ledger, heads):
    """A fault further up is left to verify: an append that read everything would be quadratic."""
    lines = lines_of(path)
    lines[1] = lines[1].replace(b'"Ada"', b'"Eve"')
    rewrite(path, lines, keep_head=True)
    assert ledger.append(issued("Fay"), actor="owner").head.size == 7


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines[:-1], lines[-1].replace(b'"Eli"', b'"Eve"')],
        lambda lines: [*lines[:-1], b"{"],
        lambda lines: [],
    ],
    ids=["truncated", "tampered", "last line destroyed", "emptied"],
)
def test_an_altered_end_is_refused_and_kept(path, ledger, heads, damage):
    rewrite(path, damage(lines_of(path)), keep_head=True)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="audit verify"):
        ledger.append(issued("Fay"), actor="owner")
    assert path.read_bytes() == before


def test_without_its_head_the_whole_ledger_is_checked(path, ledger, heads):
    lines = lines_of(path)
    rewrite(path, [lines[0], lines[1].replace(b'"Ada"', b'"Eve"'), *lines[2:]])
    with pytest.raises(LedgerError, match="line 2"):
        ledger.append(issued("Fay"), actor="owner")


@pytest.mark.parametrize("state", ["lost", "empty", "of a stranger", "older"])
def test_a_head_that_cannot_be_used_is_made_anew(path, ledger, owner, stranger, state):
    fill(ledger, six_events()[:3])
    older = sidecar_path(path).read_bytes()
    fill(ledger, six_events()[3:], [minute(3), minute(4), minute(5)])
    if state == "lost":
        sidecar_path(path).unlink()
    elif state == "older":
        sidecar_path(path).write_bytes(older)
    elif state == "empty":
        sidecar_path(path).write_bytes(b"")
    else:
        other = path.with_name("other.jsonl")
        fill(Ledger(other, stranger), six_events())
        sidecar_path(path).write_bytes(sidecar_path(other).read_bytes())
    head = ledger.append(issued("Fay"), actor="owner")
    assert head.head.size == 7
    assert verify_ledger(path, owner.public, [head]).ok


@pytest.mark.parametrize("torn", [b"x", b'{"event":', b"\x00" * 40, b"\x00\n", b'{"event":\n'])
def test_a_torn_last_line_is_moved_aside(path, ledger, owner, heads, torn, caplog):
    path.write_bytes(path.read_bytes() + torn)
    head = ledger.append(issued("Fay"), actor="owner")
    assert path.with_name("ledger.jsonl.torn").read_bytes() == torn.removesuffix(b"\n") + b"\n"
    assert "interrupted" in caplog.text
    assert verify_ledger(path, owner.public, [*heads, head]).warnings == ()
    assert head.head.size == 7


def test_a_whole_line_that_is_no_event_is_not_recovered(path, ledger, heads):
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(LedgerError, match="line 7"):
        ledger.append(issued("Fay"), actor="owner")
    assert not path.with_name("ledger.jsonl.torn").exists()


def test_a_failed_write_leaves_nothing(path, ledger, owner, heads, monkeypatch):
    before = path.read_bytes()

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LedgerError, match="No space"):
        ledger.append(issued("Fay"), actor="owner")
    assert path.read_bytes() == before


def test_an_event_on_disk_is_acknowledged_even_if_its_head_cannot_be_stored(path, ledger, owner, heads, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("medlocker.audit.ledger._replace", full)
        receipt = ledger.append(issued("Fay"), actor="owner")
    assert verify_ledger(path, owner.public, [receipt]).ok
    assert ledger.append(issued("Gus"), actor="owner").head.size == 8


@pytest.mark.parametrize("actor", ["", " a", "a\nb", "\x1b[2J", "a" * 201])
def test_text_that_would_steer_a_terminal_is_refused(path, ledger, actor):
    with pytest.raises(LedgerError, match="actor"):
        ledger.append(issued("Ada"), actor=actor)
    assert read_events(path) == []


def test_no_folder_no_ledger(tmp_path, owner):
    with pytest.raises(LedgerError, match="No such file"):
        Ledger(tmp_path / "none" / "ledger.jsonl", owner).append(issued("Ada"), actor="owner")


def test_a_time_beyond_the_calendar_is_a_finding(path, owner, heads):
    lines = lines_of(path)
    rewrite(path, [lines[0].replace(b"2026-01-01T00:00:00Z", b"0001-01-01T00:00:00+23:59"), *lines[1:]])
    assert verify_ledger(path, owner.public).faults[0].kind == "malformed_line"


WRITER = """
import sys
from pathlib import Path
from medlocker.audit import Ledger, RecipientAdded
from medlocker.signing import load_signing_identity
ledger = Ledger(Path(sys.argv[1]), load_signing_identity(Path(sys.argv[2])))
for number in range(50):
    ledger.append(RecipientAdded(recipient=f"{sys.argv[3]} {number}", recipient_key_sha256="0" * 64), actor="owner")
"""


def test_two_processes_append_at_once(tmp_path, path, owner):
    from medlocker.signing import load_signing_identity, new_signing_identity

    key = tmp_path / "signing.pem"
    new_signing_identity(key)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, key, name]) for name in ("one", "two")]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    report = verify_ledger(path, load_signing_identity(key).public)
    assert (report.ok, report.size, report.warnings) == (True, 100, ())
    names = [event.details.recipient for event in read_events(path)]
    assert sorted(names) == sorted(f"{who} {number}" for who in ("one", "two") for number in range(50))
    assert [name for name in names if name.startswith("one")] == [f"one {number}" for number in range(50)]


def flips(content, masks):
    for place in range(len(content)):
        for mask in masks:
            yield content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]


def small_ledger(path, ledger):
    fill(ledger, [ReleaseCreated(release_id="0" * 32, manifest_sha256="a" * 64, images=3), issued("Ada")])
    return path.read_bytes(), ledger.latest()


def undetected(path, owner, receipt, masks):
    tried = missed = silent = 0
    content = path.read_bytes()
    sidecar_path(path).unlink()
    for flipped in flips(content, masks):
        path.write_bytes(flipped)
        report = verify_ledger(path, owner.public, [receipt])
        alone = verify_ledger(path, owner.public)
        tried, missed, silent = tried + 1, missed + report.ok, silent + (alone.ok and not alone.warnings)
    return tried, missed, silent


def test_every_flipped_byte_is_detected(path, ledger, owner):
    content, receipt = small_ledger(path, ledger)
    assert undetected(path, owner, receipt, (0x01,)) == (len(content), 0, 0)


@pytest.mark.slow
def test_every_flipped_bit_is_detected(path, ledger, owner):
    content, receipt = small_ledger(path, ledger)
    assert undetected(path, owner, receipt, [1 << bit for bit in range(8)]) == (8 * len(content), 0, 0)


def test_every_flipped_byte_of_a_receipt_is_detected(path, ledger, owner, heads, tmp_path):
    content, file = canonical_json(heads[2]), tmp_path / "receipt.json"
    accepted = 0
    for flipped in flips(content, (0x01, 0x20)):
        file.write_bytes(flipped)
        try:
            accepted += verify_ledger(path, owner.public, [read_receipt(file)]).ok
        except LedgerError:
            continue
    assert accepted == 0


pieces = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"\n", b"{", b"[" * 2000, b'{"event":' * 300, b"null\n", b"1e999", b'"\\ud800"', b"\xff", b"-0.0"]
    ),
    st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)).map(
        lambda value: json.dumps({"event": value, "signature": "0" * 128}).encode()
    ),
)


@given(st.lists(pieces, max_size=6), st.integers(0, 900), st.integers(0, 900))
@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_malformed_ledgers_never_give_a_trace(tmp_path, owner, parts, start, end):
    path = tmp_path / "fuzz.jsonl"
    sidecar_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    fill(Ledger(path, owner), six_events()[:2])
    content = path.read_bytes()
    path.write_bytes(content[: min(start, end)] + b"".join(parts) + content[max(start, end) :])
    assert verify_ledger(path, owner.public).size >= 0
    for reader in (
        read_events,
        read_receipt,
        read_proof,
        lambda one: Ledger(one, owner).append(issued("A"), actor="o"),
    ):
        try:
            reader(path)
        except LedgerError as error:
            assert str(error)


def test_unknown_fields_and_kinds_are_refused(heads, path):
    event = json.loads(lines_of(path)[0])["event"]
    Event.model_validate(event)
    for change in ({"alpha": 1}, {"details": {**event["details"], "x": 3}}, {"details": {"kind": "key.lent"}}):
        with pytest.raises(ValueError):
            Event.model_validate({**event, **change})
