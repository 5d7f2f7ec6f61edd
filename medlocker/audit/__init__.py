"""The owner's ledger: what was released and issued to whom, in a form that nobody can rewrite unnoticed."""

from medlocker.audit.checking import Finding
from medlocker.audit.events import (
    Accusation,
    EditionMade,
    Entry,
    Event,
    KeyIssued,
    KeyReissued,
    KeyRevoked,
    KeyUsed,
    LedgerError,
    RecipientAdded,
    ReleaseCreated,
    ReleaseReplaced,
    TraceReported,
    image_sha256,
    text_sha256,
)
from medlocker.audit.exports import export_events
from medlocker.audit.heads import SignedTreeHead, TreeHead, read_sidecar
from medlocker.audit.ledger import LEDGER_NAME, Ledger
from medlocker.audit.proofs import (
    ConsistencyProof,
    InclusionProof,
    check_proof,
    prove_consistency,
    prove_inclusion,
    read_proof,
    read_receipt,
    write_document,
)
from medlocker.audit.queries import EventFilter, Holding, read_events, select, who
from medlocker.audit.verifying import LedgerReport, verify_ledger

__all__ = [
    "LEDGER_NAME",
    "Accusation",
    "ConsistencyProof",
    "EditionMade",
    "Entry",
    "Event",
    "EventFilter",
    "Finding",
    "Holding",
    "InclusionProof",
    "KeyIssued",
    "KeyReissued",
    "KeyRevoked",
    "KeyUsed",
    "Ledger",
    "LedgerError",
    "LedgerReport",
    "RecipientAdded",
    "ReleaseCreated",
    "ReleaseReplaced",
    "SignedTreeHead",
    "TraceReported",
    "TreeHead",
    "check_proof",
    "export_events",
    "image_sha256",
    "prove_consistency",
    "prove_inclusion",
    "read_events",
    "read_proof",
    "read_receipt",
    "read_sidecar",
    "select",
    "text_sha256",
    "verify_ledger",
    "who",
    "write_document",
]
