"""The same images under a new secret: former keys open nothing, both ledgers say so, a kill is finished."""

from __future__ import annotations

from pathlib import Path

import pytest
from traced_release import Traced, make_traced

from medlocker.audit import ReleaseCreated, ReleaseReplaced, verify_ledger
from medlocker.errors import SettingsError, WrongKeyError
from medlocker.imageio import read_image
from medlocker.jobs import rereleasing as job
from medlocker.jobs.editions import EditionRequest, make_edition
from medlocker.jobs.progress import SilentProgress
from medlocker.jobs.rereleasing import RereleaseRequest, RereleaseResult, make_rerelease
from medlocker.keys import unlock_release, vault_key, verify_release
from medlocker.keys.copies import MarkedCopy, open_copy
from medlocker.keys.owner import Owner, new_owner
from medlocker.keys.recording import OwnerLedger
from medlocker.tracing import edition_alphabets


@pytest.fixture
def traced(tmp_path: Path) -> Traced:
    return make_traced(tmp_path, 10, silent=2)


def again(traced: Traced, owner: Owner | None = None, **more) -> RereleaseResult:
    request = RereleaseRequest(traced.root / "new", traced.root / "new.owner", "lost laptop", workers=1, **more)
    return make_rerelease(traced.copy, request, traced.ledger, ledger_of_new(traced, owner), SilentProgress())


def ledger_of_new(traced: Traced, owner: Owner | None = None) -> OwnerLedger:
    return OwnerLedger(traced.root / "new.owner" / "ledger.jsonl", owner or traced.owner, actor="Dr Owner")


def new_copy(traced: Traced, owner: Owner | None = None) -> MarkedCopy:
    return open_copy(traced.root / "new", traced.root / "new.owner", (owner or traced.owner).identity)


def test_marks_move_where_they_can_and_the_originals_come_back(traced: Traced) -> None:
    made, before, after = again(traced), traced.copy.vault, new_copy(traced).vault
    assert (made.images, made.moved) == (10, 8)
    usable = edition_alphabets(before)
    for old, new in zip(before.images, after.images, strict=True):
        assert new.placement in usable[old.id]
        assert (new.placement == old.placement) == (len(usable[old.id]) == 1)
        assert new.alternatives == old.alternatives
    assert (before.secret, before.release_id) != (after.secret, after.release_id)
    unlock_release(traced.root / "new", vault_key(after), traced.root / "out")
    for image in after.images:
        assert (read_image(traced.root / "out" / image.file).pixels == traced.originals[image.id]).all()
    assert verify_release(traced.root / "new", traced.owner.public_keys).ok


def test_former_keys_open_nothing_of_it(traced: Traced) -> None:
    again(traced, placing="keep")
    former = vault_key(traced.copy.vault)
    with pytest.raises(WrongKeyError, match="the key is for release"):
        unlock_release(traced.root / "new", former, traced.root / "out")
    forged = former.model_copy(update={"release_id": new_copy(traced).vault.release_id})
    report = unlock_release(traced.root / "new", forged, traced.root / "out")
    assert {image.status for image in report.images} == {"failed"}


def test_kept_placements_give_the_same_marked_pixels(traced: Traced) -> None:
    assert again(traced, placing="keep").moved == 0
    for image in traced.copy.vault.images:
        assert (
            read_image(traced.root / "new" / image.file).pixels == read_image(traced.root / "rel" / image.file).pixels
        ).all()


def test_both_ledgers_say_what_replaced_what_once(traced: Traced) -> None:
    made = again(traced)
    assert again(traced).release_id == made.release_id
    for ledger in (traced.ledger, ledger_of_new(traced)):
        (told,) = [e.details for e in ledger.events() if isinstance(e.details, ReleaseReplaced)]
        assert (told.release_id, told.replaced_by) == (traced.copy.release_id, made.release_id)
        assert told.reason == "lost laptop"
        assert verify_ledger(ledger.path, traced.owner.public_keys).ok
    (created,) = [e.details for e in ledger_of_new(traced).events() if isinstance(e.details, ReleaseCreated)]
    assert (created.release_id, created.images) == (made.release_id, 10)


def test_a_new_owner_takes_it_over(traced: Traced) -> None:
    heir = new_owner(traced.root / "heir.txt")
    again(traced, heir)
    assert new_copy(traced, heir).vault.images
    with pytest.raises(WrongKeyError):
        new_copy(traced)
    assert verify_release(traced.root / "new", heir.public_keys).ok


@pytest.mark.parametrize("step", ["make_copy", "write_vault", "write_atomic", "sign_release", "_record"])
def test_after_a_kill_the_same_command_finishes_it(traced: Traced, monkeypatch, step: str) -> None:
    def dying(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job, step, dying)
        with pytest.raises(KeyboardInterrupt):
            again(traced)
    made = again(traced)
    kinds = [event.details.kind for event in ledger_of_new(traced).events()]
    assert kinds == ["release.created", "release.replaced"]
    assert new_copy(traced).release_id == made.release_id
    assert verify_release(traced.root / "new", traced.owner.public_keys).signed


def test_editions_of_the_new_release_can_be_made_and_an_edition_is_no_release(traced: Traced) -> None:
    again(traced)
    request = EditionRequest(traced.root / "e", traced.root / "e.owner", traced.recipient("Ada"))
    made = make_edition(new_copy(traced), request, ledger_of_new(traced), SilentProgress())
    assert made.capacity.placements == {1: 2, 5: 8}
    edition = open_copy(traced.root / "e", traced.root / "e.owner", traced.owner.identity)
    with pytest.raises(SettingsError, match=r"e: is an edition"):
        make_rerelease(
            edition,
            RereleaseRequest(traced.root / "x", traced.root / "x.owner", "why"),
            traced.ledger,
            traced.ledger,
            SilentProgress(),
        )
