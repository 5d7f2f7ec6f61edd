"""Keys, releases, lists and the ledger under every kind of change: one table, each scenario with its exact outcome.

In the manner of python-tuf's table of root rotations. A scenario does something and returns what somebody then does;
the outcome is the number of images restored, or the error and its words, or the findings of `audit verify`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from key_case import Case, make_case

from medlocker.audit import Ledger, LedgerError, ReleaseCreated, read_receipt, verify_ledger
from medlocker.audit.heads import sidecar_path
from medlocker.errors import ReleaseError, UnlockError, WrongKeyError
from medlocker.keys import unlock_release
from medlocker.keys.lifecycle import matching_images, publish_revocations, receipt_file, revoke
from medlocker.keys.owner import Owner, load_owner, new_owner, rotate_signing
from medlocker.keys.recording import OwnerLedger
from medlocker.keys.release_signature import check_signature, renew_signature, sign_release
from medlocker.keys.revocations import (
    REVOCATIONS_NAME,
    ExpiredKeyError,
    RevokedKeyError,
    StaleRevocationsError,
    check_usable,
    received_list,
    write_revocations,
)
from medlocker.recovery import PACKET_SUFFIX

DAY = timedelta(days=1)
Outcome = int | tuple[type[Exception], str] | set[str]
Then = Callable[[], object]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A signed release of four images; Ada holds version 1 of a key to it, in ada.key."""
    made = make_case(tmp_path)
    sign_release(made.copy.folder, made.owner)
    made.issue()
    return made


def use(
    case: Case, key: str = "ada.key", name: str = "Ada", *, now: datetime | None = None, fresh: bool = False, lists=None
) -> Then:
    """A recipient who knows the owner's keys unlocks; the outcome is how many images are restored."""

    def then() -> int:
        keys = case.owner.public_keys
        document = case.open(case.root / key, name, owner_keys=keys)
        check_signature(case.copy.folder, keys)
        shipped = case.copy.folder / REVOCATIONS_NAME
        places = lists if lists is not None else [shipped] * shipped.exists()
        check_usable(document, [received_list(place, keys) for place in places], now=now, require_fresh=fresh)
        report = unlock_release(case.copy.folder, document, case.root / "out")
        return sum(image.status == "restored" for image in report.images)

    return then


def audit(case: Case, *receipts: Path) -> Then:
    """An auditor verifies the ledger with the receipts of those who give theirs; the outcome is what is found."""

    def then() -> set[str]:
        report = verify_ledger(case.ledger.path, case.owner.public_keys, [read_receipt(one) for one in receipts])
        return {one.kind for one in (*report.faults, *report.warnings)}

    return then


def lines(case: Case) -> list[bytes]:
    return case.ledger.path.read_bytes().splitlines(keepends=True)


def rewrite(case: Case, content: list[bytes]) -> None:
    """Whoever controls the owner's disk also removes the head that lies beside the ledger."""
    case.ledger.path.write_bytes(b"".join(content))
    sidecar_path(case.ledger.path).unlink()


def rotated(case: Case) -> Owner:
    """The owner with a new signing key; the case goes on with it. Returns the former owner, as a thief has it."""
    former = case.owner
    case.ledger = OwnerLedger(case.ledger.path, rotate_signing(former.file))
    object.__setattr__(case.example, "owner", case.ledger.owner)
    return former


# Keys.


def issue(case: Case) -> Then:
    return use(case)


def issue_and_reissue(case: Case) -> Then:
    case.reissue()
    return use(case, "ada2.key")


def superseded_version(case: Case) -> Then:
    """Superseded is not revoked: the earlier version still opens."""
    case.reissue()
    return use(case)


def rotate_owner_keys_old_key(case: Case) -> Then:
    rotated(case)
    renew_signature(case.copy.folder, case.owner)
    return use(case)


def rotate_owner_keys_new_key(case: Case) -> Then:
    rotated(case)
    case.reissue()
    return use(case, "ada2.key")


def key_signed_by_an_unknown_key(case: Case) -> Then:
    """The owner rotated, and the recipient knows the former public key alone."""
    former = case.owner
    rotated(case)
    case.reissue()
    object.__setattr__(case.example, "owner", former)
    return use(case, "ada2.key")


