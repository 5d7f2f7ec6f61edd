"""Proofs convince whoever holds the owner's public key, and nothing else does."""

from __future__ import annotations

import pytest
from ledger_kit import fill, forge, issued, lines_of, rewrite, six_events

from medlocker.audit import (
    Ledger,
    LedgerError,
    check_proof,
    prove_consistency,
    prove_inclusion,
    read_proof,
    read_receipt,
    write_document,
)
from medlocker.sealing import canonical_json


def test_each_event_is_proved_in_each_later_head(path, owner, heads):
    for size, head in enumerate(heads, 1):
        for sequence in range(size):
            proof = prove_inclusion(path, sequence, head)
            check_proof(proof, [owner.public])
            assert proof.entry.event.sequence == sequence
        with pytest.raises(LedgerError, match="no event"):
            prove_inclusion(path, size, head)


def test_growth_is_proved_between_any_two_heads(path, owner, heads):
    for old in heads:
        for new in heads[old.head.size - 1 :]:
            check_proof(prove_consistency(path, old, new), [owner.public])
    with pytest.raises(LedgerError, match="older"):
        prove_consistency(path, heads[3], heads[2])


def test_proofs_survive_a_file_and_serve_as_receipts(path, owner, heads, tmp_path):
    inclusion, consistency = prove_inclusion(path, 1, heads[3]), prove_consistency(path, heads[1], heads[4])
    for number, proof in enumerate((inclusion, consistency)):
        file = tmp_path / f"{number}.json"
        write_document(file, proof)
        assert read_proof(file) == proof
        assert read_receipt(file) == (heads[3], heads[4])[number]
        with pytest.raises(LedgerError, match="already exists"):
            write_document(file, proof)


def test_every_flipped_byte_of_a_proof_is_detected(path, owner, heads, tmp_path):
    for proof in (prove_inclusion(path, 1, heads[2]), prove_consistency(path, heads[1], heads[2])):
        content, file, accepted = canonical_json(proof), tmp_path / "proof.json", 0
        for place in range(len(content)):
            file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            try:
                check_proof(read_proof(file), [owner.public])
                accepted += 1
            except LedgerError:
                continue
        assert accepted == 0


def test_a_stranger_proves_nothing(path, owner, stranger, heads, tmp_path):
    other = tmp_path / "other.jsonl"
    forged = fill(Ledger(other, stranger), six_events())
    with pytest.raises(LedgerError, match="not signed"):
        check_proof(prove_inclusion(other, 1, forged[3]), [owner.public])
    grafted = prove_inclusion(path, 1, heads[3]).model_copy(
        update={"entry": prove_inclusion(other, 1, forged[3]).entry}
    )
    with pytest.raises(LedgerError, match="event is not signed"):
        check_proof(grafted, [owner.public])


def test_a_proof_for_another_place_fails(path, owner, heads):
    proof = prove_inclusion(path, 1, heads[3])
    with pytest.raises(LedgerError, match="another place"):
        check_proof(proof.model_copy(update={"index": 2}), [owner.public])


def test_an_altered_ledger_yields_no_proof(path, owner, heads):
    lines = lines_of(path)
    rewrite(path, lines[:3])
    with pytest.raises(LedgerError, match="truncated"):
        prove_inclusion(path, 1, heads[3])
    rewrite(path, forge(owner, [issued("Zoe")] * 6))
    with pytest.raises(LedgerError, match="audit verify"):
        prove_inclusion(path, 1, heads[3])
    with pytest.raises(LedgerError, match="audit verify"):
        prove_consistency(path, heads[1], heads[3])
