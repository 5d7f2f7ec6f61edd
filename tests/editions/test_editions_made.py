"""Editions as files: drawn as the code says, unlockable bit for bit, resumable, recorded, never overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from traced_release import PLACES, Traced, make_traced

from medlocker.audit import EditionMade, LedgerError
from medlocker.errors import ReleaseError, ResumeMismatchError, SettingsError
from medlocker.imageio import read_image
from medlocker.jobs import editions as job
from medlocker.jobs.editions import EditionRequest, EditionResult, edition_index, editions_of, make_edition
from medlocker.jobs.progress import SilentProgress
from medlocker.keys import load_manifest, unlock_release, vault_key, verify_release
from medlocker.keys.copies import MarkedCopy, open_copy
from medlocker.keys.edition_document import read_edition
from medlocker.keys.recording import ledger_file
from medlocker.marking import MarkedFile
from medlocker.release import MANIFEST_NAME
from medlocker.tracing import draw_edition, edition_alphabets


@pytest.fixture
def traced(tmp_path: Path) -> Traced:
    return make_traced(tmp_path)


def make(traced: Traced, name: str, out: str | None = None, **more) -> EditionResult:
    folder = traced.root / (out or name)
    request = EditionRequest(
        folder, folder.with_name(folder.name + ".owner"), traced.recipient(name), workers=1, **more
    )
    return make_edition(traced.copy, request, traced.ledger, SilentProgress())


def opened(traced: Traced, name: str) -> MarkedCopy:
    return open_copy(traced.root / name, traced.root / f"{name}.owner", traced.owner.identity)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_an_edition_holds_the_drawn_placements_and_differs_from_others_where_the_code_does(traced: Traced) -> None:
    made = {name: make(traced, name) for name in ("Ada", "Ben")}
    vault, alphabets = traced.copy.vault, edition_alphabets(traced.copy.vault)
    words = {n: draw_edition(vault, edition_index(m.edition_id), vault.secret) for n, m in made.items()}
    for name, word in words.items():
        placed = {image.id: image.placement for image in opened(traced, name).vault.images}
        assert placed == {image_id: alphabets[image_id][symbol] for image_id, symbol in word.items()}
    for image in vault.images:
        one, two = (read_image(traced.root / name / image.file).pixels for name in words)
        assert (one == two).all() == (words["Ada"][image.id] == words["Ben"][image.id])


def test_unlocking_an_edition_gives_the_originals_bit_for_bit(traced: Traced) -> None:
    make(traced, "Ada")
    copy = opened(traced, "Ada")
    report = unlock_release(copy.folder, vault_key(copy.vault), traced.root / "out")
    assert report.complete and {image.status for image in report.images} == {"restored"}
    for image in copy.vault.images:
        assert (read_image(traced.root / "out" / image.file).pixels == traced.originals[image.id]).all()
    assert verify_release(copy.folder, traced.owner.public_keys).ok


def test_the_key_of_one_edition_opens_no_other(traced: Traced) -> None:
    make(traced, "Ada"), make(traced, "Ben")
    ada, ben = opened(traced, "Ada"), opened(traced, "Ben")
    assert len({traced.copy.vault.secret, ada.vault.secret, ben.vault.secret}) == 3
    forged = vault_key(ada.vault).model_copy(update={"release_id": ben.vault.release_id})
    report = unlock_release(ben.folder, forged, traced.root / "out")
    assert {image.status for image in report.images} == {"failed"}


def test_an_edition_tells_nothing_of_other_placements_or_of_the_release(traced: Traced) -> None:
    made = make(traced, "Ada")
    assert all(image.alternatives == () for image in opened(traced, "Ada").vault.images)
    public = (traced.root / "Ada" / MANIFEST_NAME).read_text()
    assert traced.copy.release_id not in public and "Ada" not in public and made.edition_id in public
    assert load_manifest(traced.root / "Ada").images[0].queries == 0


def test_it_is_recorded_once_and_its_ledger_is_that_of_the_release(traced: Traced) -> None:
    made, again = make(traced, "Ada"), make(traced, "Ada")
    assert again.edition_id == made.edition_id
    assert (made.resumed, again.resumed) == (0, 16)
    (recorded,) = editions_of(traced.ledger.events(), traced.copy.release_id)
    assert (recorded.recipient, recorded.edition_id, recorded.images) == ("Ada", made.edition_id, 16)
    assert ledger_file(traced.root / "Ada.owner") == traced.ledger.path.resolve()
    document = read_edition(traced.root / "Ada.owner")
    assert document is not None and document.edition_id == made.edition_id


def test_doing_it_again_changes_no_file(traced: Traced) -> None:
    make(traced, "Ada")
    before = contents(traced.root / "Ada") | contents(traced.root / "Ada.owner")
    make(traced, "Ada")
    assert contents(traced.root / "Ada") | contents(traced.root / "Ada.owner") == before


@pytest.mark.parametrize("after", [0, 1, 9, 15])
def test_after_a_kill_between_images_the_same_command_gives_the_same_edition(traced, monkeypatch, after) -> None:
    written = MarkedFile.write
    left = [after]

    def dying(self: MarkedFile, folder: Path, **_: object) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        written(self, folder)

    monkeypatch.setattr(MarkedFile, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        make(traced, "Ada")
    monkeypatch.setattr(MarkedFile, "write", written)
    assert not (traced.root / "Ada" / MANIFEST_NAME).exists()
    assert editions_of(traced.ledger.events(), traced.copy.release_id) == ()
    begun = contents(traced.root / "Ada")
    made = make(traced, "Ada")
    assert made.resumed == after
    assert begun.items() <= contents(traced.root / "Ada").items()
    assert len(editions_of(traced.ledger.events(), traced.copy.release_id)) == 1
    assert verify_release(traced.root / "Ada", traced.owner.public_keys).ok


@pytest.mark.parametrize("step", ["write_vault", "write_edition", "write_atomic", "sign_release"])
def test_after_a_kill_while_it_is_finished_it_is_recorded_once_and_finished(traced, monkeypatch, step) -> None:
    def dying(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job, step, dying)
        with pytest.raises(KeyboardInterrupt):
            make(traced, "Ada")
    made = make(traced, "Ada")
    (recorded,) = editions_of(traced.ledger.events(), traced.copy.release_id)
    assert recorded.edition_id == made.edition_id
    assert verify_release(traced.root / "Ada", traced.owner.public_keys).signed


def test_a_recipient_gets_a_second_edition_only_when_that_is_meant(traced: Traced) -> None:
    first = make(traced, "Ada")
    with pytest.raises(SettingsError, match=rf"Ada has an edition .*{first.edition_id}"):
        make(traced, "Ada", "ada2")
    second = make(traced, "Ada", "ada2", another=True)
    assert second.edition_id != first.edition_id and second.editions == 2


def test_nothing_is_written_over_something_else(traced: Traced) -> None:
    (traced.root / "Ada").mkdir()
    (traced.root / "Ada" / "note.txt").write_text("mine")
    with pytest.raises(ReleaseError, match=r"Ada: already exists"):
        make(traced, "Ada")
    make(traced, "Ben")
    with pytest.raises(ResumeMismatchError, match="recipient was 'Ben', is 'Cem'"):
        make(traced, "Cem", "Ben")


@pytest.mark.parametrize(("out", "words"), [("rel/x", "lies in"), ("rel.owner/x", "lies in"), ("rel", "lies in")])
def test_an_edition_lies_outside_of_its_release(traced: Traced, out: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        make(traced, "Ada", out)


def test_an_edition_of_an_edition_is_refused(traced: Traced) -> None:
    make(traced, "Ada")
    request = EditionRequest(traced.root / "b", traced.root / "b.owner", traced.recipient("Ben"))
    with pytest.raises(SettingsError, match=r"Ada: is an edition itself"):
        make_edition(opened(traced, "Ada"), request, traced.ledger, SilentProgress())


def test_where_the_release_is_damaged_the_originals_serve(traced: Traced) -> None:
    image = traced.copy.vault.images[4]
    (traced.root / "rel" / image.file).unlink()
    with pytest.raises(ReleaseError, match=rf"{image.id}: its original cannot be restored"):
        make(traced, "Ada")
    from PIL import Image

    folder = traced.root / "originals"
    (folder / image.file).parent.mkdir(parents=True)
    wrong, right = traced.originals[image.id][::-1], traced.originals[image.id]
    Image.fromarray(wrong).save((folder / image.file).with_suffix(".bmp"))
    with pytest.raises(ReleaseError, match="cannot be restored"):
        make(traced, "Ada", originals=folder)
    Image.fromarray(right).save((folder / image.file).with_suffix(".tif"))
    make(traced, "Ada", originals=folder)
    assert verify_release(traced.root / "Ada").ok


def test_a_faulty_ledger_stops_it_before_anything_is_given_its_name(traced: Traced) -> None:
    lines = traced.ledger.path.read_bytes()
    traced.ledger.path.write_bytes(lines.replace(b"Dr Owner", b"Dr Other"))
    with pytest.raises(LedgerError):
        make(traced, "Ada")
    assert not (traced.root / "Ada" / MANIFEST_NAME).exists()


def test_images_with_one_placement_are_counted(tmp_path: Path) -> None:
    traced = make_traced(tmp_path, 8, silent=3)
    made = make(traced, "Ada")
    assert (made.capacity.silent, made.capacity.placements) == (3, {1: 3, len(PLACES): 5})
    assert made.capacity.images_needed[3] is None


def test_the_event_is_what_the_ledger_keeps(traced: Traced) -> None:
    make(traced, "Ada")
    details = traced.ledger.events()[-1].details
    assert isinstance(details, EditionMade)
    assert json.loads(traced.ledger.path.read_text().splitlines()[-1])["event"]["actor"] == "Dr Owner"
