"""Signed lists of keys that are no longer to be used, and whether a key may be used now.

A list is published with the release or handed on by any other way. It holds ids of key versions, which name nobody.
Source: the roles of thisUpdate, nextUpdate and CRL number are those of RFC 5280, 5.1.2 and 5.2.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medlocker.audit.events import Count, UtcTime
from medlocker.errors import IdentityError, UnlockError
from medlocker.imageio import write_atomic
from medlocker.keys.documents import KeyDocument
from medlocker.release import ReleaseId
from medlocker.sealing import canonical_json
from medlocker.signing import (
    PublicKey,
    SignatureError,
    SigningIdentity,
    parse_envelope,
    parse_public_key,
    sign_envelope,
    verify_envelope,
)

REVOCATIONS_NAME = "revocations.json"
REVOCATIONS_TYPE = "application/vnd.medlocker.revocations+json"
REVOCATIONS_SCHEMA: Final = "medlocker.revocations/1"
FRESH_FOR = timedelta(days=30)
MAX_LIST_BYTES = 1 << 26


class RevokedKeyError(UnlockError):
    """The owner has revoked this key."""


class ExpiredKeyError(UnlockError):
    """The key's time is over."""


class StaleRevocationsError(UnlockError):
    """No list of revoked keys is fresh enough to tell whether a key may be used."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RevokedKey(_Model):
    """A key version that is no longer to be used.

    Attributes:
        key_id: of the key.
        revoked_at: UTC.
    """

    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    revoked_at: UtcTime


class RevocationList(_Model):
    """All revoked keys of one copy at a moment.

    Attributes:
        release_id: of the release or edition.
        number: counts up; of two lists the one with the higher number is the later.
        issued_at: UTC.
        next_update: UTC; the owner promises a later list by then, so that after it this one is stale.
        revoked: in the order of revocation.
    """

    schema_version: Literal["medlocker.revocations/1"] = REVOCATIONS_SCHEMA
    release_id: ReleaseId
    number: Count
    issued_at: UtcTime
    next_update: UtcTime
    revoked: tuple[RevokedKey, ...] = ()


def write_revocations(path: Path, document: RevocationList, signing: SigningIdentity) -> None:
    """Sign and write a list; an older one is replaced.

    Raises:
        ReleaseError: the file cannot be written.
    """
    envelope = sign_envelope(REVOCATIONS_TYPE, canonical_json(document), signing)
    write_atomic(path, canonical_json(envelope) + b"\n")


def read_revocations(path: Path, keys: Sequence[PublicKey]) -> RevocationList:
    """Read a list.

    Args:
        path: the file.
        keys: public signing keys of the owner.

    Raises:
        UnlockError: the file is missing, too large, not a list, or not signed by the owner.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_LIST_BYTES + 1)
    except FileNotFoundError:
        raise UnlockError(f"{path}: no such file", fix="name a list of revoked keys, or leave the option out") from None
    except OSError as error:
        raise UnlockError(f"{path}: cannot be read", why=error.strerror) from error
    if len(content) > MAX_LIST_BYTES:
        raise UnlockError(f"{path}: larger than {MAX_LIST_BYTES >> 20} MiB", why="no list is that long")
    try:
        envelope = parse_envelope(content)
        if canonical_json(envelope) + b"\n" != content:
            raise SignatureError("the envelope is not canonical", why="it was altered")
        return RevocationList.model_validate_json(verify_envelope(envelope, keys, REVOCATIONS_TYPE))
    except (SignatureError, ValidationError) as error:
        raise UnlockError(
            f"{path}: not a list of revoked keys that the owner signed",
            why=error.why if isinstance(error, SignatureError) else "it is not valid",
            fix="get the list from the owner again; if the owner changed keys, name the new one with --owner-key",
        ) from None


def received_list(path: Path, keys: Sequence[PublicKey]) -> RevocationList:
    """Read a list as a recipient does: one signed with a key that the owner has replaced is never fresh.

    What it revokes stays revoked. But a thief of the former key must not hold off later lists with one of their own.

    Args:
        path: the file.
        keys: public signing keys of the owner in the order of their use; the last one counts.

    Raises:
        UnlockError: as `read_revocations`.
    """
    document = read_revocations(path, keys)
    try:
        return read_revocations(path, keys[-1:])
    except UnlockError:
        return document.model_copy(update={"number": 0, "next_update": document.issued_at})


def check_usable(
    key: KeyDocument,
    lists: Sequence[RevocationList],
    *,
    now: datetime | None = None,
    require_fresh: bool = False,
) -> tuple[str, ...]:
    """Whether a recipient may use a key now.

    A clock that was set back does not help: the time of the latest list counts if it is later than the clock. An older
    list beside a newer one does not help either: a key named by any of them is refused.

    Args:
        key: opened.
        lists: all that are at hand, read with `read_revocations`.
        now: with a time zone; None for the present.
        require_fresh: refuse a key when no list is fresh.

    Returns:
        Warnings for the user.

    Raises:
        RevokedKeyError: a list names the key.
        ExpiredKeyError: its time is over.
        StaleRevocationsError: no list is fresh, and one is required.
        UnlockError: a list is of another release.
    """
    for one in lists:
        if one.release_id != key.release_id:
            raise UnlockError(
                f"the list of revoked keys is of release {one.release_id}, the key of {key.release_id}",
                fix="get the list of this release",
            )
    _check_revoked(key, lists)
    latest = max((one.issued_at for one in lists), default=None)
    moment = max(filter(None, (now or datetime.now(UTC), latest)))
    if key.expires_at is not None and key.expires_at <= moment:
        raise ExpiredKeyError(
            f"the key expired on {key.expires_at:%Y-%m-%d %H:%M} UTC", fix="ask the owner to reissue it"
        )
    return _freshness(lists, moment, require_fresh)


def trusted_keys(key: KeyDocument, owner_keys: Sequence[PublicKey]) -> tuple[PublicKey, ...]:
    """Whose lists count for a key: the owner's keys as named by the user, or else the one that signed the key."""
    if owner_keys:
        return tuple(owner_keys)
    try:
        return (parse_public_key(key.owner_key),)
    except IdentityError:
        return ()


def _check_revoked(key: KeyDocument, lists: Sequence[RevocationList]) -> None:
    for one in lists:
        for revoked in one.revoked:
            if revoked.key_id == key.key_id:
                raise RevokedKeyError(
                    f"the owner revoked version {key.key_version} of this key on {revoked.revoked_at:%Y-%m-%d}",
                    fix="ask the owner for a new one",
                )


def _freshness(lists: Sequence[RevocationList], moment: datetime, require_fresh: bool) -> tuple[str, ...]:
    newest = max(lists, key=lambda one: one.number, default=None)
    if newest is not None and moment < newest.next_update:
        return ()
    told = (
        "no list of revoked keys is at hand"
        if newest is None
        else f"the list of revoked keys is stale since {newest.next_update:%Y-%m-%d}"
    )
    if require_fresh:
        raise StaleRevocationsError(told, fix="get a fresh list from the owner and name it with --revocations")
    return (told,) if newest is not None else ()
