"""The owner's signature of a release: `release.json.sig`, beside the manifest and outside of it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from medlocker.errors import IdentityError, ReleaseError
from medlocker.imageio import write_atomic
from medlocker.keys.owner import Owner
from medlocker.release import MANIFEST_NAME, Hex256, ReleaseId, load_manifest
from medlocker.sealing import canonical_json
from medlocker.signing import (
    PublicKey,
    SignatureError,
    parse_envelope,
    parse_public_key,
    sign_envelope,
    verify_envelope,
)

SIGNATURE_NAME = MANIFEST_NAME + ".sig"
STATEMENT_TYPE = "application/vnd.medlocker.release-statement+json"
STATEMENT_SCHEMA: Final = "medlocker.release-statement/1"
MAX_SIGNATURE_BYTES = 1 << 20


class ReleaseStatement(BaseModel):
    """What an owner states of a release.

    Attributes:
        release_id: of the release or edition.
        manifest_sha256: of the manifest's file, every byte of it.
        owner_keys: the owner's public signing keys at that time, oldest first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["medlocker.release-statement/1"] = STATEMENT_SCHEMA
    release_id: ReleaseId
    manifest_sha256: Hex256
    owner_keys: tuple[str, ...]

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """The owner's keys.

        Raises:
            IdentityError: one is not a public key.
        """
        return tuple(map(parse_public_key, self.owner_keys))


def sign_release(folder: Path, owner: Owner) -> None:
    """Sign the manifest of a finished release or edition.

    Raises:
        ReleaseError: there is no manifest, or the signature cannot be written.
    """
    statement = ReleaseStatement(
        release_id=load_manifest(folder).release_id,
        manifest_sha256=_manifest_digest(folder),
        owner_keys=tuple(key.text for key in owner.public_keys),
    )
    envelope = sign_envelope(STATEMENT_TYPE, canonical_json(statement), owner.signing)
    write_atomic(folder / SIGNATURE_NAME, canonical_json(envelope) + b"\n")


def renew_signature(folder: Path, owner: Owner) -> bool:
    """Sign a release again where it is not signed with the owner's latest key; its manifest must be the signed one.

    Returns:
        Whether it was signed again.

    Raises:
        ReleaseError: the manifest was altered, or the signature cannot be written.
    """
    statement = check_signature(folder, owner.public_keys) if (folder / SIGNATURE_NAME).exists() else None
    if statement is not None and statement.keys == owner.public_keys:
        return False
    sign_release(folder, owner)
    return True


def check_signature(folder: Path, owner_keys: Sequence[PublicKey] = ()) -> ReleaseStatement | None:
    """Check the signature of a release.

    Args:
        folder: of the release.
        owner_keys: public keys known to be the owner's. None given: the signature must be by a key that the statement
            itself names, which shows that the manifest is whole, not whose it is.

    Returns:
        The statement; None where the release carries none and no key was given.

    Raises:
        ReleaseError: the signature is missing though a key was given, is not by the owner, or is of another manifest.
    """
    path = folder / SIGNATURE_NAME
    if not path.exists():
        if not owner_keys:
            return None
        raise ReleaseError(
            f"{path}: no such file", why="the release is not signed", fix="get the whole release from its owner again"
        )
    content = path.read_bytes()[: MAX_SIGNATURE_BYTES + 1]
    try:
        statement = _statement(content, tuple(owner_keys))
    except (SignatureError, IdentityError, ValidationError, ValueError) as error:
        why = getattr(error, "why", None) or getattr(error, "what", "it is damaged")
        raise ReleaseError(
            f"{path}: not a signature by {'the owner that --owner-key names' if owner_keys else 'an owner'}",
            why=why, fix="get the release from its owner again; if the owner changed keys, their new public ones too",
        ) from None  # fmt: skip
    if statement.manifest_sha256 != _manifest_digest(folder):
        raise ReleaseError(
            f"{folder / MANIFEST_NAME}: not the manifest that its owner signed",
            why="it was altered",
            fix="get the release from its owner again",
        )
    return statement


def _statement(content: bytes, trusted: tuple[PublicKey, ...]) -> ReleaseStatement:
    if len(content) > MAX_SIGNATURE_BYTES:
        raise SignatureError("the signature's file is too large")
    envelope = parse_envelope(content)
    if canonical_json(envelope) + b"\n" != content:
        raise SignatureError("the envelope is not canonical", why="it was altered")
    claimed = ReleaseStatement.model_validate_json(base64.b64decode(envelope.payload))
    verify_envelope(envelope, trusted or claimed.keys, STATEMENT_TYPE)
    return claimed


def _manifest_digest(folder: Path) -> str:
    try:
        return hashlib.sha256((folder / MANIFEST_NAME).read_bytes()).hexdigest()
    except OSError as error:
        raise ReleaseError(f"{folder / MANIFEST_NAME}: cannot be read", why=error.strerror) from error