def expire(case: Case) -> Then:
    case.reissue(expires_at=datetime.now(UTC) + DAY)
    return use(case, "ada2.key", now=datetime.now(UTC) + 2 * DAY)


def not_yet_expired(case: Case) -> Then:
    case.reissue(expires_at=datetime.now(UTC) + DAY)
    return use(case, "ada2.key")


def expired_with_the_clock_set_back_and_a_newer_list(case: Case) -> Then:
    case.reissue(expires_at=datetime.now(UTC) + DAY)
    publish_revocations(case.copy, case.ledger, now=datetime.now(UTC) + 2 * DAY)
    return use(case, "ada2.key", now=datetime.now(UTC) - 9 * DAY)


def expired_with_the_clock_set_back_and_no_list(case: Case) -> Then:
    """What no list contradicts cannot be known: the limit of expiry without a clock that is trusted."""
    case.reissue(expires_at=datetime.now(UTC) + DAY)
    return use(case, "ada2.key", now=datetime.now(UTC) - 9 * DAY)


def revoked(case: Case) -> Then:
    revoke(case.copy, case.ledger, "Ada", "left")
    publish_revocations(case.copy, case.ledger)
    return use(case)


def revoked_but_no_list_at_hand(case: Case) -> Then:
    """A delivered key cannot be recalled."""
    revoke(case.copy, case.ledger, "Ada", "left")
    publish_revocations(case.copy, case.ledger)
    return use(case, lists=[])


def revoked_but_no_list_and_a_fresh_one_is_required(case: Case) -> Then:
    return use(case, lists=[], fresh=True)


def revoked_and_an_older_list_put_in_place(case: Case) -> Then:
    """A list from before the revocation hides it until it is stale ..."""
    publish_revocations(case.copy, case.ledger, out=case.root / "old.json")
    revoke(case.copy, case.ledger, "Ada", "left")
    publish_revocations(case.copy, case.ledger)
    return use(case, lists=[case.root / "old.json"], fresh=True)


def revoked_and_an_older_list_gone_stale(case: Case) -> Then:
    """... and no longer where a fresh one is required."""
    revoked_and_an_older_list_put_in_place(case)
    return use(case, lists=[case.root / "old.json"], fresh=True, now=datetime.now(UTC) + 31 * DAY)


def revoked_and_both_lists_at_hand(case: Case) -> Then:
    revoked_and_an_older_list_put_in_place(case)
    return use(case, lists=[case.root / "old.json", case.copy.folder / REVOCATIONS_NAME])


def stale_list(case: Case) -> Then:
    publish_revocations(case.copy, case.ledger, fresh_for=timedelta(hours=1))
    return use(case, now=datetime.now(UTC) + DAY)


def stale_list_and_a_fresh_one_is_required(case: Case) -> Then:
    publish_revocations(case.copy, case.ledger, fresh_for=timedelta(hours=1))
    return use(case, now=datetime.now(UTC) + DAY, fresh=True)


def tampered_list(case: Case) -> Then:
    publish_revocations(case.copy, case.ledger)
    path = case.copy.folder / REVOCATIONS_NAME
    path.write_bytes(path.read_bytes().replace(b'"payload":"eyJ', b'"payload":"eyK'))
    return use(case)


def list_of_a_stranger(case: Case) -> Then:
    publish_revocations(case.copy, case.ledger)
    path = case.copy.folder / REVOCATIONS_NAME
    document = received_list(path, case.owner.public_keys)
    write_revocations(path, document, new_owner(case.root / "stranger.txt").signing)
    return use(case)


def list_signed_with_a_retired_key(case: Case) -> Then:
    """A thief of the former signing key signs an empty list, to hold off the owner's: it never counts as fresh."""
    former = rotated(case)
    renew_signature(case.copy.folder, case.owner)
    document = publish_revocations(case.copy, case.ledger)
    forged = document.model_copy(update={"number": 99, "next_update": document.issued_at + 999 * DAY})
    write_revocations(case.copy.folder / REVOCATIONS_NAME, forged, former.signing)
    return use(case, fresh=True)


def subset(case: Case) -> Then:
    case.issue("Ben", "ben.key", images=matching_images(case.copy, ["a", "gr*"]))
    return use(case, "ben.key", "Ben")


def wrong_recipient(case: Case) -> Then:
    case.issue("Ben", "ben.key")
    return use(case, "ben.key", "Ada")


