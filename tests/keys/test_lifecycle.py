"""The life of a key as a table of scenarios, each with its exact outcome."""

from __future__ import annotations

import hashlib
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from key_case import Case, make_case

from medlocker.audit import KeyIssued, KeyReissued, LedgerError, ReleaseCreated, read_receipt, verify_ledger
from medlocker.errors import IdentityError, ReleaseError, SettingsError, UnlockError, WrongKeyError
from medlocker.keys import load_identity, new_identity, read_key, unlock_release
from medlocker.keys.lifecycle import issue, matching_images, publish_revocations, receipt_file, revoke
from medlocker.keys.owner import load_owner, new_owner, public_file, rotate_signing
from medlocker.keys.recipients import add_recipient, read_registry, registry_file
from medlocker.keys.recording import OwnerLedger
from medlocker.keys.revocations import (
    REVOCATIONS_NAME,
    ExpiredKeyError,
    RevokedKeyError,
    StaleRevocationsError,
    check_usable,
    read_revocations,
)

SOON = timedelta(days=1)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(tmp_path)


def kinds(case: Case) -> list[str]:
    return [event.details.kind for event in case.ledger.events()]


# What happens to good keys.


def test_issue_gives_a_signed_key_a_receipt_and_an_event(case: Case) -> None:
    key = case.issue()
    event = case.ledger.events()[-1]
    assert isinstance(event.details, KeyIssued) and event.actor == "Dr Owner"
    assert event.details.key_sha256 == hashlib.sha256(key.read_bytes()).hexdigest()
    assert verify_ledger(case.ledger.path, case.owner.public_keys, [read_receipt(receipt_file(key))]).ok
    assert case.open(key, owner_keys=case.owner.public_keys).key_version == 1
    assert case.unlock(key).complete


def test_reissue_counts_up_and_the_earlier_version_still_opens(case: Case) -> None:
    first, second = case.issue(), case.reissue()
    details = case.ledger.events()[-1].details
    assert isinstance(details, KeyReissued)
    assert (details.key_version, details.replaces, details.reason) == (2, 1, "lost laptop")
    assert case.open(first).key_id != case.open(second).key_id
    assert case.unlock(first).complete and case.unlock(second).complete


def test_two_recipients_hold_keys_that_do_not_open_for_the_other(case: Case) -> None:
    ada, ben = case.issue("Ada"), case.issue("Ben", "ben.key")
    assert case.unlock(ada, "Ada").complete and case.unlock(ben, "Ben").complete
    with pytest.raises(WrongKeyError, match=r"ben\.key: the file is not sealed to"):
        case.open(ben, "Ada")


def test_a_subset_key_opens_nothing_else(case: Case) -> None:
    key = case.issue(images=matching_images(case.copy, ["a", "b*"]))
    document = case.open(key)
    assert (document.scope, [image.id for image in document.images]) == ("subset", ["a", "b"])
    report = case.unlock(key)
    assert [image.id for image in report.images] == ["a", "b"] and set(report.not_in_key) == {"grey16", "scan"}
    whole = {image.id: image.packet_key for image in case.example.key.images}
    held = {image.packet_key for image in document.images}
    assert whole["a"] in held and whole["scan"] not in held
    event = case.ledger.events()[-1].details
    assert isinstance(event, KeyIssued) and len(event.scope) == 2 and event.images == 2


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_an_ssh_key_is_all_a_recipient_needs(case: Case, kind: str) -> None:
    file = case.root / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(file)], check=True)
    public = file.with_suffix(".pub").read_text()
    who = add_recipient(registry_file(case.owner.file), case.owner, "Sam", public)
    key = issue(case.copy, case.ledger, who, case.root / "sam.key").path
    assert read_key(key, load_identity(file)).recipient_name == "Sam"


