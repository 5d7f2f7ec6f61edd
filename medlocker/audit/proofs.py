"""Proofs that can be checked offline: an event is in the ledger; a ledger has only grown since a receipt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from medlocker.audit.checking import read_lines
from medlocker.audit.events import EVENT_TYPE, Count, Entry, LedgerError
from medlocker.audit.heads import SignedTreeHead, parse_document, read_document
from medlocker.audit.merkle import consistency_path, inclusion_path, is_consistent, leaf_hash, root_from_inclusion
from medlocker.release import Hex256
from medlocker.sealing import canonical_json
from medlocker.signing import PublicKey, pae

Path256 = Annotated[tuple[Hex256, ...], Field(max_length=128)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InclusionProof(_Model):
    """An event is in the ledger that a head vouches for.

    Attributes:
        schema_version: of this document.
        kind: of proof.
        entry: the event and its signature.
        index: of its line, from 0.
        path: sibling hashes, lowest first.
        head: signed by the owner.
    """

    schema_version: Literal["medlocker.proof/1"] = "medlocker.proof/1"
    kind: Literal["inclusion"] = "inclusion"
    entry: Entry
    index: Count
    path: Path256
    head: SignedTreeHead


class ConsistencyProof(_Model):
    """A newer ledger begins with everything that an older head vouches for.

    Attributes:
        schema_version: of this document.
        kind: of proof.
        old: signed by the owner.
        new: signed by the owner.
        path: hashes by RFC 6962, section 2.1.2.
    """

    schema_version: Literal["medlocker.proof/1"] = "medlocker.proof/1"
    kind: Literal["consistency"] = "consistency"
    old: SignedTreeHead
    new: SignedTreeHead
    path: Path256


Proof = InclusionProof | ConsistencyProof
_P = TypeVar("_P", InclusionProof, ConsistencyProof)


def prove_inclusion(ledger: Path, sequence: int, head: SignedTreeHead) -> InclusionProof:
    """Show that an event is among those a head vouches for.

    Args:
        ledger: the file.
        sequence: of the event.
        head: the latest, or a receipt.

    Raises:
        LedgerError: the event or the head is not of this ledger.
    """
    lines = _lines(ledger, head)
    if not 0 <= sequence < len(lines):
        raise LedgerError(f"no event {sequence} among the {len(lines)} that the head vouches for")
    leaves = [leaf_hash(line) for line in lines]
    path = tuple(node.hex() for node in inclusion_path(leaves, sequence))
    entry = parse_document(lines[sequence], Entry, f"{ledger}: line {sequence + 1}")
    return _true(InclusionProof(entry=entry, index=sequence, path=path, head=head), ledger)


def prove_consistency(ledger: Path, old: SignedTreeHead, new: SignedTreeHead) -> ConsistencyProof:
    """Show that a ledger has only grown between two heads.

    Args:
        ledger: the file.
        old: a receipt.
        new: the latest head, or a later receipt.

    Raises:
        LedgerError: a head is not of this ledger, or `old` is the larger one.
    """
    leaves = [leaf_hash(line) for line in _lines(ledger, new)]
    if old.head.size > len(leaves):
        raise LedgerError(f"the older head vouches for {old.head.size} events, the newer for {len(leaves)}")
    path = tuple(node.hex() for node in consistency_path(leaves, old.head.size))
    return _true(ConsistencyProof(old=old, new=new, path=path), ledger)


def check_proof(proof: Proof, keys: Sequence[PublicKey]) -> None:
    """Check a proof with the owner's public key alone.

    Args:
        proof: from anywhere.
        keys: the owner's public keys.

    Raises:
        LedgerError: it proves nothing.
    """
    heads = (proof.head,) if isinstance(proof, InclusionProof) else (proof.old, proof.new)
    if not all(head.signed_by(keys) for head in heads):
        raise LedgerError("the proof's head is not signed by this owner")
    if isinstance(proof, InclusionProof):
        message, signature = pae(EVENT_TYPE, canonical_json(proof.entry.event)), bytes.fromhex(proof.entry.signature)
        if not any(key.verify(signature, message) for key in keys):
            raise LedgerError("the event is not signed by this owner, or was altered")
        if proof.entry.event.sequence != proof.index:
            raise LedgerError("the event has another place than the proof says")
    if not _leads_to_root(proof):
        raise LedgerError("the hashes do not lead to the signed root", why="the proof was altered")


def read_proof(path: Path) -> Proof:
    """Read a proof; nothing in it is to be trusted before `check_proof`.

    Raises:
        LedgerError: it is not one.
    """
    content = read_document(path)
    if b'"kind":"inclusion"' in content:
        return parse_document(content, InclusionProof, str(path))
    return parse_document(content, ConsistencyProof, str(path))


def read_receipt(path: Path) -> SignedTreeHead:
    """Read a receipt: a signed head, or a proof that holds one.

    Raises:
        LedgerError: it is neither.
    """
    content = read_document(path)
    if b'"medlocker.proof/1"' not in content:
        return parse_document(content, SignedTreeHead, str(path))
    proof = read_proof(path)
    return proof.head if isinstance(proof, InclusionProof) else proof.new


def write_document(path: Path, document: BaseModel) -> None:
    """Write a receipt or a proof.

    Raises:
        LedgerError: the file exists, or cannot be written.
    """
    try:
        with path.open("xb") as file:
            file.write(canonical_json(document) + b"\n")
    except FileExistsError:
        raise LedgerError(f"{path}: already exists", fix="choose another file") from None
    except OSError as error:
        raise LedgerError(f"{path}: cannot be written", why=error.strerror) from error


def _true(proof: _P, ledger: Path) -> _P:
    if not _leads_to_root(proof):
        raise LedgerError(f"{ledger}: not what the signed head vouches for", fix="run medlocker audit verify")
    return proof


def _leads_to_root(proof: Proof) -> bool:
    path = [bytes.fromhex(node) for node in proof.path]
    if isinstance(proof, InclusionProof):
        leaf = leaf_hash(canonical_json(proof.entry))
        root = root_from_inclusion(leaf, proof.index, proof.head.head.size, path)
        return root is not None and root.hex() == proof.head.head.root
    old, new = proof.old.head, proof.new.head
    roots = bytes.fromhex(old.root), bytes.fromhex(new.root)
    return old.ledger == new.ledger and is_consistent(old.size, roots[0], new.size, roots[1], path)


def _lines(ledger: Path, head: SignedTreeHead) -> list[bytes]:
    lines = [line[:-1] for line in read_lines(ledger) if line.endswith(b"\n")]
    if len(lines) < head.head.size:
        raise LedgerError(
            f"{ledger}: holds {len(lines)} events, the head vouches for {head.head.size}",
            why="the ledger was truncated, or the head is of another one", fix="run medlocker audit verify",
        )  # fmt: skip
    return lines[: head.head.size]