def two_recipients(case: Case) -> Then:
    case.issue("Ben", "ben.key")
    assert use(case)() == 4
    shutil.rmtree(case.root / "out")
    return use(case, "ben.key", "Ben")


def revoking_one_of_two_recipients(case: Case) -> Then:
    case.issue("Ben", "ben.key")
    revoke(case.copy, case.ledger, "Ada", "left")
    publish_revocations(case.copy, case.ledger)
    return use(case, "ben.key", "Ben")


def key_of_another_release(case: Case) -> Then:
    (case.root / "other").mkdir()
    other = make_case(case.root / "other", seed=1, release_id="cd" * 16)
    other.issue("Ada", "theirs.key")
    document = other.open(other.root / "theirs.key")
    return lambda: unlock_release(case.copy.folder, document, case.root / "out")


def tampered_key(case: Case) -> Then:
    path = case.root / "ada.key"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return use(case)


def tampered_packet(case: Case) -> Then:
    path = case.example.file("scan")
    path = path.with_name(path.name + PACKET_SUFFIX)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return use(case)


def swapped_packets(case: Case) -> Then:
    """The sidecar of one image put beside another."""
    path = case.example.file("scan")
    first = case.example.file("grey16")
    path.with_name(path.name + PACKET_SUFFIX).write_bytes(first.read_bytes()[-200:])
    return use(case)


def tampered_image(case: Case) -> Then:
    shutil.copy(case.example.file("a"), case.example.file("b"))
    return use(case)


def tampered_manifest(case: Case) -> Then:
    path = case.copy.folder / "release.json"
    path.write_bytes(path.read_bytes().replace(b'"example"', b'"exomple"'))
    return use(case)


def missing_signature(case: Case) -> Then:
    (case.copy.folder / "release.json.sig").unlink()
    return use(case)


# The ledger.


def untouched_ledger(case: Case) -> Then:
    return audit(case, receipt_file(case.root / "ada.key"))


def tampered_ledger_line(case: Case) -> Then:
    rewrite(case, [line.replace(b'"Ada"', b'"Eve"') for line in lines(case)])
    return audit(case)


def deleted_line(case: Case) -> Then:
    case.reissue()
    rewrite(case, [line for number, line in enumerate(lines(case)) if number != 1])
    return audit(case)


def truncated_tail(case: Case) -> Then:
    rewrite(case, lines(case)[:-1])
    return audit(case, receipt_file(case.root / "ada.key"))


def truncated_tail_without_a_receipt(case: Case) -> Then:
    """The limit: without a receipt from after the event nothing shows that the end is missing."""
    rewrite(case, lines(case)[:-1])
    return audit(case)


def truncated_tail_with_an_earlier_receipt(case: Case) -> Then:
    case.reissue()
    rewrite(case, lines(case)[:-1])
    return audit(case, receipt_file(case.root / "ada.key"))


def replaced_ledger(case: Case) -> Then:
    """The owner writes all of it anew, without Ada."""
    rewrite(case, [])
    first = ReleaseCreated(release_id=case.copy.release_id, manifest_sha256="0" * 64, images=4)
    Ledger(case.ledger.path, case.owner.signing).append(first, actor="Dr Owner")
    return audit(case, receipt_file(case.root / "ada.key"))


def rewritten_tail(case: Case) -> Then:
    """The owner cuts off Ada's key and goes on as if it had never been."""
    rewrite(case, lines(case)[:-1])
    case.issue("Ben", "ben.key")
    return audit(case, receipt_file(case.root / "ada.key"))


def swapped_receipts(case: Case) -> Then:
    """A receipt of another ledger of the same owner, handed out with Ada's key."""
    other = Ledger(case.root / "other.jsonl", case.owner.signing)
    head = other.append(ReleaseCreated(release_id="f" * 32, manifest_sha256="0" * 64, images=1), actor="Dr Owner")
    path = receipt_file(case.root / "ada.key")
    path.write_text(head.model_dump_json())
    path.unlink()
    from medlocker.audit import write_document

    write_document(path, head)
    return audit(case, path)


def receipts_of_two_recipients_swapped(case: Case) -> Then:
    """Both are of this ledger: a receipt is nobody's own, and either vouches for all before it."""
    case.issue("Ben", "ben.key")
    return audit(case, receipt_file(case.root / "ben.key"), receipt_file(case.root / "ada.key"))


