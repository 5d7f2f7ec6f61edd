"""Vault, key and record files; issuing keys."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from example_release import NOW, Example, make_example
from pydantic import ValidationError

from medlocker.blending import Placement
from medlocker.errors import IdentityError, LogoError, MedLockerError, ReleaseError, UnlockError, WrongKeyError
from medlocker.keys import (
    KeyDocument,
    VaultDocument,
    decode_logo,
    issue_key,
    new_identity,
    open_record,
    read_key,
    read_vault,
    seal_key,
    seal_record,
    vault_key,
    write_vault,
)
from medlocker.recovery import derive_image_key
from medlocker.sealing import canonical_json, open_with, seal_to


def _write_key(path: Path, example: Example) -> None:
    path.write_bytes(seal_key(example.key, example.owner.signing))


def test_vault_and_key_come_back_as_written(example: Example, tmp_path: Path) -> None:
    write_vault(tmp_path / "vault.age", example.vault, example.owner.identity)
    _write_key(tmp_path / "key.age", example)
    assert read_vault(tmp_path / "vault.age", example.owner.identity) == example.vault
    assert read_key(tmp_path / "key.age", example.recipient) == example.key


def test_only_the_one_they_are_sealed_to_opens_them(example: Example, tmp_path: Path) -> None:
    write_vault(tmp_path / "vault.age", example.vault, example.owner.identity)
    _write_key(tmp_path / "key.age", example)
    stranger = new_identity(tmp_path / "stranger.txt")
    for identity in (stranger, example.recipient):
        with pytest.raises(WrongKeyError, match=r"vault\.age.*not sealed to"):
            read_vault(tmp_path / "vault.age", identity)
    for identity in (stranger, example.owner.identity):
        with pytest.raises(WrongKeyError, match=r"key\.age.*not sealed to"):
            read_key(tmp_path / "key.age", identity)


def test_every_flipped_byte_of_a_vault_or_key_is_detected(example: Example, tmp_path: Path) -> None:
    write_vault(tmp_path / "vault.age", example.vault, example.owner.identity)
    _write_key(tmp_path / "key.age", example)
    tried = 0
    for path, identity in ((tmp_path / "vault.age", example.owner.identity), (tmp_path / "key.age", example.recipient)):
        whole = path.read_bytes()
        for position in range(len(whole)):
            altered = whole[:position] + bytes([whole[position] ^ (1 << position % 8)]) + whole[position + 1 :]
            with pytest.raises(WrongKeyError):
                open_with(identity, altered)
            tried += 1
    assert tried > 5000


def test_nothing_secret_is_readable_in_the_files(example: Example, tmp_path: Path) -> None:
    write_vault(tmp_path / "vault.age", example.vault, example.owner.identity)
    _write_key(tmp_path / "key.age", example)
    record = seal_record(example.vault.secret, example.vault.release_id, "a", canonical_json(example.vault.images[0]))
    secrets = [example.vault.secret, *(image.packet_key for image in example.key.images), b"alpha", b"packet_key"]
    secrets += [example.vault.images[0].original_sha256.encode(), b"sub/b.png"]
    for content in ((tmp_path / "vault.age").read_bytes(), (tmp_path / "key.age").read_bytes(), record):
        assert not [secret for secret in secrets if secret in content]


def test_secrets_stay_out_of_repr_and_of_validation_messages(example: Example) -> None:
    for document in (example.vault, example.key, example.key.images[0]):
        shown = repr(document)
        assert "packet_key" not in shown and "secret=" not in shown
    with pytest.raises(ValidationError) as caught:
        VaultDocument.model_validate({**example.vault.model_dump(), "secret": b"hunter2" * 5, "more": 1})
    assert "hunter2" not in str(caught.value)


def test_a_vault_is_replaced(example: Example, tmp_path: Path) -> None:
    for _ in range(2):
        write_vault(tmp_path / "vault.age", example.vault, example.owner.identity)


def _sealed(path: Path, example: Example, content: bytes) -> Path:
    path.write_bytes(seal_to([example.recipient.public_key], content))
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a valid medlocker.key/2"),
        (b"[]", "not a valid medlocker.key/2"),
        (b"[" * 100_000, "not a valid medlocker.key/2"),
        (b'{"schema_version":"medlocker.key/1"}', "ask the owner to reissue"),
        (b'{"schema_version":"medlocker.key/9"}', "expected is medlocker.key/2"),
        (b'{"schema_version":7}', "not a valid medlocker.key/2"),
    ],
    ids=["empty", "list", "deep", "older", "newer", "number"],
)
def test_a_sealed_file_that_is_no_key_is_refused(
    example: Example, tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(UnlockError, match=message):
        read_key(_sealed(tmp_path / "key.age", example, content), example.recipient)


def test_a_vault_given_as_key_is_named(example: Example, tmp_path: Path) -> None:
    path = _sealed(tmp_path / "key.age", example, canonical_json(example.vault))
    with pytest.raises(UnlockError, match=r"holds medlocker\.vault/1") as caught:
        read_key(path, example.recipient)
    assert re.search("[0-9a-f]{64}", str(caught.value)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../a.png"},
        {"file": "/a.png"},
        {"file": "sub/../../a.png"},
        {"file": "sub\\a.png"},
        {"file": "C:a.png"},
        {"file": "a\0.png"},
        {"file": "./a.png"},
        {"file": ""},
        {"file": "."},
        {"alpha": 256},
        {"x": -1},
        {"logo_scale": 0.5},
        {"logo_scale": float("inf")},
        {"packet_key": b"short"},
        {"original_sha256": "0"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_an_image_entry_that_could_do_harm_is_refused(example: Example, change: dict[str, object]) -> None:
    images = [image.model_dump() for image in example.key.images]
    images[1] |= change
    with pytest.raises(ValidationError):
        KeyDocument.model_validate({**example.key.model_dump(), "images": images})


def test_a_file_named_twice_is_refused_also_in_other_case(example: Example) -> None:
    images = [image.model_dump() for image in example.key.images]
    images[1]["file"] = images[0]["file"].upper()
    with pytest.raises(ValidationError, match="named twice"):
        KeyDocument.model_validate({**example.key.model_dump(), "images": images})


@pytest.mark.parametrize("reader", [read_vault, read_key])
def test_a_missing_file_is_named(example: Example, tmp_path: Path, reader: object) -> None:
    with pytest.raises(MedLockerError, match=r"nowhere\.age: no such file"):
        reader(tmp_path / "nowhere.age", example.owner.identity)  # type: ignore[operator]


def test_a_huge_file_is_refused_before_it_is_read(example: Example, tmp_path: Path) -> None:
    with (tmp_path / "key.age").open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(UnlockError, match="1 GiB"):
        read_key(tmp_path / "key.age", example.recipient)


def test_a_logo_survives_with_the_colours_under_its_transparency(example: Example) -> None:
    assert decode_logo(example.vault).sha256 == example.vault.logo_sha256
    assert decode_logo(example.key).sha256 == example.vault.logo_sha256


@pytest.mark.parametrize("change", [{"logo": b"no PNG"}, {"logo": b""}, {"logo_sha256": "0" * 64}], ids=str)
def test_a_damaged_logo_is_refused(example: Example, change: dict[str, object]) -> None:
    with pytest.raises(LogoError):
        decode_logo(example.key.model_copy(update=change))


def test_a_record_opens_only_for_its_image_and_release(example: Example) -> None:
    secret, release_id = example.vault.secret, example.vault.release_id
    sealed = seal_record(secret, release_id, "a", b"plain")
    assert open_record(secret, release_id, "a", sealed) == b"plain"
    assert seal_record(secret, release_id, "a", b"plain") == sealed
    wrong = [(secret, release_id, "b", sealed), (secret, "0" * 32, "a", sealed), (bytes(32), release_id, "a", sealed)]
    for attempt in [*wrong, (secret, release_id, "a", sealed[:-1]), (secret, release_id, "a", b"")]:
        with pytest.raises(ReleaseError, match="delete that record"):
            open_record(*attempt)


def test_an_issued_key_names_recipient_version_and_time(example: Example) -> None:
    local = datetime(2026, 3, 4, 7, 6, 7, 999, tzinfo=timezone(timedelta(hours=2)))
    key = issue_key(
        example.vault,
        example.manifest,
        to="Clinic",
        recipient=example.recipient.public_key,
        version=3,
        now=local,
        owner_key=example.owner.signing.public,
    )
    assert (key.recipient_name, key.recipient, key.key_version) == ("Clinic", example.recipient.public_key, 3)
    assert key.issued_at == NOW and key.issued_at.tzinfo is not None and key.issued_at.utcoffset() == timedelta()
    assert [image.placement for image in key.images] == [Placement(180, 3, 2)] * 4


def test_each_image_has_a_key_of_its_own_and_the_secret_is_not_among_them(example: Example) -> None:
    keys = {image.id: image.packet_key for image in example.key.images}
    assert len(set(keys.values())) == len(keys)
    assert keys["a"] == derive_image_key(example.vault.secret, example.vault.release_id, "a")
    assert example.vault.secret not in canonical_json(example.key)


def test_the_owner_can_use_the_vault_as_a_key(example: Example) -> None:
    assert vault_key(example.vault).images == example.key.images


def test_a_vault_of_another_release_issues_nothing(example: Example, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = make_example(tmp_path / "other", seed=1, release_id="cd" * 16)
    with pytest.raises(ReleaseError, match="vault is of release"):
        issue_key(
            other.vault,
            example.manifest,
            to="Clinic",
            recipient=example.recipient.public_key,
            owner_key=example.owner.signing.public,
        )


def test_a_manifest_that_disagrees_with_the_vault_issues_nothing(example: Example) -> None:
    fewer = example.manifest.model_copy(update={"images": example.manifest.images[1:]})
    with pytest.raises(ReleaseError, match="a: vault and manifest disagree"):
        issue_key(
            example.vault,
            fewer,
            to="Clinic",
            recipient=example.recipient.public_key,
            owner_key=example.owner.signing.public,
        )


def test_a_malformed_recipient_is_refused(example: Example) -> None:
    with pytest.raises(IdentityError):
        issue_key(
            example.vault, example.manifest, to="Clinic", recipient="age1nobody", owner_key=example.owner.signing.public
        )
