"""Ed25519 identities: signing keys in files, public keys as text.

PEM and PKCS #8 by `cryptography`; the text of a public key is that of OpenSSH.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_public_key,
)

from medlocker.errors import IdentityError
from medlocker.secret_files import check_private, read_bounded, write_secret


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 public key.

    Attributes:
        raw: 32 bytes.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise IdentityError(f"an Ed25519 public key has 32 bytes, this one {len(self.raw)}")

    @property
    def text(self) -> str:
        """One line, as OpenSSH writes it: `ssh-ed25519 AAAA…`."""
        return self._key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    @property
    def keyid(self) -> str:
        """SHA-256 of the 32 bytes, hexadecimal."""
        return hashlib.sha256(self.raw).hexdigest()

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether this key's owner signed the message."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    @cached_property
    def _key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self.raw)


@dataclass(frozen=True)
class SigningIdentity:
    """An Ed25519 key pair.

    Attributes:
        public: may be shown to anyone.
    """

    public: PublicKey
    _private: Ed25519PrivateKey = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes; the same message gives the same signature."""
        return self._private.sign(message)


def new_signing_identity(path: Path, passphrase: str | None = None) -> SigningIdentity:
    """Make an Ed25519 signing identity.

    Args:
        path: a file that does not exist yet, in a folder that does; readable by its owner alone. PEM, PKCS #8.
        passphrase: encrypts the file; None stores the key in the clear.

    Returns:
        The identity.

    Raises:
        IdentityError: the file exists or cannot be written, or the passphrase is empty.
    """
    if passphrase == "":
        raise IdentityError("an empty passphrase", fix="give a passphrase, or none")
    private = Ed25519PrivateKey.generate()
    protection = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    write_secret(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
    return _identity(private)


def load_signing_identity(path: Path, passphrase: str | None = None) -> SigningIdentity:
    """Read a signing identity.

    Args:
        path: PEM, PKCS #8, Ed25519.
        passphrase: if the file is encrypted.

    Returns:
        The identity.

    Raises:
        IdentityError: the file is missing, others may read it, it is not an Ed25519 key, or the passphrase is wrong or
            missing.
    """
    pem = read_bounded(path)
    check_private(path)
    try:
        private = load_pem_private_key(pem, passphrase.encode() if passphrase is not None else None)
    except TypeError:
        why = "it is encrypted" if passphrase is None else "it is not encrypted"
        fix = "give its passphrase" if passphrase is None else "give no passphrase"
        raise IdentityError(f"{path}: cannot be opened", why=why, fix=fix) from None
    except (ValueError, UnsupportedAlgorithm):
        why = "the passphrase is wrong, or the file is damaged" if passphrase else "it holds no private key in PEM form"
        raise IdentityError(f"{path}: not a signing identity", why=why) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise IdentityError(f"{path}: not an Ed25519 key", fix="name the signing identity that MedLocker made")
    return _identity(private)


def parse_public_key(text: str) -> PublicKey:
    """A public key from its text.

    Args:
        text: `ssh-ed25519 AAAA… [comment]`, or PEM.

    Raises:
        IdentityError: it is not an Ed25519 public key.
    """
    encoded = text.strip().encode()
    try:
        loader = load_pem_public_key if encoded.startswith(b"-----BEGIN PUBLIC") else load_ssh_public_key
        key = loader(encoded)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        # A secret key pasted by mistake must not reach a message or a log.
        shown = "a secret key" if "PRIVATE" in text or "SECRET" in text.upper() else repr(text.strip()[:80])
        raise IdentityError(f"{shown} is not an Ed25519 public key", fix="give ssh-ed25519 AAAA…, or PEM") from None
    return PublicKey(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def read_public_keys(text_or_file: str) -> tuple[PublicKey, ...]:
    """Public keys given as text, or as the name of a file that holds them, one a line, oldest first.

    Raises:
        IdentityError: it is neither.
    """
    if text_or_file.startswith(("ssh-", "-----")):
        return (parse_public_key(text_or_file),)
    path = Path(text_or_file)
    try:
        text = read_bounded(path).decode()
        if "-----BEGIN" in text:
            return (parse_public_key(text),)
        keys = tuple(parse_public_key(line) for line in text.splitlines() if line.strip() and line[0] != "#")
    except UnicodeDecodeError:
        raise IdentityError(f"{path}: not a public key", why="it is not text") from None
    except IdentityError as error:
        raise IdentityError(f"{path}: {error.what}", why=error.why, fix=error.fix) from None
    if not keys:
        raise IdentityError(f"{path}: holds no public key", fix="give ssh-ed25519 AAAA…, or PEM")
    return keys


def _identity(private: Ed25519PrivateKey) -> SigningIdentity:
    return SigningIdentity(PublicKey(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)), private)
