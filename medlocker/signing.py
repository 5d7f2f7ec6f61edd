"""Signatures over documents: Ed25519 in DSSE envelopes.

Source: DSSE 1.0.2 (https://github.com/secure-systems-lab/dsse).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medlocker.errors import MedLockerError
from medlocker.sealing import canonical_json
from medlocker.signing_identity import (
    PublicKey,
    SigningIdentity,
    load_signing_identity,
    new_signing_identity,
    parse_public_key,
    read_public_keys,
)

__all__ = [
    "Envelope",
    "EnvelopeSignature",
    "PublicKey",
    "SignatureError",
    "SigningIdentity",
    "load_signing_identity",
    "new_signing_identity",
    "pae",
    "parse_envelope",
    "parse_public_key",
    "read_public_keys",
    "sign_envelope",
    "sign_model",
    "verify_envelope",
]

_MAX_SIGNATURES = 64


class SignatureError(MedLockerError):
    """A signature is missing, malformed, or not by a trusted key."""


class EnvelopeSignature(BaseModel):
    """One signature of an envelope.

    Attributes:
        keyid: hint at the key, not trusted; empty, or that of the signing key.
        sig: base64.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    keyid: Annotated[str, Field(max_length=200)] = ""
    sig: Annotated[str, Field(max_length=200)]


class Envelope(BaseModel):
    """A DSSE envelope.

    Attributes:
        payload: base64.
        payloadType: what the payload is; signed with it.
        signatures: by one key or several.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    payload: str
    payloadType: Annotated[str, Field(min_length=1, max_length=200)]  # noqa: N815 (the standard's spelling)
    signatures: Annotated[tuple[EnvelopeSignature, ...], Field(min_length=1, max_length=_MAX_SIGNATURES)]


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: the type and the payload with their lengths, so that neither can pass for the other.

    Source: DSSE, "Pre-Authentication Encoding".
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_model(identity: SigningIdentity, payload_type: str, model: BaseModel) -> bytes:
    """Sign a document's canonical JSON.

    Returns:
        The signature, 64 bytes, over the same bytes as in an envelope of this type.
    """
    return identity.sign(pae(payload_type, canonical_json(model)))


def sign_envelope(payload_type: str, payload: bytes, *identities: SigningIdentity) -> Envelope:
    """Wrap and sign.

    Args:
        payload_type: what the payload is, e.g. `application/vnd.medlocker.key+json`.
        payload: `sealing.canonical_json` of a document.
        identities: one or more signers.

    Returns:
        The envelope; its canonical JSON is what is stored.

    Raises:
        SignatureError: nobody signs.
    """
    if not identities:
        raise SignatureError("an envelope without a signer")
    message = pae(payload_type, payload)
    return Envelope(
        payload=base64.b64encode(payload).decode(),
        payloadType=payload_type,
        signatures=tuple(
            EnvelopeSignature(keyid=one.public.keyid, sig=base64.b64encode(one.sign(message)).decode())
            for one in identities
        ),
    )


def parse_envelope(content: bytes) -> Envelope:
    """Read an envelope; nothing in it is to be trusted before `verify_envelope`.

    Raises:
        SignatureError: it is not one.
    """
    try:
        return Envelope.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        raise SignatureError("not a DSSE envelope", why=str(first["msg"])) from None


def verify_envelope(envelope: Envelope, keys: Sequence[PublicKey], payload_type: str, *, threshold: int = 1) -> bytes:
    """The payload, once enough trusted keys have signed it.

    Args:
        envelope: from anywhere.
        keys: trusted.
        payload_type: expected.
        threshold: how many different keys must have signed.

    Returns:
        The payload.

    Raises:
        SignatureError: the type is another, the base64 is not canonical, or fewer trusted keys signed.
    """
    if envelope.payloadType != payload_type:
        raise SignatureError(f"the envelope holds {envelope.payloadType!r}, expected is {payload_type!r}")
    payload = _decode(envelope.payload)
    message = pae(payload_type, payload)
    # A key id is not signed. One that contradicts its signature was altered, and no byte may change unnoticed.
    signatures = [(one.keyid, _decode(one.sig)) for one in envelope.signatures]
    signers = {
        key.keyid
        for key in keys
        if any(keyid in ("", key.keyid) and key.verify(signature, message) for keyid, signature in signatures)
    }
    if threshold < 1 or len(signers) < threshold:
        raise SignatureError(
            f"{len(signers)} of the {max(threshold, 1)} trusted signatures that are needed",
            why="the document was altered, or signed by someone else",
        )
    return payload


def _decode(text: str) -> bytes:
    """Base64 in its one canonical form: otherwise a byte of the envelope could change and nobody would notice."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except ValueError:
        decoded = b""
    if base64.b64encode(decoded).decode() != text:
        raise SignatureError("the envelope is damaged", why="its base64 is not canonical")
    return decoded
