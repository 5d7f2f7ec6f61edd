"""Vault and key files on disk: always sealed with age; and sealed records of work in progress."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from medlocker.errors import IdentityError, MedLockerError, ReleaseError, UnlockError, WrongKeyError
from medlocker.imageio import write_atomic
from medlocker.keys.documents import KEY_SCHEMA, KEY_TYPE, VAULT_SCHEMA, KeyDocument, VaultDocument
from medlocker.sealing import (
    Identity,
    SealBrokenError,
    canonical_json,
    derive_key,
    open_bytes,
    open_with,
    seal_bytes,
    seal_to,
)
from medlocker.signing import (
    Envelope,
    PublicKey,
    SignatureError,
    SigningIdentity,
    parse_envelope,
    parse_public_key,
    sign_envelope,
    verify_envelope,
)

MAX_SEALED_BYTES = 1 << 30

_Document = TypeVar("_Document", bound=BaseModel)


def write_vault(path: Path, document: VaultDocument, owner: Identity) -> None:
    """Seal a vault to its owner; an older one at `path` is replaced.

    Raises:
        ReleaseError: the file cannot be written.
    """
    write_atomic(path, seal_to([owner.public_key], canonical_json(document)))


def read_vault(path: Path, owner: Identity) -> VaultDocument:
    """Open a vault.

    Raises:
        ReleaseError: the file is missing, too large or not a vault.
        WrongKeyError: it is sealed to another identity, or altered.
    """
    return _read(path, owner, VaultDocument, VAULT_SCHEMA, ReleaseError)


def seal_key(document: KeyDocument, signing: SigningIdentity) -> bytes:
    """Sign a key and seal it to its recipient.

    Returns:
        An age file that holds a DSSE envelope; any age implementation opens it.
    """
    envelope = sign_envelope(KEY_TYPE, canonical_json(document), signing)
    return seal_to([document.recipient], canonical_json(envelope))


def read_key(path: Path, recipient: Identity, owner_keys: Sequence[PublicKey] = ()) -> KeyDocument:
    """Open a key and check who signed it.

    Args:
        path: the key file.
        recipient: the identity that it is sealed to.
        owner_keys: public signing keys known to be the owner's. None given: the signature must be that of the key that
            the document itself names, which shows that it is whole, not who wrote it.

    Raises:
        UnlockError: the file is missing, too large or not a key.
        WrongKeyError: it is sealed to another identity, was altered, or is not signed by the owner.
    """
    plain = _open(path, recipient, UnlockError)
    return _signed_key(plain, path, tuple(owner_keys))


def _signed_key(plain: bytes, path: Path, trusted: tuple[PublicKey, ...]) -> KeyDocument:
    _refuse_other(plain, path)
    try:
        envelope = parse_envelope(plain)
        claimed = _parse(base64.b64decode(envelope.payload), path, KeyDocument, KEY_SCHEMA, UnlockError)
        verify_envelope(envelope, trusted or (parse_public_key(claimed.owner_key),), KEY_TYPE)
        if canonical_json(envelope) != plain:
            raise SignatureError("the envelope is not canonical", why="it was altered")
    except (SignatureError, IdentityError) as error:
        raise WrongKeyError(
            f"{path}: not signed by {'the owner that --owner-key names' if trusted else 'its owner'}",
            why=error.why or error.what, fix="ask the owner for the key again, or for the owner's public key",
        ) from None  # fmt: skip
    except ValueError:
        raise UnlockError(f"{path}: not a valid {KEY_SCHEMA} document", why="its envelope is damaged") from None
    return claimed


def _refuse_other(plain: bytes, path: Path) -> None:
    """Refuse what is plainly another document: a vault, a key of an earlier version, no envelope at all."""
    found = _schema_of(plain)
    if found == "medlocker.key/1":
        raise UnlockError(
            f"{path}: an unsigned key of an earlier version", fix="ask the owner to reissue it (medlocker key reissue)"
        )
    if found is not None:
        raise UnlockError(f"{path}: holds {found}, expected is {KEY_SCHEMA}", fix="name the right file")
    try:
        Envelope.model_validate_json(plain)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        raise UnlockError(f"{path}: not a valid {KEY_SCHEMA} document", why=str(first["msg"])) from None


def seal_record(secret: bytes, release_id: str, image_id: str, plain: bytes) -> bytes:
    """Seal what is known of one finished image while a release is under way.

    Args:
        secret: of the release.
        release_id: of the release.
        image_id: of the image; the record opens under no other.
        plain: the record.
    """
    return seal_bytes(derive_key(secret, "record", release_id), plain, [image_id.encode()])


def open_record(secret: bytes, release_id: str, image_id: str, sealed: bytes) -> bytes:
    """The inverse of `seal_record`.

    Raises:
        ReleaseError: the record was altered, or is of another image or release.
    """
    try:
        return open_bytes(derive_key(secret, "record", release_id), sealed, [image_id.encode()])
    except SealBrokenError:
        raise ReleaseError(
            f"{image_id}: its record in the owner's folder is damaged or of another release",
            fix="delete that record; the image is then done again",
        ) from None


def _read(
    path: Path, identity: Identity, model: type[_Document], schema: str, failure: type[MedLockerError]
) -> _Document:
    return _parse(_open(path, identity, failure), path, model, schema, failure)


def _open(path: Path, identity: Identity, failure: type[MedLockerError]) -> bytes:
    sealed = _read_sealed(path, failure)
    try:
        return open_with(identity, sealed)
    except MedLockerError as error:
        raise type(error)(f"{path}: {error.what}", why=error.why, fix=error.fix) from None


def _read_sealed(path: Path, failure: type[MedLockerError]) -> bytes:
    try:
        if path.stat().st_size > MAX_SEALED_BYTES:
            raise failure(f"{path}: larger than 1 GiB", why="a document of that size is not read")
        return path.read_bytes()
    except FileNotFoundError:
        raise failure(f"{path}: no such file") from None
    except OSError as error:
        raise failure(f"{path}: cannot be read", why=error.strerror) from error


def _parse(plain: bytes, path: Path, model: type[_Document], schema: str, failure: type[MedLockerError]) -> _Document:
    try:
        return model.model_validate_json(plain)
    except ValidationError as error:
        found = _schema_of(plain)
        if found not in (None, schema):
            raise failure(
                f"{path}: holds {found}, expected is {schema}", fix="name the right file, or update MedLocker"
            ) from None
        first = error.errors(include_input=False, include_context=False)[0]
        raise failure(f"{path}: not a valid {schema} document", why=str(first["msg"])) from None


def _schema_of(plain: bytes) -> str | None:
    try:
        document = json.loads(plain)
    except (ValueError, RecursionError):
        return None
    version = document.get("schema_version") if isinstance(document, dict) else None
    return version[:80] if isinstance(version, str) else None
