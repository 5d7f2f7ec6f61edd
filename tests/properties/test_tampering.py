"""No byte of a ledger, key, packet, manifest, list or receipt can change unnoticed; `-m slow` tries every value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from key_case import Case, make_case

from medlocker.audit import check_proof, prove_inclusion, read_proof, read_receipt, verify_ledger
from medlocker.audit.heads import sidecar_path
from medlocker.blending import prepare_mark
from medlocker.errors import MedLockerError
from medlocker.keys import decode_logo, load_identity, read_key, read_vault
from medlocker.keys.copies import VAULT_NAME
from medlocker.keys.lifecycle import publish_revocations, receipt_file, revoke
from medlocker.keys.reading import read_marked
from medlocker.keys.recipients import add_recipient, read_registry, registry_file
from medlocker.keys.release_signature import SIGNATURE_NAME, check_signature, sign_release
from medlocker.keys.revocations import REVOCATIONS_NAME, read_revocations
from medlocker.keys.vault import KEY_TYPE
from medlocker.recovery import PacketContext, restore
from medlocker.sealing import canonical_json, seal_to
from medlocker.signing import sign_envelope


class Target(NamedTuple):
    """Bytes, and who reads them: the check returns normally only where nothing is wrong."""

    content: bytes
    check: Callable[[bytes], object]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A release with two keys, one of them revoked; the key that is tried opens one image."""
    made = make_case(tmp_path_factory.mktemp("case"))
    sign_release(made.copy.folder, made.owner)
    made.issue("Ada", images={"grey16"})
    made.issue("Ben", "ben.key")
    revoke(made.copy, made.ledger, "Ben", "left")
    publish_revocations(made.copy, made.ledger)
    add_recipient(registry_file(made.owner.file), made.owner, "Ada", made.recipient("Ada").key, organisation="Ward 4")
    return made


def _file(path: Path, check: Callable[[], object]) -> Target:
    def changed(content: bytes) -> None:
        path.write_bytes(content)
        check()

    return Target(path.read_bytes(), changed)


def ledger(case: Case) -> Target:
    path = case.ledger.path
    receipt = read_receipt(receipt_file(case.root / "ben.key"))
    sidecar_path(path).unlink(missing_ok=True)

    def check() -> None:
        report = verify_ledger(path, case.owner.public_keys, [receipt])
        if not report.ok or report.warnings:
            raise MedLockerError(report.model_dump_json())

    return _file(path, check)


def sealed_key(case: Case) -> Target:
    path = case.root / "ada.key"
    return _file(path, lambda: case.open(path, owner_keys=case.owner.public_keys))


def opened_key(case: Case) -> Target:
    """What the recipient, who can seal anew, might change in a key."""
    document, path = case.open(case.root / "ada.key"), case.root / "resealed.key"
    plain = canonical_json(sign_envelope(KEY_TYPE, canonical_json(document), case.owner.signing))
    identity = load_identity(case.root / "Ada.txt")

    def check(content: bytes) -> None:
        path.write_bytes(seal_to([document.recipient], content))
        read_key(path, identity, case.owner.public_keys)

    return Target(plain, check)


def packet(case: Case) -> Target:
    key = case.open(case.root / "ada.key")
    (image,) = key.images
    marked = read_marked(case.copy.folder, image.file, image.marked_sha256)
    mark = prepare_mark(decode_logo(key), image.shape, marked.image.pixels.dtype, logo_scale=image.logo_scale)
    context = PacketContext(key.release_id, image.id, image.marked_sha256)
    assert marked.packet is not None
    return Target(
        marked.packet,
        lambda content: restore(marked.image.pixels, mark, image.placement, content, image.packet_key, context),
    )


def manifest(case: Case) -> Target:
    path = case.copy.folder / "release.json"
    return _file(path, lambda: check_signature(case.copy.folder, case.owner.public_keys))


def signature(case: Case) -> Target:
    path = case.copy.folder / SIGNATURE_NAME
    return _file(path, lambda: check_signature(case.copy.folder, case.owner.public_keys))


def revocations(case: Case) -> Target:
    path = case.copy.folder / REVOCATIONS_NAME
    return _file(path, lambda: read_revocations(path, case.owner.public_keys))


def registry(case: Case) -> Target:
    path = registry_file(case.owner.file)
    return _file(path, lambda: read_registry(path, case.owner))


def receipt(case: Case) -> Target:
    path = receipt_file(case.root / "ada.key")

    def check() -> None:
        if not read_receipt(path).signed_by(case.owner.public_keys):
            raise MedLockerError("not signed")

    return _file(path, check)


def proof(case: Case) -> Target:
    path, head = case.root / "proof.json", read_receipt(receipt_file(case.root / "ben.key"))
    path.write_bytes(canonical_json(prove_inclusion(case.ledger.path, 1, head)) + b"\n")
    return _file(path, lambda: check_proof(read_proof(path), case.owner.public_keys))


def vault(case: Case) -> Target:
    path = case.copy.owner_dir / VAULT_NAME
    return _file(path, lambda: read_vault(path, case.owner.identity))


TARGETS = (ledger, sealed_key, opened_key, packet, manifest, signature, revocations, registry, receipt, proof, vault)


def tried(case: Case, make: Callable[[Case], Target], values: Callable[[int, int], object]) -> int:
    """How many changed copies were read, none of them without an error. `values` gives XOR masks for a position."""
    target, count = make(case), 0
    target.check(target.content)
    for position, byte in enumerate(target.content):
        for mask in values(position, byte):  # type: ignore[attr-defined]
            changed = bytearray(target.content)
            changed[position] ^= mask
            with pytest.raises(MedLockerError):
                target.check(bytes(changed))
            count += 1
    target.check(target.content)
    return count


@pytest.mark.parametrize("make", TARGETS[:-1])
def test_every_changed_byte_is_detected(case: Case, make, record_property) -> None:
    count = tried(case, make, lambda position, _: (1 << position % 8,))
    record_property("changes", count)
    assert count == len(make(case).content) > 70


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("make", TARGETS)
def test_every_value_of_every_byte_is_detected(case: Case, make, record_property, capsys) -> None:
    count = tried(case, make, lambda position, _: range(1, 256))
    record_property("changes", count)
    with capsys.disabled():
        print(f"\n{make.__name__}: {count} changes, all detected")


@pytest.mark.parametrize("make", TARGETS)
def test_what_is_cut_off_or_added_is_detected(case: Case, make) -> None:
    target = make(case)
    for content in (b"", target.content[:-2], target.content[: len(target.content) // 2], target.content + b"\0"):
        with pytest.raises(MedLockerError):
            target.check(content)
    target.check(target.content)
