"""Whom an owner may issue keys to: a signed list beside the owner's identity."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medlocker.audit.events import Name, Note, UtcTime
from medlocker.errors import IdentityError
from medlocker.imageio import write_atomic
from medlocker.keys.owner import Owner
from medlocker.sealing import canonical_json, check_recipient
from medlocker.signing import SignatureError, parse_envelope, sign_envelope, verify_envelope

REGISTRY_SUFFIX = ".recipients.json"
REGISTRY_TYPE = "application/vnd.medlocker.recipients+json"
REGISTRY_SCHEMA: Final = "medlocker.recipients/1"
MAX_REGISTRY_BYTES = 1 << 26


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Recipient(_Model):
    """Someone keys may be issued to.

    Attributes:
        name: as the owner calls them; a pseudonym where they may ask to be forgotten.
        key: public key, `age1…` or of SSH.
        organisation: theirs.
        purpose: what they may use the images for.
        added_at: UTC.
    """

    name: Name
    key: Annotated[str, Field(max_length=4096)]
    organisation: Name | None = None
    purpose: Note | None = None
    added_at: UtcTime


class Registry(_Model):
    """All recipients of an owner.

    Attributes:
        recipients: by name, each name once.
    """

    schema_version: Literal["medlocker.recipients/1"] = REGISTRY_SCHEMA
    recipients: tuple[Recipient, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({one.name for one in self.recipients}) < len(self.recipients):
            raise ValueError("a recipient is named twice")
        return self

    def find(self, name: str) -> Recipient:
        """A recipient by name.

        Raises:
            IdentityError: there is none of this name.
        """
        for one in self.recipients:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.recipients[:10]) or "nobody yet"
        raise IdentityError(
            f"no recipient is called {name!r}", why=f"registered: {known}",
            fix="register them with medlocker recipient add NAME --key age1…",
        )  # fmt: skip


def registry_file(owner_file: Path) -> Path:
    """Where an owner's list of recipients lies: `OWNER.recipients.json`."""
    return owner_file.with_name(owner_file.name + REGISTRY_SUFFIX)


def read_registry(path: Path, owner: Owner) -> Registry:
    """The recipients of an owner; empty where there is no file.

    Raises:
        IdentityError: the file cannot be read, or is not what the owner signed.
    """
    try:
        content = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise IdentityError(f"{path}: cannot be read", why=error.strerror) from error
    if content is None:
        return Registry()
    if len(content) > MAX_REGISTRY_BYTES:
        raise IdentityError(f"{path}: larger than {MAX_REGISTRY_BYTES >> 20} MiB", why="no list is that long")
    try:
        envelope = parse_envelope(content)
        if canonical_json(envelope) + b"\n" != content:
            raise SignatureError("the envelope is not canonical", why="it was altered")
        plain = verify_envelope(envelope, owner.public_keys, REGISTRY_TYPE)
        return Registry.model_validate_json(plain)
    except (SignatureError, ValidationError) as error:
        raise IdentityError(
            f"{path}: not the list of recipients that this owner signed",
            why=error.why if isinstance(error, SignatureError) else "it is not valid",
            fix="restore it from a backup, or name another with --registry",
        ) from None


def add_recipient(
    path: Path,
    owner: Owner,
    name: str,
    key: str,
    *,
    organisation: str | None = None,
    purpose: str | None = None,
    replace: bool = False,
    now: datetime | None = None,
) -> Recipient:
    """Register a recipient.

    Args:
        path: the list.
        owner: signs it.
        name: new to the list, unless `replace`.
        key: public key, `age1…` or of SSH.
        organisation: theirs.
        purpose: what for.
        replace: take the place of a recipient of this name, e.g. after a change of keys.
        now: with a time zone; None for the present.

    Returns:
        As registered.

    Raises:
        IdentityError: the name is taken, or name, key or list are not valid.
    """
    registry = read_registry(path, owner)
    kept = tuple(one for one in registry.recipients if one.name != name)
    if len(kept) < len(registry.recipients) and not replace:
        raise IdentityError(
            f"a recipient called {name!r} is registered already", fix="choose another name, or repeat with --replace"
        )
    try:
        made = Recipient(
            name=name,
            key=check_recipient(key),
            organisation=organisation,
            purpose=purpose,
            added_at=(now or datetime.now(UTC)).replace(microsecond=0),
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        raise IdentityError(f"recipient's {first['loc'][0]}: {first['msg']}") from None
    _write(path, owner, Registry(recipients=tuple(sorted((*kept, made), key=lambda one: one.name))))
    return made


def _write(path: Path, owner: Owner, registry: Registry) -> None:
    envelope = sign_envelope(REGISTRY_TYPE, canonical_json(registry), owner.signing)
    write_atomic(path, canonical_json(envelope) + b"\n")
