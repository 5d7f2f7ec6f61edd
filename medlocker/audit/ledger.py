"""Append to a ledger: one writer at a time, durable before it is acknowledged, and without reading it all again."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from medlocker.audit.checking import MAX_LINE_BYTES, Checker, Position, read_lines
from medlocker.audit.events import EVENT_TYPE, Details, Entry, Event, LedgerError
from medlocker.audit.heads import Sidecar, SignedTreeHead, read_sidecar, sidecar_path, sign_head
from medlocker.audit.merkle import leaf_hash
from medlocker.sealing import canonical_json
from medlocker.signing import PublicKey, SigningIdentity, sign_model

LEDGER_NAME = "ledger.jsonl"
TORN_SUFFIX = ".torn"
_VERIFY = "run medlocker audit verify"

_log = logging.getLogger(__name__)


class Ledger:
    """An owner's ledger, to be appended to.

    Args:
        path: the file; made by the first append, in a folder that exists.
        identity: the owner's, signs.
        earlier_keys: the owner's former public keys, in the order of their use.
    """

    def __init__(self, path: Path, identity: SigningIdentity, earlier_keys: Sequence[PublicKey] = ()) -> None:
        self.path, self.identity = path, identity
        self.keys = (*earlier_keys, identity.public)

    def append(
        self, details: Details, *, actor: str, run_id: str | None = None, now: datetime | None = None
    ) -> SignedTreeHead:
        """Record an event.

        Args:
            details: what happened.
            actor: who did it.
            run_id: of the MLflow run.
            now: with a time zone; None for the present.

        Returns:
            The head of the ledger with this event as its last: the receipt. The event is on disk by then.

        Raises:
            LedgerError: the ledger was altered or truncated, or cannot be written; nothing was recorded.
        """
        with _locked(self.path) as file:
            sidecar = self._sidecar()
            _recover_tail(self.path, file, sidecar)
            position = self._position(file, sidecar)
            line = canonical_json(self._entry(position, details, actor, run_id, now))
            if len(line) >= MAX_LINE_BYTES:
                raise LedgerError("the event is longer than 32 MiB", fix="record it in parts")
            start = _write(self.path, file, line + b"\n")
            return self._advance(position, line, start, now)

    def latest(self) -> SignedTreeHead | None:
        """The latest signed head; None before the first event.

        Raises:
            LedgerError: the ledger was altered or truncated.
        """
        if not self.path.exists():
            return None
        with _locked(self.path) as file:
            position = self._position(file, self._sidecar())
            if position.ledger is None:
                return None
            return sign_head(self.identity, position.ledger, position.frontier, datetime.now(UTC))

    def _sidecar(self) -> Sidecar | None:
        """The sidecar, if it can be trusted; otherwise the ledger is read in full."""
        try:
            sidecar = read_sidecar(self.path)
        except LedgerError:
            return None
        return sidecar if sidecar is not None and sidecar.sound(self.keys) else None

    def _position(self, file: BinaryIO, sidecar: Sidecar | None) -> Position:
        """Where the next event goes: from the sidecar, and whatever lines were written after it."""
        position = Position() if sidecar is None else self._resume(file, sidecar)
        checker = Checker(self.keys, position)
        for line in read_lines(self.path, 0 if sidecar is None else sidecar.end):
            checker.take(line.removesuffix(b"\n"))
        if checker.faults:
            first = checker.faults[0]
            raise LedgerError(f"{self.path}: line {first.line}: {first.message}", why="nothing is added", fix=_VERIFY)
        return checker.position

    def _resume(self, file: BinaryIO, sidecar: Sidecar) -> Position:
        head = sidecar.latest.head
        file.seek(sidecar.start)
        line = file.read(max(0, min(sidecar.end - sidecar.start, MAX_LINE_BYTES)))
        checker = Checker(self.keys)
        entry = checker.take(line.removesuffix(b"\n"))
        kinds = {fault.kind for fault in checker.faults} - {"wrong_sequence", "broken_chain"}
        if entry is None or kinds or not line.endswith(b"\n") or entry.event.sequence != head.size - 1:
            raise LedgerError(
                f"{self.path}: not the ledger that its last signed head vouches for",
                why="it was altered, truncated or replaced; nothing is added", fix=_VERIFY,
            )  # fmt: skip
        return Position(
            sidecar.frontier, head.ledger, leaf_hash(line[:-1]).hex(), head.size, entry.event.time
        )  # fmt: skip

    def _entry(
        self, position: Position, details: Details, actor: str, run_id: str | None, now: datetime | None
    ) -> Entry:
        try:
            event = Event(
                sequence=position.sequence,
                time=now or datetime.now(UTC),
                actor=actor,
                run_id=run_id,
                previous=position.previous,
                details=details,
            )
        except ValidationError as error:
            first = error.errors(include_input=False, include_context=False)[0]
            raise LedgerError(f"event field {first['loc'][0]}: {first['msg']}") from None
        return Entry(event=event, signature=sign_model(self.identity, EVENT_TYPE, event).hex())

    def _advance(self, position: Position, line: bytes, start: int, now: datetime | None) -> SignedTreeHead:
        leaf = leaf_hash(line)
        frontier = position.frontier.append(leaf)
        latest = sign_head(self.identity, position.ledger or leaf.hex(), frontier, now or datetime.now(UTC))
        peaks = tuple(peak.hex() for peak in frontier.peaks)
        sidecar = Sidecar(latest=latest, peaks=peaks, start=start, end=start + len(line) + 1)
        try:
            _replace(sidecar_path(self.path), canonical_json(sidecar) + b"\n")
        except OSError as error:
            # The event is on disk already; the next append catches up from the older head.
            _log.warning("%s: its latest head could not be stored (%s)", self.path, error.strerror)
        return latest


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The ledger, open for reading and writing, with every other writer kept out."""
    try:
        import fcntl
    except ImportError:
        raise LedgerError("a ledger cannot be written on this system", why="it has no file locks (fcntl)") from None
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
    except OSError as error:
        raise LedgerError(f"{path}: cannot be written", why=error.strerror) from error


