"""Key derivation, authenticated encryption and age wrappers."""

from __future__ import annotations

from datetime import UTC, datetime

import pyrage
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel

from medlocker.errors import IdentityError, SettingsError, WrongKeyError
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

SECRET = bytes(range(32))


def _identity() -> Identity:
    made = pyrage.x25519.Identity.generate()
    return Identity(str(made.to_public()), str(made))


def test_derived_keys_are_hkdf_over_length_prefixed_context() -> None:
    info = b"\0\0\0\5image\0\0\0\3a/1"
    expected = HKDF(algorithm=hashes.SHA256(), length=32, salt=b"medlocker/1", info=info).derive(SECRET)
    assert derive_key(SECRET, "image", "a/1", length=32) == expected


def test_contexts_are_unambiguous() -> None:
    contexts = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"), ()]
    assert len({derive_key(SECRET, *context) for context in contexts}) == len(contexts)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(SettingsError):
        derive_key(b"guessable", "image")


@pytest.mark.parametrize("plain", [b"", b"x", bytes(1000)])
def test_seals_open_again_and_repeat(plain: bytes) -> None:
    key = derive_key(SECRET, "test")
    sealed = seal_bytes(key, plain, [b"a", b"b"])
    assert open_bytes(key, sealed, [b"a", b"b"]) == plain
    assert seal_bytes(key, plain, [b"a", b"b"]) == sealed
    assert len(sealed) == len(plain) + 16


def test_a_seal_is_bound_to_key_circumstances_and_bytes() -> None:
    key = derive_key(SECRET, "test")
    sealed = seal_bytes(key, b"plain text", [b"a", b"b"])
    attempts = [(derive_key(SECRET, "other"), sealed, [b"a", b"b"])]
    attempts += [(key, sealed, parts) for parts in ([b"a"], [b"ab"], [b"b", b"a"], [b"a", b"b", b""], [])]
    attempts += [(key, sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :], [b"a", b"b"]) for i in range(len(sealed))]
    attempts += [(key, sealed[:length], [b"a", b"b"]) for length in range(len(sealed))]
    for attempt in attempts:
        with pytest.raises(SealBrokenError):
            open_bytes(*attempt)


def test_age_files_open_for_each_recipient_and_nobody_else() -> None:
    first, second, stranger = _identity(), _identity(), _identity()
    sealed = seal_to([first.public_key, second.public_key], b"data")
    assert open_with(first, sealed) == open_with(second, sealed) == b"data"
    assert b"data" not in sealed
    with pytest.raises(WrongKeyError, match="not sealed to"):
        open_with(stranger, sealed)


def test_any_age_implementation_can_open_them() -> None:
    identity = _identity()
    sealed = seal_to([identity.public_key], b"data")
    assert sealed.startswith(b"age-encryption.org/v1\n-> X25519 ")
    assert pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(identity.secret)]) == b"data"


@pytest.mark.parametrize("junk", [b"", b"junk", b"age-encryption.org/v2\n"])
def test_what_is_not_an_age_file_is_refused(junk: bytes) -> None:
    with pytest.raises(WrongKeyError, match="damaged or is not"):
        open_with(_identity(), junk)


@pytest.mark.parametrize("text", ["", "age1", "age1" + "q" * 58, "ssh-ed25519 AAAA"])
def test_malformed_public_keys_are_refused(text: str) -> None:
    with pytest.raises(IdentityError, match="not a public key"):
        seal_to([text], b"data")


def test_a_secret_key_given_as_recipient_does_not_reach_the_message() -> None:
    identity = _identity()
    with pytest.raises(IdentityError) as caught:
        seal_to([identity.secret], b"data")
    assert identity.secret not in str(caught.value)
    assert identity.secret not in repr(identity)


def test_no_recipient_is_refused() -> None:
    with pytest.raises(IdentityError):
        seal_to([], b"data")


def test_canonical_json_is_sorted_utf8_without_space() -> None:
    class Document(BaseModel):
        z: int
        a: str
        when: datetime

    document = Document(z=1, a="é", when=datetime(2026, 1, 2, tzinfo=UTC))
    assert canonical_json(document) == '{"a":"é","when":"2026-01-02T00:00:00Z","z":1}'.encode()
