"""Owners: an age identity that vaults are sealed to, and an Ed25519 identity that signs keys, lists and the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medlocker.errors import IdentityError
from medlocker.imageio import write_atomic
from medlocker.keys.identity import load_identity, new_identity
from medlocker.sealing import Identity
from medlocker.signing import (
    PublicKey,
    SigningIdentity,
    load_signing_identity,
    new_signing_identity,
    read_public_keys,
)

SIGNING_SUFFIX = ".signing.pem"
PUBLIC_SUFFIX = ".signing.pub"
_NEXT_SUFFIX = ".next"


@dataclass(frozen=True)
class Owner:
    """An owner's two identities.

    Attributes:
        file: of the age identity; the others lie beside it.
        identity: opens vaults.
        signing: signs.
        public_keys: the owner's public signing keys in the order of their use; the last is that of `signing`.
    """

    file: Path
    identity: Identity
    signing: SigningIdentity
    public_keys: tuple[PublicKey, ...]


def signing_file(owner_file: Path) -> Path:
    """Where the private signing key of an owner lies: `OWNER.signing.pem`."""
    return owner_file.with_name(owner_file.name + SIGNING_SUFFIX)


def public_file(owner_file: Path) -> Path:
    """Where the public signing keys of an owner lie, one a line, oldest first: `OWNER.signing.pub`; to be published."""
    return owner_file.with_name(owner_file.name + PUBLIC_SUFFIX)


def new_owner(path: Path, passphrase: str | None = None) -> Owner:
    """Make both identities.

    Args:
        path: of the age identity; no such file yet.
        passphrase: protects both; None stores them in the clear, readable by their owner alone.

    Raises:
        IdentityError: a file exists or cannot be written.
    """
    for file in (signing_file(path), public_file(path)):
        if file.exists():
            raise IdentityError(f"{file}: already exists", fix="choose another --out")
    new_identity(path, passphrase)
    return add_signing(path, passphrase)


def add_signing(path: Path, passphrase: str | None = None) -> Owner:
    """Make a signing identity for an owner who has an age identity alone.

    Args:
        path: of the age identity.
        passphrase: of the age identity; protects the signing identity as well.

    Raises:
        LockedIdentityError: the age identity is protected, and no passphrase was given.
        IdentityError: the age identity cannot be read, there is a signing identity already, or it cannot be written.
    """
    load_identity(path, passphrase)
    made = new_signing_identity(signing_file(path), passphrase)
    _write_public(path, (made.public,))
    return load_owner(path, passphrase)


def load_owner(path: Path, passphrase: str | None = None) -> Owner:
    """Read both identities of an owner.

    Args:
        path: of the age identity.
        passphrase: of protected files.

    Raises:
        LockedIdentityError: a file is protected, and no passphrase was given.
        IdentityError: a file is missing, damaged or readable by others, or the passphrase is wrong.
    """
    identity = load_identity(path, passphrase)
    pem = signing_file(path)
    _finish_rotation(path, passphrase)
    if not pem.exists():
        raise IdentityError(
            f"{pem}: no such file",
            why="keys, lists and the ledger are signed with it",
            fix=f"restore it from a backup, or make one with medlocker identity new --signing-for {path}",
        )
    signing = _load_signing(pem, passphrase)
    known = read_public_keys(str(public_file(path))) if public_file(path).exists() else ()
    if known and known[-1] != signing.public:
        raise IdentityError(
            f"{public_file(path)}: its last key is not that of {pem.name}", fix="restore both from one backup"
        )
    return Owner(path, identity, signing, known or (signing.public,))


def rotate_signing(path: Path, passphrase: str | None = None) -> Owner:
    """Give an owner a new signing identity; the former key is deleted, its public half stays known.

    Args:
        path: of the age identity.
        passphrase: of protected files; protects the new one as well.

    Returns:
        The owner, who signs with the new key from now on.

    Raises:
        IdentityError: as `load_owner`.
    """
    owner = load_owner(path, passphrase)
    following = _next_file(path)
    made = new_signing_identity(following, passphrase)
    # The new key is on disk before the list names it, and replaces the former one last: a kill in between is finished
    # by the next `load_owner`.
    _write_public(path, (*owner.public_keys, made.public))
    following.replace(signing_file(path))
    return load_owner(path, passphrase)


def _finish_rotation(path: Path, passphrase: str | None) -> None:
    following = _next_file(path)
    if not following.exists() or not public_file(path).exists():
        return
    if read_public_keys(str(public_file(path)))[-1] == _load_signing(following, passphrase).public:
        following.replace(signing_file(path))
    else:
        # The list never came to name it: nothing was signed with it.
        following.unlink()


def _load_signing(path: Path, passphrase: str | None) -> SigningIdentity:
    encrypted = b"ENCRYPTED" in path.read_bytes()[:100]
    return load_signing_identity(path, passphrase if encrypted else None)


def _next_file(path: Path) -> Path:
    return path.with_name(path.name + SIGNING_SUFFIX + _NEXT_SUFFIX)


def _write_public(path: Path, keys: tuple[PublicKey, ...]) -> None:
    write_atomic(public_file(path), "".join(f"{key.text}\n" for key in keys).encode())
