"""Seals: keys derived from one secret, authenticated encryption under them, and age for whole documents.

Everything that MedLocker stores sealed goes through these few functions. They wrap HKDF-SHA256 and AES-SIV from
`cryptography` and age from `pyrage`; no primitive is implemented here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyrage
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel

from medlocker.errors import IdentityError, SettingsError, WrongKeyError

SIV_KEY_BYTES = 64
SIV_OVERHEAD = 16
_SALT = b"medlocker/1"


@dataclass(frozen=True)
class Identity:
    """A key pair that age files are sealed to.

    Attributes:
        public_key: `age1…`, or of an SSH key `ssh-ed25519 …` or `ssh-rsa …`; may be shown to anyone.
        secret: `AGE-SECRET-KEY-1…`, or an SSH private key in OpenSSH's form; kept out of `repr`.
    """

    public_key: str
    secret: str = field(repr=False)


def new_key_pair() -> Identity:
    """A new X25519 key pair, in memory only."""
    made = pyrage.x25519.Identity.generate()
    return Identity(str(made.to_public()), str(made))


class SealBrokenError(WrongKeyError):
    """Sealed bytes fail authentication: another key, other circumstances, or altered bytes."""


def derive_key(secret: bytes, *context: str, length: int = SIV_KEY_BYTES) -> bytes:
    """Derive a key that says nothing about its siblings or the secret.

    Args:
        secret: at least 16 bytes of entropy.
        context: what the key is for; each part's length is encoded, so ("a", "bc") and ("ab", "c") differ.
        length: bytes of the key.

    Returns:
        HKDF-SHA256 of the secret under this context.

    Raises:
        SettingsError: the secret is shorter than 16 bytes.
    """
    if len(secret) < 16:
        raise SettingsError("a secret of fewer than 16 bytes", why="keys derived from it could be guessed")
    info = b"".join(len(part).to_bytes(4, "big") + part for part in (text.encode() for text in context))
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=_SALT, info=info).derive(secret)


def seal_bytes(key: bytes, plaintext: bytes, associated: Sequence[bytes]) -> bytes:
    """Encrypt and authenticate with AES-256-SIV; the same input gives the same bytes, so that re-runs are identical.

    Args:
        key: 64 bytes, from `derive_key`.
        plaintext: what to seal.
        associated: circumstances that must be the same on opening.

    Returns:
        16 bytes longer than the plaintext.
    """
    return AESSIV(key).encrypt(plaintext, list(associated))


def open_bytes(key: bytes, sealed: bytes, associated: Sequence[bytes]) -> bytes:
    """The inverse of `seal_bytes`.

    Raises:
        SealBrokenError: the key or the circumstances are others, or a byte was changed; which of these cannot be told.
    """
    try:
        return AESSIV(key).decrypt(sealed, list(associated))
    except (InvalidTag, ValueError):
        raise SealBrokenError(
            "the seal does not open", why="the key is another one, or the sealed bytes were altered"
        ) from None


def seal_to(recipients: Sequence[str], data: bytes) -> bytes:
    """Encrypt with age.

    Args:
        recipients: public keys, `age1…` or of SSH; any one of them opens the file.
        data: what to seal.

    Returns:
        A binary age file.

    Raises:
        IdentityError: a public key is malformed, or none is given.
    """
    if not recipients:
        raise IdentityError("no recipient to seal to", fix="give at least one public key, age1…")
    return bytes(pyrage.encrypt(data, [_recipient(text) for text in recipients]))


def open_with(identity: Identity, data: bytes) -> bytes:
    """Decrypt an age file.

    Raises:
        WrongKeyError: it is sealed to someone else, is not an age file, or was altered.
    """
    try:
        return bytes(pyrage.decrypt(data, [_identity(identity.secret)]))
    except pyrage.DecryptError as error:
        if "No matching keys" in str(error):
            raise WrongKeyError(
                f"the file is not sealed to {identity.public_key}", fix="use the identity it was sealed to"
            ) from None
        raise WrongKeyError("the sealed file is damaged or is not an age file", fix="copy it again") from None


def check_recipient(text: str) -> str:
    """A public key without surrounding space and, for an SSH key, without its comment.

    Raises:
        IdentityError: it is neither an age X25519 nor an SSH (Ed25519, RSA) public key.
    """
    stripped = " ".join(text.split()[:2]) if text.strip().startswith("ssh-") else text.strip()
    _recipient(stripped)
    return stripped


def _recipient(text: str) -> pyrage.x25519.Recipient | pyrage.ssh.Recipient:
    try:
        kind = pyrage.ssh.Recipient if text.startswith("ssh-") else pyrage.x25519.Recipient
        return kind.from_str(text)
    except pyrage.RecipientError:
        # A secret key pasted by mistake must not reach a message or a log.
        shown = "a secret key" if "SECRET" in text.upper() or "PRIVATE" in text.upper() else repr(text[:80])
        raise IdentityError(
            f"{shown} is not a public key", why="it starts with age1, ssh-ed25519 or ssh-rsa",
            fix="ask the recipient for the line printed by medlocker identity new, or for an SSH public key",
        ) from None  # fmt: skip


def _identity(secret: str) -> pyrage.x25519.Identity | pyrage.ssh.Identity:
    if secret.startswith("-----BEGIN"):
        return pyrage.ssh.Identity.from_buffer(secret.encode())
    return pyrage.x25519.Identity.from_str(secret)


def canonical_json(model: BaseModel) -> bytes:
    """The one JSON form of a document: sorted keys, no space, UTF-8; equal documents give equal bytes."""
    return json.dumps(
        model.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
