"""Identity files: make age's, read age's and SSH's, protected by a passphrase or not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyrage
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)
from cryptography.hazmat.primitives.serialization.ssh import SSHPrivateKeyTypes

from medlocker.errors import IdentityError
from medlocker.sealing import Identity, check_recipient, new_key_pair
from medlocker.secret_files import check_private, read_bounded, write_secret

_SECRET_PREFIX = "AGE-SECRET-KEY-1"
_AGE_HEADER = b"age-encryption.org/v1"
_SSH_HEADER = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_WRONG = "the passphrase is wrong, or the file is damaged"
_MAKE_ONE = "make one with medlocker identity new --out FILE"


class LockedIdentityError(IdentityError):
    """An identity is protected by a passphrase, and none was given."""


def new_identity(path: Path, passphrase: str | None = None) -> Identity:
    """Make an age X25519 identity file, in the form that `age-keygen` writes.

    Args:
        path: a file that does not exist yet, in a folder that does; readable by its owner alone.
        passphrase: seals the file as `age --passphrase` does; None stores the identity in the clear.

    Returns:
        The identity.

    Raises:
        IdentityError: the file exists or cannot be written, or the passphrase is empty.
    """
    identity = new_key_pair()
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"# created: {created}\n# public key: {identity.public_key}\n{identity.secret}\n".encode("ascii")
    if passphrase == "":
        raise IdentityError("an empty passphrase", fix="give a passphrase, or none")
    write_secret(path, text if passphrase is None else bytes(pyrage.passphrase.encrypt(text, passphrase)))
    return identity


def load_identity(path: Path, passphrase: str | None = None) -> Identity:
    """Read an identity file.

    Args:
        path: as written by `new_identity`, `age-keygen`, `age --passphrase` or `ssh-keygen` (Ed25519, RSA).
        passphrase: for a protected file; not looked at otherwise.

    Returns:
        The identity.

    Raises:
        LockedIdentityError: the file is protected by a passphrase, and none was given.
        IdentityError: the file is missing, holds no or several identities, others may read it, or the passphrase is
            wrong.
    """
    content = read_bounded(path, missing=_MAKE_ONE)
    check_private(path)
    if content.startswith(_SSH_HEADER):
        return _ssh_identity(content, path, passphrase)
    return _age_identity(_unsealed(content, path, passphrase), path)


def parse_recipient(text: str) -> str:
    """A recipient's public key, `age1…` or of SSH.

    Raises:
        IdentityError: it is not one.
    """
    return check_recipient(text)


def _unsealed(content: bytes, path: Path, passphrase: str | None) -> bytes:
    if not content.startswith(_AGE_HEADER):
        return content
    if passphrase is None:
        raise _locked(path)
    try:
        return bytes(pyrage.passphrase.decrypt(content, passphrase))
    except pyrage.DecryptError:
        raise IdentityError(
            f"{path}: cannot be opened", why="the passphrase is wrong, or the file is damaged"
        ) from None


def _age_identity(content: bytes, path: Path) -> Identity:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise IdentityError(f"{path}: not an age identity", fix="give the file that age-keygen wrote") from None
    secrets = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(secrets) != 1 or not secrets[0].startswith(_SECRET_PREFIX):
        raise IdentityError(
            f"{path}: does not hold one age identity",
            why="a public key cannot open anything" if "age1" in text and not secrets else None,
            fix="make one with medlocker identity new",
        )
    try:
        return Identity(str(pyrage.x25519.Identity.from_str(secrets[0]).to_public()), secrets[0])
    except pyrage.IdentityError:
        raise IdentityError(f"{path}: its identity is damaged", fix="restore the file from a backup") from None


def _ssh_identity(content: bytes, path: Path, passphrase: str | None) -> Identity:
    """An SSH key; where it is protected, opened in memory, since age's library takes none that is."""
    try:
        key = load_ssh_private_key(content, None)
    except TypeError:
        if passphrase is None:
            raise _locked(path) from None
        key = _try_ssh(content, path, passphrase)
    except (ValueError, UnsupportedAlgorithm):
        raise IdentityError(f"{path}: its SSH key is damaged or of an unknown kind") from None
    if not isinstance(key, Ed25519PrivateKey | RSAPrivateKey):
        raise IdentityError(f"{path}: not an Ed25519 or RSA key", why="age seals to no other SSH keys")
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return Identity(public, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode())


def _try_ssh(content: bytes, path: Path, passphrase: str) -> SSHPrivateKeyTypes:
    try:
        return load_ssh_private_key(content, passphrase.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise IdentityError(
            f"{path}: cannot be opened", why="the passphrase is wrong, or the file is damaged"
        ) from None


def _locked(path: Path) -> LockedIdentityError:
    return LockedIdentityError(
        f"{path}: is protected by a passphrase",
        fix="give it when asked, or in the environment variable MEDLOCKER_PASSPHRASE",
    )
