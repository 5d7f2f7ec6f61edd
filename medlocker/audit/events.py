"""What a ledger records: one event a line, with hashes only; no secret and no placement has a field here."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from medlocker.errors import MedLockerError
from medlocker.release import Hex256, ReleaseId

EVENT_SCHEMA: Final = "medlocker.event/1"
EVENT_TYPE = "application/vnd.medlocker.event+json"
NO_PREVIOUS = "0" * 64
MAX_SCOPE = 200_000


class LedgerError(MedLockerError):
    """A ledger, receipt or proof is missing, damaged, or cannot be written."""


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is out of range") from None


def _printable(text: str) -> str:
    # What others wrote is shown on terminals: it must not steer them.
    if not text.isprintable() or text != text.strip():
        raise ValueError("the text must be one printable line without outer space")
    return text


UtcTime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Note = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_printable)]
Hex512 = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Version = Annotated[int, Field(ge=1, le=1 << 31)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Scope = Literal["all"] | Annotated[tuple[Hex256, ...], Field(min_length=1, max_length=MAX_SCOPE)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReleaseCreated(_Model):
    """A release was made.

    Attributes:
        release_id: of the release.
        manifest_sha256: of the manifest's file.
        images: how many.
    """

    kind: Literal["release.created"] = "release.created"
    release_id: ReleaseId
    manifest_sha256: Hex256
    images: Count


class EditionMade(_Model):
    """A recipient's own marked copy was made.

    Attributes:
        release_id: of the release it comes from.
        edition_id: of the copy.
        recipient: whose it is.
        manifest_sha256: of its manifest's file.
        images: how many.
    """

    kind: Literal["edition.made"] = "edition.made"
    release_id: ReleaseId
    edition_id: ReleaseId
    recipient: Name
    manifest_sha256: Hex256
    images: Count


class RecipientAdded(_Model):
    """A recipient was registered.

    Attributes:
        recipient: name.
        recipient_key_sha256: `text_sha256` of the public key.
        organisation: theirs.
        purpose: what for.
    """

    kind: Literal["recipient.added"] = "recipient.added"
    recipient: Name
    recipient_key_sha256: Hex256
    organisation: Name | None = None
    purpose: Note | None = None


class ReleaseReplaced(_Model):
    """The images of a release were released anew under another secret.

    Attributes:
        release_id: of the former release.
        replaced_by: of the new one.
        reason: why.
    """

    kind: Literal["release.replaced"] = "release.replaced"
    release_id: ReleaseId
    replaced_by: ReleaseId
    reason: Note


class _KeyEvent(_Model):
    release_id: ReleaseId
    edition_id: ReleaseId | None = None
    recipient: Name
    key_version: Version


class _KeyMade(_KeyEvent):
    recipient_key_sha256: Hex256
    key_sha256: Hex256
    images: Count
    scope: Scope = "all"
    expires_at: UtcTime | None = None


class KeyIssued(_KeyMade):
    """A key was sealed to a recipient.

    Attributes:
        release_id: that it unlocks.
        edition_id: of the edition, where it is for one.
        recipient: name.
        key_version: from 1 for each recipient.
        recipient_key_sha256: `text_sha256` of the public key it is sealed to.
        key_sha256: of the sealed file.
        images: how many it unlocks.
        scope: `all`, or `image_sha256` of each.
        expires_at: UTC.
    """

    kind: Literal["key.issued"] = "key.issued"


class KeyReissued(_KeyMade):
    """A key took an earlier version's place; fields as in `KeyIssued`.

    Attributes:
        replaces: the earlier version.
        reason: why.
    """

    kind: Literal["key.reissued"] = "key.reissued"
    replaces: Version
    reason: Note


class KeyRevoked(_KeyEvent):
    """A key is no longer to be used; that its holder still could is what the ledger cannot change.

    Attributes:
        reason: why.
    """

    kind: Literal["key.revoked"] = "key.revoked"
    reason: Note


class KeyUsed(_Model):
    """Images were unlocked where the owner sees it.

    Attributes:
        release_id: of the release.
        edition_id: of the edition, where it is one.
        recipient: whose key it was; the owner's name for the vault.
        key_version: None where the owner's vault was used.
        key_sha256: of the sealed file; None where the owner's vault was used.
        images: how many were asked for.
        restored: how many were restored bit for bit.
        scope: `all`, or `image_sha256` of each.
    """

    kind: Literal["key.used"] = "key.used"
    release_id: ReleaseId
    edition_id: ReleaseId | None = None
    recipient: Name
    key_version: Version | None = None
    key_sha256: Hex256 | None = None
    images: Count
    restored: Count
    scope: Scope = "all"


class Accusation(_Model):
    """Whom a trace names.

    Attributes:
        recipient: name.
        edition_id: of their copy.
        false_accusation: probability that an innocent recipient scores as high.
    """

    recipient: Name
    edition_id: ReleaseId | None = None
    false_accusation: Probability


class TraceReported(_Model):
    """A leaked copy was examined.

    Attributes:
        release_id: of the release.
        evidence_sha256: of what was examined.
        images: how many.
        accused: whom the trace names; empty where it names nobody.
        release_itself: where the release was leaked and no edition: probability that editions look like it.
    """

    kind: Literal["trace.reported"] = "trace.reported"
    release_id: ReleaseId
    evidence_sha256: Hex256
    images: Count
    accused: Annotated[tuple[Accusation, ...], Field(max_length=1000)] = ()
    release_itself: Probability | None = None


Details = Annotated[
    ReleaseCreated
    | ReleaseReplaced
    | EditionMade
    | RecipientAdded
    | KeyIssued
    | KeyReissued
    | KeyRevoked
    | KeyUsed
    | TraceReported,
    Field(discriminator="kind"),
]
EventKind = Literal[
    "release.created", "release.replaced", "edition.made", "recipient.added",
    "key.issued", "key.reissued", "key.revoked", "key.used", "trace.reported",
]  # fmt: skip


class Event(_Model):
    """One event, as it is signed.

    Attributes:
        schema_version: of this document.
        sequence: from 0, without gaps.
        time: UTC, by the owner's clock.
        actor: who did it.
        run_id: of the MLflow run, where there is one.
        previous: leaf hash of the line before, hexadecimal; zeros for the first.
        details: what happened.
    """

    schema_version: Literal["medlocker.event/1"] = EVENT_SCHEMA
    sequence: Count
    time: UtcTime
    actor: Name
    run_id: Annotated[str, Field(pattern=r"^[0-9a-zA-Z_-]{1,64}$")] | None = None
    previous: Hex256
    details: Details


class Entry(_Model):
    """A line of the ledger: an event and the owner's signature of it."""

    event: Event
    signature: Hex512


def text_sha256(text: str) -> str:
    """Digest of a public key or another text, without surrounding space."""
    return hashlib.sha256(text.strip().encode()).hexdigest()


def image_sha256(release_id: str, image_id: str) -> str:
    """How the ledger names an image: bound to the release, so that equal file names elsewhere cannot be linked."""
    return hashlib.sha256(f"{release_id}\0{image_id}".encode()).hexdigest()