def test_a_protected_ssh_key_opens_with_its_passphrase(case: Case) -> None:
    file = case.root / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "word", "-f", str(file)], check=True)
    who = add_recipient(registry_file(case.owner.file), case.owner, "Sam", file.with_suffix(".pub").read_text())
    key = issue(case.copy, case.ledger, who, case.root / "sam.key").path
    assert read_key(key, load_identity(file, "word")).recipient_name == "Sam"
    with pytest.raises(IdentityError, match="protected by a passphrase"):
        load_identity(file)
    with pytest.raises(IdentityError, match="passphrase is wrong"):
        load_identity(file, "other")


def test_an_interrupted_issue_is_finished_by_the_same_command(case: Case, monkeypatch) -> None:
    from medlocker.keys import lifecycle

    def cut(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "write_document", cut)
        with pytest.raises(KeyboardInterrupt):
            case.issue()
    assert not (case.root / "ada.key").exists() and kinds(case)[-1] == "key.issued"
    finished = issue(case.copy, case.ledger, case.recipient("Ada"), case.root / "ada.key")
    assert finished.recovered and kinds(case).count("key.issued") == 1
    assert case.unlock(finished.path).complete
    assert verify_ledger(case.ledger.path, case.owner.public_keys, [read_receipt(finished.receipt_path)]).ok


