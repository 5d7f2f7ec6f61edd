"""Vault and key files on disk: always sealed with age; and sealed records of work in progress."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from medlocker.errors import MedLockerError, ReleaseError, UnlockError
from medlocker.imageio import write_atomic
from medlocker.keys.documents import KEY_SCHEMA, VAULT_SCHEMA, KeyDocument, VaultDocument
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


def write_key(path: Path, document: KeyDocument) -> None:
    """Seal a key to its recipient.

    Raises:
        ReleaseError: the file exists, or cannot be written.
    """
    if path.exists():
        raise ReleaseError(f"{path}: already exists", fix="choose another file for the key")
    write_atomic(path, seal_to([document.recipient], canonical_json(document)))


def read_key(path: Path, recipient: Identity) -> KeyDocument:
    """Open a key.

    Raises:
        UnlockError: the file is missing, too large or not a key.
        WrongKeyError: it is sealed to another identity, or altered.
    """
    return _read(path, recipient, KeyDocument, KEY_SCHEMA, UnlockError)


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
    sealed = _read_sealed(path, failure)
    try:
        plain = open_with(identity, sealed)
    except MedLockerError as error:
        raise type(error)(f"{path}: {error.what}", why=error.why, fix=error.fix) from None
    return _parse(plain, path, model, schema, failure)


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