def _recover_tail(path: Path, file: BinaryIO, sidecar: Sidecar | None) -> None:
    """Move an interrupted append aside. What a signed head vouches for is never moved."""
    kept = 0 if sidecar is None else sidecar.end
    end = file.seek(0, os.SEEK_END)
    start = _last_line_start(file, end)
    if start >= end or start < kept:
        return
    if end - start > MAX_LINE_BYTES:
        raise LedgerError(f"{path}: a line of more than 32 MiB", why="nothing is added", fix=_VERIFY)
    file.seek(start)
    line = file.read(end - start)
    if line.endswith(b"\n") and _is_json(line):
        return
    aside = path.with_name(path.name + TORN_SUFFIX)
    with aside.open("ab") as torn:
        torn.write(line if line.endswith(b"\n") else line + b"\n")
        torn.flush()
        os.fsync(torn.fileno())
    file.truncate(start)
    os.fsync(file.fileno())
    _log.warning("%s: an append was interrupted; its %d bytes were moved to %s", path, len(line), aside)


def _last_line_start(file: BinaryIO, end: int) -> int:
    """Where the last line begins, whether or not it ends in a line break."""
    position = end - 1
    while position > 0:
        step = min(position, 1 << 16)
        file.seek(position - step)
        found = file.read(step).rfind(b"\n")
        if found >= 0:
            return position - step + found + 1
        position -= step
    return 0


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _write(path: Path, file: BinaryIO, data: bytes) -> int:
    """Add bytes at the end, all or none; returns where they begin."""
    start = file.seek(0, os.SEEK_END)
    try:
        written = file.write(data)
        os.fsync(file.fileno())
        if start == 0:
            _sync_folder(path.parent)
    except OSError:
        file.truncate(start)
        raise
    if written != len(data):
        file.truncate(start)
        raise LedgerError(f"{path}: the event was not written", why="the disk is full", fix="free space and repeat")
    return start


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(path: Path, data: bytes) -> None:
    """Replace a file that may be lost: whole or not at all, but not forced to disk."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)