def test_a_key_that_was_never_recorded_is_never_delivered(case: Case, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(OwnerLedger, "record", lambda *_: (_ for _ in ()).throw(LedgerError("disk full")))
        with pytest.raises(LedgerError, match="disk full"):
            case.issue()
    assert not (case.root / "ada.key").exists()
    assert not issue(case.copy, case.ledger, case.recipient("Ada"), case.root / "ada.key").recovered


# What is refused when keys are made.


REFUSED_ORDERS = {
    "a second first key": (lambda c: (c.issue(), c.issue(out="again.key")), SettingsError, "holds version 1"),
    "reissue before issue": (lambda c: c.reissue(), SettingsError, "holds no key to this release yet"),
    "revoke before issue": (lambda c: revoke(c.copy, c.ledger, "Ada", "x"), SettingsError, "holds no key"),
    "revoke an unknown version": (
        lambda c: (c.issue(), revoke(c.copy, c.ledger, "Ada", "x", version=7)), SettingsError, "version 7"),
    "expired already": (
        lambda c: c.issue(expires_at=datetime.now(UTC) - SOON), SettingsError, "lies in the past"),
    "an image that is not there": (lambda c: c.issue(images={"zz"}), SettingsError, "'zz' is not in this release"),
    "no image": (lambda c: c.issue(images=set()), SettingsError, "names no image"),
    "a pattern without a match": (
        lambda c: matching_images(c.copy, ["ward4/*"]), SettingsError, "'ward4/\\*' matches no image"),
    "a file that is there": (
        lambda c: ((c.root / "ada.key").write_text("x"), c.issue()), ReleaseError, r"ada\.key: already exists"),
    "a receipt that is there": (
        lambda c: (receipt_file(c.root / "ada.key").write_text("x"), c.issue()), ReleaseError, "already exists"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_ORDERS)
def test_what_is_refused_leaves_no_key_and_no_event(case: Case, name: str) -> None:
    order, error, words = REFUSED_ORDERS[name]
    with pytest.raises(error, match=words):
        order(case)
    assert len([kind for kind in kinds(case) if kind != "release.created"]) == len(
        [path for path in case.root.glob("*.key") if path.stat().st_size > 1]
    )
    assert not list(case.root.glob(".*.pending"))


# What a recipient is told.


def test_an_expired_key_is_refused_also_when_the_clock_goes_back(case: Case) -> None:
    key = case.open(case.issue(expires_at=datetime.now(UTC) + SOON))
    assert check_usable(key, []) == ()
    with pytest.raises(ExpiredKeyError, match="expired on"):
        check_usable(key, [], now=datetime.now(UTC) + 2 * SOON)
    publish_revocations(case.copy, case.ledger, now=datetime.now(UTC) + 3 * SOON)
    with pytest.raises(ExpiredKeyError):
        check_usable(key, case.lists(), now=datetime.now(UTC) - 10 * SOON)


def test_a_revoked_key_is_refused_and_the_other_versions_are_not(case: Case) -> None:
    first, second = case.open(case.issue()), case.open(case.reissue())
    (made,) = revoke(case.copy, case.ledger, "Ada", "left", version=1)
    assert made.key_version == 1
    publish_revocations(case.copy, case.ledger)
    with pytest.raises(RevokedKeyError, match="revoked version 1"):
        check_usable(first, case.lists())
    assert check_usable(second, case.lists()) == ()
    assert revoke(case.copy, case.ledger, "Ada", "left", version=1) == ()
    assert [one.key_version for one in revoke(case.copy, case.ledger, "Ada", "left")] == [2]


def test_a_list_names_nobody(case: Case) -> None:
    case.issue()
    revoke(case.copy, case.ledger, "Ada", "left")
    publish_revocations(case.copy, case.ledger, out=case.root / "list.json")
    text = (case.root / "list.json").read_text()
    payload = json.dumps([one.model_dump(mode="json") for one in case.lists()])
    assert "Ada" not in text and "Ada" not in payload and "left" not in payload


def test_an_older_list_does_not_hide_what_a_newer_one_revokes(case: Case) -> None:
    key = case.open(case.issue())
    publish_revocations(case.copy, case.ledger, out=case.root / "old.json")
    revoke(case.copy, case.ledger, "Ada", "left")
    new = publish_revocations(case.copy, case.ledger)
    old = read_revocations(case.root / "old.json", case.owner.public_keys)
    assert (old.number, new.number) == (1, 2)
    for lists in ([old, new], [new, old]):
        with pytest.raises(RevokedKeyError):
            check_usable(key, lists)


def test_a_stale_list_warns_and_is_refused_on_request(case: Case) -> None:
    key = case.open(case.issue())
    publish_revocations(case.copy, case.ledger, fresh_for=timedelta(hours=1))
    later = datetime.now(UTC) + SOON
    assert "stale" in check_usable(key, case.lists(), now=later)[0]
    for lists in (case.lists(), []):
        with pytest.raises(StaleRevocationsError):
            check_usable(key, lists, now=later, require_fresh=True)


def _other(case: Case) -> Case:
    (case.root / "other").mkdir()
    return make_case(case.root / "other", seed=1, release_id="cd" * 16)


def test_a_list_of_another_release_or_owner_is_refused(case: Case) -> None:
    key, other = case.open(case.issue()), _other(case)
    publish_revocations(other.copy, other.ledger)
    with pytest.raises(UnlockError, match="not a list of revoked keys that the owner signed"):
        read_revocations(other.copy.folder / REVOCATIONS_NAME, case.owner.public_keys)
    with pytest.raises(UnlockError, match="is of release cdcd"):
        check_usable(key, other.lists())


def test_a_key_that_another_owner_signed_is_refused_where_the_owner_is_known(case: Case) -> None:
    key = case.issue()
    stranger = new_owner(case.root / "stranger.txt")
    with pytest.raises(WrongKeyError, match="not signed by the owner that --owner-key names"):
        case.open(key, owner_keys=stranger.public_keys)


def test_a_key_of_another_release_is_refused(case: Case) -> None:
    other = _other(case)
    with pytest.raises(WrongKeyError, match="the key is for release abab"):
        unlock_release(other.copy.folder, case.open(case.issue()), case.root / "out")


def test_rotation_retires_the_former_key_and_keeps_what_it_signed(case: Case) -> None:
    before = case.issue()
    former = case.owner
    rotated = rotate_signing(case.owner.file)
    assert (
        rotated.public_keys == (*former.public_keys, rotated.signing.public)
        and load_owner(rotated.file).public_keys == rotated.public_keys
    )
    case.ledger = OwnerLedger(case.ledger.path, rotated)
    after = case.issue("Ben", "ben.key")
    for key, name in ((before, "Ada"), (after, "Ben")):
        assert case.open(key, name, owner_keys=rotated.public_keys)
    assert verify_ledger(case.ledger.path, rotated.public_keys, [read_receipt(receipt_file(before))]).ok
    with pytest.raises(LedgerError):
        OwnerLedger(case.ledger.path, former).record(
            ReleaseCreated(release_id="0" * 32, manifest_sha256="0" * 64, images=1)
        )
    with pytest.raises(WrongKeyError):
        case.open(after, "Ben", owner_keys=former.public_keys)


@pytest.mark.parametrize("stage", ["new key written", "list written"])
def test_a_rotation_that_was_cut_off_is_finished_or_undone(case: Case, monkeypatch, stage: str) -> None:
    former = case.owner
    import medlocker.keys.owner as module

    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if stage == "new key written":
            patch.setattr(module, "_write_public", cut)
        else:
            patch.setattr(Path, "replace", lambda a, b: cut() if ".next" in a.name else original(a, b))
        with pytest.raises(KeyboardInterrupt):
            rotate_signing(former.file)
    found = load_owner(former.file)
    assert len(found.public_keys) == (1 if stage == "new key written" else 2)
    assert found.signing.public == found.public_keys[-1]
    assert not list(case.root.glob("*.next"))


original = Path.replace


def test_a_release_is_recorded_once_and_another_manifest_is_refused(case: Case) -> None:
    head = case.ledger.record_release(case.example.folder, case.example.manifest)
    assert head.head.size == 1 and kinds(case) == ["release.created"]
    manifest = case.example.folder / "release.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    with pytest.raises(LedgerError, match="not the manifest that the ledger records"):
        case.ledger.record_release(case.example.folder, case.example.manifest)


def test_registered_recipients_are_signed_and_told_apart(case: Case) -> None:
    path = registry_file(case.owner.file)
    ada = case.recipient("Ada").key
    add_recipient(path, case.owner, "Ada", ada, organisation="Ward 4", purpose="grading")
    with pytest.raises(IdentityError, match="registered already"):
        add_recipient(path, case.owner, "Ada", ada)
    with pytest.raises(IdentityError, match="no recipient is called 'Eve'"):
        read_registry(path, case.owner).find("Eve")
    new_key = case.recipient("Ben").key
    assert add_recipient(path, case.owner, "Ada", new_key, replace=True).key == new_key
    assert len(read_registry(path, case.owner).recipients) == 1
    for content in (path.read_bytes().replace(b'"payload":"', b'"payload":"A'), b"{}", b"[" * 9999):
        path.write_bytes(content)
        with pytest.raises(IdentityError, match="not the list of recipients that this owner signed"):
            read_registry(path, case.owner)


def test_a_passphrase_protects_both_identities(tmp_path: Path) -> None:
    made = new_owner(tmp_path / "o.txt", "correct horse")
    for name in ("o.txt", "o.txt.signing.pem"):
        content = (tmp_path / name).read_bytes()
        assert b"AGE-SECRET" not in content and b"BEGIN PRIVATE" not in content
    assert load_owner(tmp_path / "o.txt", "correct horse").public_keys == made.public_keys
    for wrong in (None, "battery"):
        with pytest.raises(IdentityError, match="passphrase"):
            load_owner(tmp_path / "o.txt", wrong)


def test_an_owner_without_a_signing_key_is_told_how_to_make_one(tmp_path: Path) -> None:
    new_identity(tmp_path / "o.txt")
    with pytest.raises(IdentityError, match=r"identity new --signing-for .*o\.txt"):
        load_owner(tmp_path / "o.txt")
    new_owner(tmp_path / "p.txt")
    public_file(tmp_path / "p.txt").write_text(new_owner(tmp_path / "q.txt").signing.public.text + "\n")
    with pytest.raises(IdentityError, match="its last key is not that of"):
        load_owner(tmp_path / "p.txt")