def clock_going_back(case: Case) -> Then:
    last = case.ledger.events()[-1]
    Ledger(case.ledger.path, case.owner.signing).append(last.details, actor="Dr Owner", now=last.time - DAY)
    return audit(case)


def event_signed_with_a_retired_key(case: Case) -> Then:
    """The thief of a former key adds an event after the owner's new key has signed."""
    former = rotated(case)
    case.reissue()

    def then() -> object:
        thief = Ledger(case.ledger.path, former.signing, ())
        return thief.append(case.ledger.events()[-1].details, actor="thief")

    return then


def ledger_of_an_owner_who_rotated(case: Case) -> Then:
    rotated(case)
    case.reissue()
    assert load_owner(case.owner.file).public_keys == case.owner.public_keys
    return audit(case, receipt_file(case.root / "ada.key"), receipt_file(case.root / "ada2.key"))


TABLE: list[tuple[Callable[[Case], Then], Outcome]] = [
    (issue, 4),
    (issue_and_reissue, 4),
    (superseded_version, 4),
    (rotate_owner_keys_old_key, 4),
    (rotate_owner_keys_new_key, 4),
    (key_signed_by_an_unknown_key, (WrongKeyError, "not signed by the owner that --owner-key names")),
    (expire, (ExpiredKeyError, "the key expired on")),
    (not_yet_expired, 4),
    (expired_with_the_clock_set_back_and_a_newer_list, (ExpiredKeyError, "the key expired on")),
    (expired_with_the_clock_set_back_and_no_list, 4),
    (revoked, (RevokedKeyError, "the owner revoked version 1")),
    (revoked_but_no_list_at_hand, 4),
    (revoked_but_no_list_and_a_fresh_one_is_required, (StaleRevocationsError, "no list of revoked keys is at hand")),
    (revoked_and_an_older_list_put_in_place, 4),
    (revoked_and_an_older_list_gone_stale, (StaleRevocationsError, "is stale since")),
    (revoked_and_both_lists_at_hand, (RevokedKeyError, "the owner revoked version 1")),
    (stale_list, 4),
    (stale_list_and_a_fresh_one_is_required, (StaleRevocationsError, "is stale since")),
    (tampered_list, (UnlockError, "not a list of revoked keys that the owner signed")),
    (list_of_a_stranger, (UnlockError, "not a list of revoked keys that the owner signed")),
    (list_signed_with_a_retired_key, (StaleRevocationsError, "is stale since")),
    (subset, 2),
    (wrong_recipient, (WrongKeyError, "is not sealed to age1")),
    (two_recipients, 4),
    (revoking_one_of_two_recipients, 4),
    (key_of_another_release, (WrongKeyError, "the key is for release cdcd")),
    (tampered_key, (WrongKeyError, "ada.key: the sealed file is damaged")),
    (tampered_packet, 3),
    (swapped_packets, 3),
    (tampered_image, 3),
    (tampered_manifest, (ReleaseError, "not the manifest that its owner signed")),
    (missing_signature, (ReleaseError, "the release is not signed")),
    (untouched_ledger, set()),
    (tampered_ledger_line, {"bad_signature"}),
    (deleted_line, {"wrong_sequence", "broken_chain"}),
    (truncated_tail, {"truncated"}),
    (truncated_tail_without_a_receipt, set()),
    (truncated_tail_with_an_earlier_receipt, set()),
    (replaced_ledger, {"foreign_receipt"}),
    (rewritten_tail, {"inconsistent_receipt"}),
    (swapped_receipts, {"foreign_receipt"}),
    (receipts_of_two_recipients_swapped, set()),
    (clock_going_back, {"clock_back"}),
    (event_signed_with_a_retired_key, (LedgerError, "not signed by the owner")),
    (ledger_of_an_owner_who_rotated, set()),
]


@pytest.mark.parametrize(("scenario", "outcome"), TABLE, ids=[row[0].__name__ for row in TABLE])
def test_scenario(case: Case, scenario: Callable[[Case], Then], outcome: Outcome) -> None:
    then = scenario(case)
    if isinstance(outcome, tuple):
        error, words = outcome
        with pytest.raises(error) as caught:
            then()
        assert type(caught.value) is error and words in str(caught.value)
    else:
        assert then() == outcome
