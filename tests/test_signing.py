"""Signing identities in files, public keys as text, DSSE envelopes."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from medlocker.errors import IdentityError
from medlocker.sealing import canonical_json
from medlocker.signing import (
    Envelope,
    PublicKey,
    SignatureError,
    load_signing_identity,
    new_signing_identity,
    pae,
    parse_envelope,
    parse_public_key,
    read_public_keys,
    sign_envelope,
    verify_envelope,
)

TYPE = "application/vnd.medlocker.test+json"


@pytest.fixture(scope="module")
def identities(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return [new_signing_identity(folder / name) for name in ("one.pem", "two.pem")]


def test_pae_is_that_of_the_standard() -> None:
    # The example in protocol.md of DSSE.
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", b"\0") == b"DSSEv1 2 \xc3\xa9 1 \0"


def test_signatures_are_those_of_rfc_8032() -> None:
    # Test 2 of section 7.1: one byte, 0x72.
    key = PublicKey(bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"))
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert key.verify(signature, b"\x72")
    assert not key.verify(signature, b"\x73")
    assert not key.verify(signature[:-1], b"\x72")


def test_an_identity_file_is_private_and_made_once(tmp_path) -> None:
    path = tmp_path / "me.pem"
    made = new_signing_identity(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_signing_identity(path).public == made.public
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    with pytest.raises(IdentityError, match="already exists"):
        new_signing_identity(path)


def test_secrets_stay_out_of_repr(tmp_path) -> None:
    made = new_signing_identity(tmp_path / "me.pem")
    assert "private" not in repr(made).lower()


def test_a_passphrase_protects_the_file(tmp_path) -> None:
    path = tmp_path / "me.pem"
    made = new_signing_identity(path, "correct horse")
    assert b"ENCRYPTED" in path.read_bytes()
    assert load_signing_identity(path, "correct horse").public == made.public
    with pytest.raises(IdentityError, match="encrypted"):
        load_signing_identity(path)
    with pytest.raises(IdentityError, match="passphrase is wrong"):
        load_signing_identity(path, "battery staple")
    with pytest.raises(IdentityError, match="empty"):
        new_signing_identity(tmp_path / "other.pem", "")


def test_a_needless_passphrase_is_refused(tmp_path) -> None:
    path = tmp_path / "me.pem"
    new_signing_identity(path)
    with pytest.raises(IdentityError, match="not encrypted"):
        load_signing_identity(path, "x")


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_identity_is_named(tmp_path, content) -> None:
    path = tmp_path / "me.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(IdentityError, match=r"me\.pem"):
        load_signing_identity(path)


def test_other_kinds_of_keys_are_refused(tmp_path) -> None:
    path = tmp_path / "ec.pem"
    key = generate_private_key(SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(IdentityError, match="not an Ed25519"):
        load_signing_identity(path)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    with pytest.raises(IdentityError, match="not an Ed25519"):
        parse_public_key(public)


def test_an_identity_that_others_can_read_is_refused(tmp_path) -> None:
    path = tmp_path / "me.pem"
    new_signing_identity(path)
    path.chmod(0o640)
    with pytest.raises(IdentityError, match="chmod 600"):
        load_signing_identity(path)


@pytest.mark.parametrize("where", ["none/me.pem", "."])
def test_a_place_that_cannot_be_written_is_named(tmp_path, where) -> None:
    with pytest.raises(IdentityError):
        new_signing_identity(tmp_path / where)


def test_public_keys_travel_as_text_and_in_files(identities, tmp_path) -> None:
    public = identities[0].public
    assert public.text.startswith("ssh-ed25519 AAAA") and "\n" not in public.text
    assert parse_public_key(f" {public.text} owner@clinic\n") == public
    (tmp_path / "key.pub").write_text(public.text)
    assert read_public_keys(str(tmp_path / "key.pub")) == (public,) == read_public_keys(public.text)
    # OpenSSL's form; its last 32 bytes are the key itself.
    pem = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + public.raw).decode()
    assert parse_public_key(f"-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n") == public


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa AAAA", "age1x", "\0", "x" * 300])
def test_what_is_no_public_key_is_refused(text) -> None:
    for reader in (parse_public_key, read_public_keys):
        with pytest.raises(IdentityError):
            reader(text)


def test_a_secret_key_is_not_repeated(tmp_path) -> None:
    path = tmp_path / "me.pem"
    new_signing_identity(path)
    with pytest.raises(IdentityError) as caught:
        read_public_keys(str(path))
    assert path.read_text().splitlines()[1] not in str(caught.value)


def test_an_envelope_gives_its_payload_to_who_trusts_the_signer(identities) -> None:
    one, two = identities
    envelope = sign_envelope(TYPE, b'{"a":1}', one, two)
    assert [signature.keyid for signature in envelope.signatures] == [one.public.keyid, two.public.keyid]
    assert parse_envelope(canonical_json(envelope)) == envelope
    for keys in ([one.public], [two.public], [two.public, one.public]):
        assert verify_envelope(envelope, keys, TYPE) == b'{"a":1}'
    assert verify_envelope(envelope, [one.public, two.public], TYPE, threshold=2) == b'{"a":1}'


def test_one_signer_does_not_count_twice(identities) -> None:
    one, two = identities
    envelope = sign_envelope(TYPE, b"x", one, one)
    for keys in ([one.public, two.public], [one.public, one.public]):
        with pytest.raises(SignatureError, match="1 of the 2"):
            verify_envelope(envelope, keys, TYPE, threshold=2)


def test_a_stranger_another_type_and_nobody_are_refused(identities) -> None:
    one, two = identities
    envelope = sign_envelope(TYPE, b"x", one)
    with pytest.raises(SignatureError, match="0 of the 1"):
        verify_envelope(envelope, [two.public], TYPE)
    with pytest.raises(SignatureError, match="0 of the 1"):
        verify_envelope(envelope, [], TYPE, threshold=0)
    with pytest.raises(SignatureError, match="holds"):
        verify_envelope(envelope, [one.public], "text/plain")
    renamed = envelope.model_copy(update={"payloadType": "text/plain"})
    with pytest.raises(SignatureError, match="0 of the 1"):
        verify_envelope(renamed, [one.public], "text/plain")
    with pytest.raises(SignatureError):
        sign_envelope(TYPE, b"x")


def test_every_flipped_bit_of_an_envelope_is_detected(identities) -> None:
    one = identities[0]
    content = canonical_json(sign_envelope(TYPE, b"payload!", one))
    for place in range(len(content)):
        for mask in (1, 2, 4, 8, 16, 32, 64, 128):
            flipped = content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]
            with pytest.raises(SignatureError):
                verify_envelope(parse_envelope(flipped), [one.public], TYPE)


def test_base64_has_one_form(identities) -> None:
    envelope = sign_envelope(TYPE, b"x", identities[0])
    loose = envelope.model_copy(update={"payload": "eB=="})
    assert base64.b64decode(loose.payload) == b"x"
    with pytest.raises(SignatureError, match="canonical"):
        verify_envelope(loose, [identities[0].public], TYPE)


@given(
    st.one_of(
        st.binary(max_size=200), st.just(b"[" * 5000), st.just(b'{"payload":"","payloadType":"x","signatures":[]}')
    )
)
def test_malformed_envelopes_never_give_a_trace(content) -> None:
    with pytest.raises(SignatureError):
        parse_envelope(content)


def test_unknown_fields_are_refused(identities) -> None:
    values = sign_envelope(TYPE, b"x", identities[0]).model_dump()
    with pytest.raises(ValueError):
        Envelope.model_validate({**values, "extra": 1})


def test_signing_and_audit_load_nothing_heavy() -> None:
    heavy = ("torch", "mlflow", "click", "numpy")
    code = f"import sys, medlocker.signing, medlocker.audit; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
