"""Verify a whole ledger against the owner's public key and the receipts that were given away."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from medlocker.audit.checking import Checker, FaultKind, Finding, read_lines
from medlocker.audit.events import LedgerError
from medlocker.audit.heads import SignedTreeHead, TreeHead, read_sidecar, sidecar_path
from medlocker.signing import PublicKey


class LedgerReport(BaseModel):
    """What was found.

    Attributes:
        ledger: leaf hash of the first line; None where there is none.
        size: whole lines.
        root: of the Merkle tree over them.
        first: time of the first event.
        last: time of the last event.
        receipts: how many heads were compared, the one beside the ledger included.
        faults: what proves the ledger wrong; the first thousand.
        fault_count: all of them.
        warnings: what is odd but proves nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ledger: str | None
    size: int
    root: str
    first: datetime | None
    last: datetime | None
    receipts: int
    faults: tuple[Finding, ...]
    fault_count: int
    warnings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing proves the ledger wrong."""
        return not self.fault_count


def verify_ledger(
    path: Path, owner_keys: PublicKey | Sequence[PublicKey], receipts: Sequence[SignedTreeHead] = ()
) -> LedgerReport:
    """Check every line, and that each receipt's head is one that this ledger once had.

    A ledger alone cannot show that its end was cut off, or that all of it was written anew under the same key. A
    receipt does; the head beside the ledger counts as one.

    Args:
        path: the ledger.
        owner_keys: the owner's public key; several, in the order of their use, if the owner changed keys.
        receipts: heads that were given away.

    Returns:
        The report.

    Raises:
        LedgerError: the file is missing or cannot be read, or no key is given.
    """
    keys = (owner_keys,) if isinstance(owner_keys, PublicKey) else tuple(owner_keys)
    if not keys:
        raise LedgerError("no public key of the owner", fix="name it with --owner-key")
    return _Verification(path, keys, receipts).report()


class _Verification:
    def __init__(self, path: Path, keys: tuple[PublicKey, ...], receipts: Sequence[SignedTreeHead]) -> None:
        self.checker = Checker(keys)
        self.faults: list[Finding] = []
        self.warnings: list[Finding] = []
        self.heads = {f"receipt {number}": receipt for number, receipt in enumerate(receipts, 1)}
        self._add_sidecar(path)
        self.roots: dict[int, str] = {}
        self.next_times: dict[int, datetime | None] = {}
        self.first: datetime | None = None
        self._read(path, {one.head.size for one in self.heads.values()})
        for name, signed in self.heads.items():
            self._check_head(name, signed)

    def _add_sidecar(self, path: Path) -> None:
        name = sidecar_path(path).name
        try:
            sidecar = read_sidecar(path)
        except LedgerError as error:
            self.warnings.append(Finding(kind="unreadable_head", line=None, message=str(error)))
            return
        if sidecar is not None:
            self.heads[name] = sidecar.latest

    def _read(self, path: Path, sizes: set[int]) -> None:
        for line in read_lines(path):
            size = self.checker.position.frontier.size
            if not line.endswith(b"\n"):
                message = "the last line is torn: an append was interrupted; the next one moves it aside"
                self.warnings.append(Finding(kind="torn_tail", line=size + 1, message=message))
                break
            entry = self.checker.take(line[:-1])
            if entry is not None and self.first is None:
                self.first = entry.event.time
            if size in sizes:
                self.next_times[size] = entry.event.time if entry else None
            if size + 1 in sizes:
                self.roots[size + 1] = self.checker.position.frontier.root.hex()

    def _check_head(self, name: str, signed: SignedTreeHead) -> None:
        head = signed.head
        if not signed.signed_by(self.checker.keys):
            self._fault("bad_receipt", f"{name} is not signed by the owner, or was altered")
        elif self.checker.position.ledger not in (None, head.ledger):
            self._fault("foreign_receipt", f"{name} is of another ledger, or this one was replaced from its first line")
        elif head.size not in self.roots:
            size = self.checker.position.frontier.size
            self._fault("truncated", f"{name} vouches for {head.size} events, the ledger holds {size}")
        elif self.roots[head.size] != head.root:
            self._fault("inconsistent_receipt", f"among the first {head.size} lines one is not what {name} vouches for")
        else:
            self._check_backdated(name, head)

    def _check_backdated(self, name: str, head: TreeHead) -> None:
        following = self.next_times.get(head.size)
        if following is not None and following < head.time:
            message = f"its time {following} lies before {name}, in which it is missing ({head.time})"
            self.warnings.append(Finding(kind="backdated", line=head.size + 1, message=message))

    def _fault(self, kind: FaultKind, message: str) -> None:
        self.faults.append(Finding(kind=kind, line=None, message=message))

    def report(self) -> LedgerReport:
        """Everything found."""
        position = self.checker.position
        return LedgerReport(
            ledger=position.ledger,
            size=position.frontier.size,
            root=position.frontier.root.hex(),
            first=self.first,
            last=position.time,
            receipts=len(self.heads),
            faults=(*self.checker.faults, *self.faults),
            fault_count=self.checker.fault_count + len(self.faults),
            warnings=(*self.checker.warnings, *self.warnings),
        )
