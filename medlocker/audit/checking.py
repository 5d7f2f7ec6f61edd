"""Check a ledger line by line: each event is well formed, signed, in sequence, and chained to the line before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from medlocker.audit.events import EVENT_TYPE, NO_PREVIOUS, Entry, LedgerError
from medlocker.audit.heads import parse_document
from medlocker.audit.merkle import Frontier, leaf_hash
from medlocker.signing import PublicKey, pae

MAX_LINE_BYTES = 1 << 25
MAX_KEPT = 1000

FaultKind = Literal[
    "malformed_line", "bad_signature", "retired_key", "wrong_sequence", "broken_chain",
    "truncated", "inconsistent_receipt", "foreign_receipt", "bad_receipt",
    "clock_back", "backdated", "torn_tail", "unreadable_head",
]  # fmt: skip


class Finding(BaseModel):
    """Something wrong or odd.

    Attributes:
        kind: what it is.
        line: of the ledger, from 1; None where it concerns the whole.
        message: for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    line: int | None
    message: str


class Position(NamedTuple):
    """Where a check stands.

    Attributes:
        frontier: of the Merkle tree so far.
        ledger: leaf hash of the first line; None before it.
        previous: leaf hash of the line before.
        sequence: that the next event should have.
        time: of the event before.
    """

    frontier: Frontier = Frontier()
    ledger: str | None = None
    previous: str = NO_PREVIOUS
    sequence: int = 0
    time: datetime | None = None


class Checker:
    """Takes lines in order; collects findings instead of stopping at the first.

    Args:
        keys: the owner's public keys in the order of their use; empty leaves signatures unchecked.
        position: where to begin.
    """

    def __init__(self, keys: Sequence[PublicKey], position: Position = Position()) -> None:  # noqa: B008 (immutable)
        self.keys, self.position = tuple(keys), position
        self.faults: list[Finding] = []
        self.warnings: list[Finding] = []
        self.fault_count = 0
        self._key = 0

    def take(self, line: bytes) -> Entry | None:
        """Check one line, without its line break; None where it holds no event."""
        try:
            entry = parse_document(line, Entry, "line")
        except LedgerError as error:
            self._fault("malformed_line", f"not an event: {error.why}")
            entry = None
        if entry is not None:
            self._check_place(entry)
            self._check_signature(line, entry)
        self._advance(line, entry)
        return entry

    def _check_place(self, entry: Entry) -> None:
        event, position = entry.event, self.position
        if event.sequence != position.sequence:
            self._fault("wrong_sequence", f"event {event.sequence} where {position.sequence} should follow")
        if event.previous != position.previous:
            self._fault("broken_chain", "the event does not follow from the line before it")
        if position.time is not None and event.time < position.time:
            self._warn("clock_back", f"its time {event.time} lies before that of the line before, {position.time}")

    def _check_signature(self, line: bytes, entry: Entry) -> None:
        if not self.keys:
            return
        message, signature = pae(EVENT_TYPE, _event_bytes(line)), bytes.fromhex(entry.signature)
        later = range(self._key, len(self.keys))
        signer = next((i for i in (*later, *range(self._key)) if self.keys[i].verify(signature, message)), None)
        if signer is None:
            self._fault("bad_signature", "the event is not signed by the owner, or was altered")
        elif signer < self._key:
            self._fault("retired_key", "the event is signed with a key that a later one had replaced")
        else:
            self._key = signer

    def _advance(self, line: bytes, entry: Entry | None) -> None:
        before, leaf = self.position, leaf_hash(line)
        self.position = Position(
            frontier=before.frontier.append(leaf),
            ledger=before.ledger or leaf.hex(),
            previous=leaf.hex(),
            # After a gap the count goes on from what was found: one deleted line is one fault, not one a line.
            sequence=(before.sequence if entry is None else entry.event.sequence) + 1,
            time=before.time if entry is None else entry.event.time,
        )

    def _fault(self, kind: FaultKind, message: str) -> None:
        self.fault_count += 1
        if len(self.faults) < MAX_KEPT:
            self.faults.append(self._finding(kind, message))

    def _warn(self, kind: FaultKind, message: str) -> None:
        if len(self.warnings) < MAX_KEPT:
            self.warnings.append(self._finding(kind, message))

    def _finding(self, kind: FaultKind, message: str) -> Finding:
        return Finding(kind=kind, line=self.position.frontier.size + 1, message=message)


def _event_bytes(line: bytes) -> bytes:
    """The event's canonical JSON as it stands in a line that was shown to be canonical: keys are in order there."""
    return line.removeprefix(b'{"event":').rpartition(b',"signature":"')[0]


def read_lines(path: Path, start: int = 0) -> Iterator[bytes]:
    """The lines of a ledger with their line breaks; the last may lack its own.

    Args:
        path: the ledger.
        start: byte at which to begin.

    Raises:
        LedgerError: the file is missing, cannot be read, or has a line of more than 32 MiB.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            while line := file.readline(MAX_LINE_BYTES + 1):
                if len(line) > MAX_LINE_BYTES:
                    raise LedgerError(f"{path}: a line of more than 32 MiB", why="no event is that long")
                yield line
    except FileNotFoundError:
        raise LedgerError(f"{path}: no such ledger", fix="name it with --ledger") from None
    except (OSError, ValueError) as error:
        raise LedgerError(f"{str(path)!r}: cannot be read", why=str(error)[:200]) from None
