"""Issue, reissue and revoke keys: each is recorded in the ledger before anyone can hold its outcome."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from medlocker.audit import (
    Event,
    KeyIssued,
    KeyReissued,
    KeyRevoked,
    SignedTreeHead,
    image_sha256,
    read_sidecar,
    text_sha256,
    write_document,
)
from medlocker.errors import ReleaseError, SettingsError
from medlocker.imageio import write_atomic
from medlocker.keys.copies import MarkedCopy
from medlocker.keys.documents import KeyDocument
from medlocker.keys.issuing import issue_key, key_id
from medlocker.keys.recipients import Recipient
from medlocker.keys.recording import OwnerLedger
from medlocker.keys.revocations import (
    FRESH_FOR,
    REVOCATIONS_NAME,
    RevocationList,
    RevokedKey,
    read_revocations,
    write_revocations,
)
from medlocker.keys.vault import seal_key

RECEIPT_SUFFIX = ".receipt.json"


@dataclass(frozen=True)
class Issued:
    """A key that was delivered to a file.

    Attributes:
        path: of the sealed key.
        receipt_path: of the signed tree head that vouches for the event; goes to the recipient with the key.
        details: what the ledger records.
        recovered: an earlier command had recorded the key and was interrupted; this one only finished it.
    """

    path: Path
    receipt_path: Path
    details: KeyIssued | KeyReissued
    recovered: bool = False


@dataclass(frozen=True)
class Terms:
    """What a key is to allow.

    Attributes:
        expires_at: with a time zone; None for never.
        images: ids it opens; None for all.
    """

    expires_at: datetime | None = None
    images: Collection[str] | None = None


def issue(copy: MarkedCopy, ledger: OwnerLedger, recipient: Recipient, out: Path, terms: Terms = Terms()) -> Issued:
    """Make a recipient's first key to a copy.

    The key is sealed into a file that nobody reads, recorded, and only then given its name: a key that somebody holds
    is always in the ledger. If the command is interrupted, the same command finishes it.

    Args:
        copy: release or edition.
        ledger: of the release.
        recipient: registered.
        out: new file for the sealed key.
        terms: expiry and scope.

    Raises:
        SettingsError: the recipient holds a key to this copy already, or the terms are not valid.
        ReleaseError: `out` exists.
        LedgerError: the ledger is at fault or cannot be written; no key was made.
    """
    with ledger.exclusive():
        events = ledger.events()
        if finished := _finish(out, ledger, events):
            return finished
        if held := _versions(events, copy, recipient.name):
            raise SettingsError(
                f"{recipient.name} holds version {max(held)} of a key to this {_kind(copy)} already",
                fix="use medlocker key reissue to replace it",
            )
        document = _document(copy, ledger, recipient, 1, terms)
        return _deliver(out, ledger, document, KeyIssued.model_validate(_facts(copy, document, recipient)))


def reissue(
    copy: MarkedCopy, ledger: OwnerLedger, recipient: Recipient, out: Path, reason: str, terms: Terms = Terms()
) -> Issued:
    """Make the next version of a recipient's key; the earlier version counts as superseded.

    Args:
        copy: release or edition.
        ledger: of the release.
        recipient: registered; may have another public key than before.
        out: new file for the sealed key.
        reason: why.
        terms: expiry and scope of the new version.

    Raises:
        SettingsError: the recipient holds no key to this copy yet, or the terms are not valid.
        ReleaseError: `out` exists.
        LedgerError: as `issue`.
    """
    with ledger.exclusive():
        events = ledger.events()
        if finished := _finish(out, ledger, events):
            return finished
        held = _versions(events, copy, recipient.name)
        if not held:
            raise SettingsError(
                f"{recipient.name} holds no key to this {_kind(copy)} yet", fix="use medlocker key issue"
            )
        document = _document(copy, ledger, recipient, max(held) + 1, terms)
        facts = _facts(copy, document, recipient) | {"replaces": max(held), "reason": reason}
        return _deliver(out, ledger, document, KeyReissued.model_validate(facts))


def revoke(
    copy: MarkedCopy, ledger: OwnerLedger, name: str, reason: str, *, version: int | None = None
) -> tuple[KeyRevoked, ...]:
    """Record that keys are no longer to be used; `publish_revocations` then tells recipients.

    A delivered key still opens the images it was made for.

    Args:
        copy: release or edition.
        ledger: of the release.
        name: of the recipient.
        reason: why.
        version: of the key; None for all versions that are not revoked yet.

    Returns:
        What was recorded; empty where all of it had been revoked before.

    Raises:
        SettingsError: there is no such key.
        LedgerError: the ledger is at fault or cannot be written.
    """
    with ledger.exclusive():
        events = ledger.events()
        held = _versions(events, copy, name)
        chosen = held if version is None else [one for one in held if one == version]
        if not chosen:
            which = "a key" if version is None else f"version {version} of a key"
            raise SettingsError(
                f"{name} holds no {which.removeprefix('a ')} to this {_kind(copy)}", fix="see medlocker key list"
            )
        done = {one.key_version for one, _when in _revocations(events, copy) if one.recipient == name}
        made = tuple(
            KeyRevoked(
                release_id=copy.release_id, edition_id=copy.edition_id, recipient=name, key_version=one, reason=reason
            )
            for one in chosen
            if one not in done
        )
        for details in made:
            ledger.record(details)
        return made


def publish_revocations(
    copy: MarkedCopy,
    ledger: OwnerLedger,
    *,
    fresh_for: timedelta = FRESH_FOR,
    out: Path | None = None,
    now: datetime | None = None,
) -> RevocationList:
    """Write the signed list of revoked keys into the copy's folder, and to `out`.

    Args:
        copy: release or edition.
        ledger: of the release.
        fresh_for: how long the list counts as fresh.
        out: another file for it.
        now: with a time zone; None for the present.

    Returns:
        The list.

    Raises:
        UnlockError: the list in the folder is not the owner's.
        ReleaseError: a file cannot be written.
    """
    place = copy.folder / REVOCATIONS_NAME
    with ledger.exclusive():
        before = read_revocations(place, ledger.owner.public_keys) if place.exists() else None
        issued_at = (now or datetime.now(UTC)).replace(microsecond=0)
        document = RevocationList(
            release_id=copy.manifest.release_id,
            number=before.number + 1 if before else 1,
            issued_at=issued_at,
            next_update=issued_at + fresh_for,
            revoked=tuple(
                RevokedKey(
                    key_id=key_id(copy.vault, one.recipient, one.key_version), revoked_at=when.replace(microsecond=0)
                )
                for one, when in _revocations(ledger.events(), copy)
            ),
        )
        for path in filter(None, (place, out)):
            write_revocations(path, document, ledger.owner.signing)
    return document


def matching_images(copy: MarkedCopy, patterns: Sequence[str]) -> frozenset[str]:
    """Ids of a copy's images that are named, or match a pattern such as `ward4/*`.

    Raises:
        SettingsError: a pattern matches nothing.
    """
    ids = [image.id for image in copy.vault.images]
    chosen: set[str] = set()
    for pattern in patterns:
        found = [one for one in ids if one == pattern] or fnmatch.filter(ids, pattern)
        if not found:
            raise SettingsError(
                f"--images: {pattern!r} matches no image of {copy.folder}", fix="give ids as in its release.json"
            )
        chosen.update(found)
    return frozenset(chosen)


def receipt_file(key: Path) -> Path:
    """Where the receipt of a key lies: `KEY.receipt.json`."""
    return key.with_name(key.name + RECEIPT_SUFFIX)


def _document(copy: MarkedCopy, ledger: OwnerLedger, recipient: Recipient, version: int, terms: Terms) -> KeyDocument:
    return issue_key(
        copy.vault,
        copy.manifest,
        to=recipient.name,
        recipient=recipient.key,
        owner_key=ledger.owner.signing.public,
        version=version,
        expires_at=terms.expires_at,
        images=terms.images,
        edition_of=copy.release_id if copy.edition else None,
    )


def _facts(copy: MarkedCopy, document: KeyDocument, recipient: Recipient) -> dict[str, object]:
    """Fields of the event; the digest of the sealed file is put in by `_deliver`."""
    scope: object = "all"
    if document.scope == "subset":
        scope = tuple(image_sha256(copy.release_id, image.id) for image in document.images)
    return {
        "release_id": copy.release_id,
        "edition_id": copy.edition_id,
        "recipient": recipient.name,
        "key_version": document.key_version,
        "recipient_key_sha256": text_sha256(recipient.key),
        "key_sha256": "0" * 64,
        "images": len(document.images),
        "scope": scope,
        "expires_at": document.expires_at,
    }


def _deliver(out: Path, ledger: OwnerLedger, document: KeyDocument, details: KeyIssued | KeyReissued) -> Issued:
    for path in (out, receipt_file(out)):
        if path.exists():
            raise ReleaseError(f"{path}: already exists", fix="choose another file for the key")
    sealed = seal_key(document, ledger.owner.signing)
    details = details.model_copy(update={"key_sha256": hashlib.sha256(sealed).hexdigest()})
    write_atomic(_pending(out), sealed)
    return _hand_over(out, ledger.record(details), details, recovered=False)


def _finish(out: Path, ledger: OwnerLedger, events: Sequence[Event]) -> Issued | None:
    """Finish a key that was recorded and not yet handed over; a file that was never recorded is dropped."""
    pending = _pending(out)
    if not pending.exists():
        return None
    digest = hashlib.sha256(pending.read_bytes()).hexdigest()
    for event in reversed(events):
        details = event.details
        if isinstance(details, KeyIssued | KeyReissued) and details.key_sha256 == digest:
            sidecar = read_sidecar(ledger.path)
            if sidecar is not None:
                receipt_file(out).unlink(missing_ok=True)
                return _hand_over(out, sidecar.latest, details, recovered=True)
    pending.unlink()
    return None


def _hand_over(out: Path, receipt: SignedTreeHead, details: KeyIssued | KeyReissued, *, recovered: bool) -> Issued:
    write_document(receipt_file(out), receipt)
    _pending(out).replace(out)
    return Issued(out, receipt_file(out), details, recovered)


def _pending(out: Path) -> Path:
    return out.with_name(f".{out.name}.pending")


def _versions(events: Sequence[Event], copy: MarkedCopy, name: str) -> list[int]:
    return [
        event.details.key_version
        for event in events
        if isinstance(event.details, KeyIssued | KeyReissued)
        and (event.details.release_id, event.details.edition_id) == (copy.release_id, copy.edition_id)
        and event.details.recipient == name
    ]


def _revocations(events: Sequence[Event], copy: MarkedCopy) -> list[tuple[KeyRevoked, datetime]]:
    return [
        (event.details, event.time)
        for event in events
        if isinstance(event.details, KeyRevoked)
        and (event.details.release_id, event.details.edition_id) == (copy.release_id, copy.edition_id)
    ]


def _kind(copy: MarkedCopy) -> str:
    return "edition" if copy.edition else "release"
