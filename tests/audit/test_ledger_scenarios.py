"""What is done to a ledger, and exactly what verifying it then says."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from ledger_kit import RELEASE, fill, forge, issued, lines_of, minute, rewrite, six_events

from medlocker.audit import Ledger, ReleaseCreated, verify_ledger
from medlocker.audit.heads import sidecar_path
from medlocker.audit.merkle import leaf_hash


class Case(NamedTuple):
    """A ledger of six events with the heads after the second and the sixth as receipts."""

    path: object
    owner: object
    stranger: object
    heads: list

    @property
    def lines(self) -> list[bytes]:
        return lines_of(self.path)

    @property
    def receipts(self) -> list:
        return [self.heads[1], self.heads[5]]


def chain(lines):
    return leaf_hash(lines[-1]).hex()


def intact(case):
    return case.receipts


def tampered_line(case):
    lines = case.lines
    lines[2] = lines[2].replace(b'"Ben"', b'"Eve"')
    rewrite(case.path, lines)
    return case.receipts


def tampered_hash(case):
    lines = case.lines
    lines[3] = lines[3].replace(b'"images":3', b'"images":4')
    rewrite(case.path, lines)
    return case.receipts


def deleted_line(case):
    lines = case.lines
    rewrite(case.path, lines[:2] + lines[3:])
    return case.receipts


def truncated_tail(case):
    rewrite(case.path, case.lines[:4])
    return case.receipts


def truncated_tail_with_old_receipt(case):
    rewrite(case.path, case.lines[:4])
    return case.receipts[:1]


def truncated_tail_with_head_beside_it(case):
    rewrite(case.path, case.lines[:4], keep_head=True)
    return []


def emptied(case):
    rewrite(case.path, [])
    return case.receipts


def replaced_ledger(case):
    rewrite(case.path, forge(case.owner, [issued("Zoe"), *six_events()]))
    return case.receipts


def rewritten_by_the_owner(case):
    lines = case.lines[:2]
    rewrite(case.path, lines + forge(case.owner, [issued("Zoe")] * 4, start=2, previous=chain(lines)))
    return case.receipts


def swapped_receipts(case):
    other = Ledger(case.path.with_name("other.jsonl"), case.owner)
    return fill(other, [ReleaseCreated(release_id="f" * 32, manifest_sha256="a" * 64, images=3), issued("Ada")])


def receipt_of_a_stranger(case):
    other = Ledger(case.path.with_name("other.jsonl"), case.stranger)
    return fill(other, six_events())[:1]


def altered_receipt(case):
    receipt = case.receipts[0]
    return [receipt.model_copy(update={"head": receipt.head.model_copy(update={"size": 3})})]


def inserted_copy(case):
    lines = case.lines
    rewrite(case.path, lines[:3] + lines[2:])
    return case.receipts


def inserted_by_a_stranger(case):
    lines = case.lines
    rewrite(case.path, lines + forge(case.stranger, [issued("Eve")], start=6, previous=chain(lines)))
    return case.receipts


def inserted_blank_line(case):
    lines = case.lines
    rewrite(case.path, [*lines[:3], b"", *lines[3:]])
    return case.receipts[:1]


def reordered(case):
    lines = case.lines
    rewrite(case.path, [*lines[:3], lines[4], lines[3], lines[5]])
    return case.receipts


def clock_going_back(case):
    fill(Ledger(case.path, case.owner), [issued("Fay"), issued("Gus")], [minute(9), minute(8)])
    return case.receipts


def backdated_after_a_receipt(case):
    fill(Ledger(case.path, case.owner), [issued("Fay")], [minute(3)])
    return case.receipts


def torn_tail(case):
    case.path.write_bytes(case.path.read_bytes() + b'{"event":{"actor":"ow')
    return case.receipts


def torn_acknowledged_line(case):
    case.path.write_bytes(case.path.read_bytes()[:-1])
    return case.receipts


def foreign_key(case):
    rewrite(case.path, forge(case.stranger, six_events()[:2]))
    return []


def head_lost(case):
    sidecar_path(case.path).unlink()
    return case.receipts


def head_damaged(case):
    sidecar_path(case.path).write_bytes(b"\xff")
    return case.receipts


FORGED = {("inconsistent_receipt", None)}
TABLE = [
    (intact, set(), set()),
    (tampered_line, {("bad_signature", 3), ("broken_chain", 4), *FORGED}, set()),
    (tampered_hash, {("bad_signature", 4), ("broken_chain", 5), *FORGED}, set()),
    (deleted_line, {("wrong_sequence", 3), ("broken_chain", 3), ("truncated", None)}, set()),
    (truncated_tail, {("truncated", None)}, set()),
    # Nothing but a receipt can show that an end is missing: this one is older than what was cut off.
    (truncated_tail_with_old_receipt, set(), set()),
    (truncated_tail_with_head_beside_it, {("truncated", None)}, set()),
    (emptied, {("truncated", None)}, set()),
    (replaced_ledger, {("foreign_receipt", None)}, set()),
    (rewritten_by_the_owner, FORGED, set()),
    (swapped_receipts, {("foreign_receipt", None)}, set()),
    (receipt_of_a_stranger, {("bad_receipt", None)}, set()),
    (altered_receipt, {("bad_receipt", None)}, set()),
    (inserted_copy, {("wrong_sequence", 4), ("broken_chain", 4), *FORGED}, set()),
    (inserted_by_a_stranger, {("bad_signature", 7)}, set()),
    (inserted_blank_line, {("malformed_line", 4), ("wrong_sequence", 5), ("broken_chain", 5)}, set()),
    (
        reordered,
        {(kind, line) for kind in ("wrong_sequence", "broken_chain") for line in (4, 5, 6)} | FORGED,
        {("clock_back", 5)},
    ),
    (clock_going_back, set(), {("clock_back", 8)}),
    (backdated_after_a_receipt, set(), {("clock_back", 7), ("backdated", 7)}),
    (torn_tail, set(), {("torn_tail", 7)}),
    (torn_acknowledged_line, {("truncated", None)}, {("torn_tail", 6)}),
    (foreign_key, {("bad_signature", 1), ("bad_signature", 2)}, set()),
    (head_lost, set(), set()),
    (head_damaged, set(), {("unreadable_head", None)}),
]


@pytest.mark.parametrize(("scenario", "faults", "warnings"), TABLE, ids=[row[0].__name__ for row in TABLE])
def test_scenario(path, owner, stranger, heads, scenario, faults, warnings):
    receipts = scenario(Case(path, owner, stranger, heads))
    report = verify_ledger(path, owner.public, receipts)
    assert {(one.kind, one.line) for one in report.faults} == faults
    assert {(one.kind, one.line) for one in report.warnings} == warnings
    assert report.ok == (not faults)


def test_a_whole_rewrite_under_the_owners_key_passes_without_a_receipt(path, owner, heads):
    rewrite(path, forge(owner, [issued("Zoe")]))
    assert verify_ledger(path, owner.public).ok
    assert not verify_ledger(path, owner.public, heads[:1]).ok


def test_an_owner_may_change_keys_but_not_go_back(path, owner, stranger, heads):
    new = stranger
    after = Ledger(path, new, earlier_keys=[owner.public]).append(issued("Fay"), actor="owner", now=minute(7))
    keys = [owner.public, new.public]
    assert verify_ledger(path, keys, [heads[2], after]).ok
    assert {one.kind for one in verify_ledger(path, owner.public).faults} == {"bad_signature", "bad_receipt"}
    lines = lines_of(path)
    rewrite(path, lines + forge(owner, [issued("Gus")], start=7, previous=chain(lines)))
    assert [(one.kind, one.line) for one in verify_ledger(path, keys).faults] == [("retired_key", 8)]


def test_a_long_list_of_faults_is_counted_and_cut(path, owner, stranger):
    rewrite(path, forge(stranger, [issued("Eve")] * 1100))
    report = verify_ledger(path, owner.public)
    assert (report.fault_count, len(report.faults)) == (1100, 1000)
    assert report.first == minute(0)
    assert RELEASE not in report.faults[0].message
