"""Signed tree heads: what the owner vouches the ledger held at a moment. Given away, they are receipts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medlocker.audit.events import Count, Hex512, LedgerError, UtcTime
from medlocker.audit.merkle import Frontier
from medlocker.release import Hex256
from medlocker.sealing import canonical_json
from medlocker.signing import PublicKey, SigningIdentity, pae, sign_model

HEAD_SCHEMA: Final = "medlocker.tree-head/1"
HEAD_TYPE = "application/vnd.medlocker.tree-head+json"
HEAD_SUFFIX = ".head"
MAX_DOCUMENT_BYTES = 1 << 26

_Document = TypeVar("_Document", bound=BaseModel)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TreeHead(_Model):
    """The state of a ledger.

    Attributes:
        schema_version: of this document.
        ledger: leaf hash of the first line, which tells ledgers apart.
        size: events, at least 1.
        root: of the Merkle tree over all lines.
        time: UTC, when it was signed.
    """

    schema_version: Literal["medlocker.tree-head/1"] = HEAD_SCHEMA
    ledger: Hex256
    size: Annotated[int, Field(ge=1, le=1 << 53)]
    root: Hex256
    time: UtcTime


class SignedTreeHead(_Model):
    """A tree head and the owner's signature of it."""

    head: TreeHead
    signature: Hex512

    def signed_by(self, keys: Sequence[PublicKey]) -> bool:
        """Whether one of these keys signed it."""
        message = pae(HEAD_TYPE, canonical_json(self.head))
        return any(key.verify(bytes.fromhex(self.signature), message) for key in keys)


class Sidecar(_Model):
    """The latest head and what the next append needs, so that it need not read the ledger again.

    Lies beside the ledger; can be lost without harm, and is checked before use.

    Attributes:
        schema_version: of this document.
        latest: signed head.
        peaks: of the Merkle frontier.
        start: byte at which the last line begins.
        end: byte after the last line.
    """

    schema_version: Literal["medlocker.ledger-head/1"] = "medlocker.ledger-head/1"
    latest: SignedTreeHead
    peaks: Annotated[tuple[Hex256, ...], Field(max_length=64)]
    start: Count
    end: Count

    @property
    def frontier(self) -> Frontier:
        """The frontier at the latest head."""
        return Frontier(self.latest.head.size, tuple(bytes.fromhex(peak) for peak in self.peaks))

    def sound(self, keys: Sequence[PublicKey]) -> bool:
        """Whether the owner signed this head, and the frontier has its root."""
        frontier = self.frontier
        return frontier.well_formed and frontier.root.hex() == self.latest.head.root and self.latest.signed_by(keys)


def sign_head(identity: SigningIdentity, ledger: str, frontier: Frontier, time: datetime) -> SignedTreeHead:
    """Sign the state of a ledger.

    Args:
        identity: the owner's.
        ledger: leaf hash of the first line.
        frontier: of the tree.
        time: with a time zone.
    """
    head = TreeHead(ledger=ledger, size=frontier.size, root=frontier.root.hex(), time=time)
    return SignedTreeHead(head=head, signature=sign_model(identity, HEAD_TYPE, head).hex())


def sidecar_path(ledger: Path) -> Path:
    """Where the latest head of a ledger lies."""
    return ledger.with_name(ledger.name + HEAD_SUFFIX)


def read_sidecar(ledger: Path) -> Sidecar | None:
    """The sidecar of a ledger; None where there is none.

    Raises:
        LedgerError: it is damaged.
    """
    path = sidecar_path(ledger)
    return parse_document(read_document(path), Sidecar, str(path)) if path.exists() else None


def read_document(path: Path) -> bytes:
    """A small file.

    Raises:
        LedgerError: it is missing, too large or cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DOCUMENT_BYTES + 1)
    except FileNotFoundError:
        raise LedgerError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise LedgerError(f"{str(path)!r}: cannot be read", why=str(error)[:200]) from None
    if len(content) > MAX_DOCUMENT_BYTES:
        raise LedgerError(f"{path}: larger than {MAX_DOCUMENT_BYTES >> 20} MiB", why="such documents are not read")
    return content


def parse_document(content: bytes, model: type[_Document], name: str) -> _Document:
    """A document in its canonical form, which one line break may follow.

    Args:
        content: of the file.
        model: what it should be.
        name: of the file, for messages.

    Raises:
        LedgerError: it is not one, or not canonical.
    """
    try:
        document = model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:200]
        raise LedgerError(f"{name}: not a valid {model.__name__}", why=f"{where}: {first['msg']}"[:500]) from None
    if canonical_json(document) != content.removesuffix(b"\n"):
        raise LedgerError(f"{name}: not canonical JSON", why="it was altered or written by another program")
    return document
