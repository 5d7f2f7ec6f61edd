"""The registry as the ledger's mirror, in a real SQLite store: what is shown, and each way in which it can differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from key_case import Case, make_case
from mlflow import MlflowClient
from mlflow_store import Store
from secret_scan import find_secrets

from medlocker.audit import Ledger, ReleaseCreated, verify_ledger
from medlocker.audit.heads import sidecar_path
from medlocker.keys.lifecycle import revoke
from medlocker_mlflow.mirror import mirror_ledger
from medlocker_mlflow.mirror_audit import mirrored_heads, verify_mirror
from medlocker_mlflow.mirror_view import NOTES_SUFFIX, alias_of

MODEL = "medlocker-key." + "ab" * 16


class Mirror(NamedTuple):
    """A ledger of four key versions (Ada 1 superseded, Ada 2, Ben 1 revoked, Cy 1 of two images) and its mirror."""

    case: Case
    store: Store
    run_id: str

    @property
    def client(self) -> MlflowClient:
        return self.store.client

    @property
    def path(self) -> Path:
        return self.case.ledger.path

    def update(self):
        return mirror_ledger(self.path, self.case.owner.public_keys, self.store.uri)

    def differences(self) -> set[tuple[str, int | None]]:
        found = verify_mirror(self.path, self.case.owner.public_keys, self.store.uri)
        return {(one.kind, one.version) for one in found}

    def version(self, number: int):
        return self.client.get_model_version(MODEL, str(number))

    def mirror_run(self) -> str:
        return str(self.version(1).run_id)


@pytest.fixture
def mirror(store: Store, tmp_path: Path) -> Mirror:
    experiment = store.client.create_experiment("medlocker")
    run = store.client.create_run(experiment, tags={"mlflow.note.content": "**4 images locked.**"})
    case = make_case(tmp_path, run_id=run.info.run_id)
    case.issue("Ada")
    case.reissue("Ada", out="ada2.key")
    case.issue("Ben", "ben.key")
    revoke(case.copy, case.ledger, "Ben", "left")
    case.issue("Cy", "cy.key", images={"a", "b"})
    made = Mirror(case, store, run.info.run_id)
    assert made.update().made == 4
    return made


def test_each_key_version_is_a_model_version_with_its_facts(mirror: Mirror) -> None:
    shown = {int(one.version): one.tags for one in mirror.client.search_model_versions(f"name='{MODEL}'")}
    facts = [(shown[n]["medlocker.key.recipient"], shown[n]["medlocker.key.version"], shown[n]["medlocker.key.state"])
             for n in sorted(shown)]  # fmt: skip
    assert facts == [("Ada", "1", "superseded"), ("Ada", "2", "active"), ("Ben", "1", "revoked"), ("Cy", "1", "active")]
    events = [one for one in mirror.case.ledger.events() if one.details.kind in ("key.issued", "key.reissued")]
    for number, event in enumerate(events, 1):
        assert shown[number]["medlocker.key.sequence"] == str(event.sequence)
        assert shown[number]["medlocker.key.fingerprint"] == event.details.key_sha256
        assert json.loads(mirror.store.read(mirror.mirror_run(), f"keys/{event.sequence}.json"))["actor"] == "Dr Owner"
    aliases = {name: int(number) for name, number in mirror.client.get_registered_model(MODEL).aliases.items()}
    assert aliases == {alias_of("Ada"): 2, alias_of("Cy"): 4}
    assert mirror.differences() == set()


def test_the_page_of_the_releases_run_shows_what_was_issued(mirror: Mirror) -> None:
    tags = mirror.client.get_run(mirror.run_id).data.tags
    assert (tags["medlocker.keys_issued"], tags["medlocker.keys_active"]) == ("4", "2")
    assert tags["medlocker.key_model"] == MODEL
    note = tags["mlflow.note.content"]
    assert note.startswith("**4 images locked.**\n\n#### Keys issued") and "- Ben, version 1: revoked" in note
    rows = json.loads(mirror.store.read(mirror.run_id, "keys/issued.json"))
    assert [(row["recipient"], row["images"]) for row in rows] == [("Ada", 4), ("Ada", 4), ("Ben", 4), ("Cy", 2)]


def test_an_update_makes_nothing_twice_and_follows_the_ledger(mirror: Mirror) -> None:
    assert mirror.update() == (0, ())
    revoke(mirror.case.copy, mirror.case.ledger, "Cy", "study over")
    assert mirror.differences() == {("altered", 4), ("altered", None)}
    assert mirror.update() == (0, ())
    assert mirror.differences() == set()
    assert alias_of("Cy") not in mirror.client.get_registered_model(MODEL).aliases
    note = mirror.client.get_run(mirror.run_id).data.tags["mlflow.note.content"]
    assert note.count("#### Keys issued") == 1 and "- Cy, version 1: revoked" in note


# What somebody with access to the store does, and what the audit then says.


def alter_tag(m: Mirror) -> None:
    m.client.set_model_version_tag(MODEL, "3", "medlocker.key.state", "active")


def alter_recipient(m: Mirror) -> None:
    m.client.set_model_version_tag(MODEL, "2", "medlocker.key.recipient", "Eve")


def alter_sequence(m: Mirror) -> None:
    m.client.set_model_version_tag(MODEL, "2", "medlocker.key.sequence", "99")


def delete_tag(m: Mirror) -> None:
    m.client.delete_model_version_tag(MODEL, "1", "medlocker.key.fingerprint")


def alter_description(m: Mirror) -> None:
    m.client.update_model_version(MODEL, "1", "Key version 1 of Eve.")


def alter_artifact(m: Mirror) -> None:
    m.client.log_text(m.mirror_run(), "{}", f"keys/{m.version(1).tags['medlocker.key.sequence']}.json")


def move_alias(m: Mirror) -> None:
    m.client.set_registered_model_alias(MODEL, alias_of("Ada"), "1")


def alias_of_a_revoked_key(m: Mirror) -> None:
    m.client.set_registered_model_alias(MODEL, alias_of("Ben"), "3")


def delete_version(m: Mirror) -> None:
    m.client.delete_model_version(MODEL, "3")


def delete_latest_version(m: Mirror) -> None:
    m.client.delete_model_version(MODEL, "4")


def delete_model(m: Mirror) -> None:
    m.client.delete_registered_model(MODEL)


def recreate_model(m: Mirror) -> None:
    copies = [m.version(number) for number in range(1, 5)]
    m.client.delete_registered_model(MODEL)
    m.client.create_registered_model(MODEL)
    for one in copies:
        m.client.create_model_version(MODEL, one.source, one.run_id, one.tags, description=one.description)
    for name, number in ((alias_of("Ada"), "2"), (alias_of("Cy"), "4")):
        m.client.set_registered_model_alias(MODEL, name, number)


def recreate_without_tags(m: Mirror) -> None:
    delete_latest_version(m)
    m.client.delete_registered_model(MODEL)
    m.client.create_registered_model(MODEL)
    m.client.create_model_version(MODEL, f"runs:/{m.run_id}/x", m.run_id)


def add_version(m: Mirror) -> None:
    m.client.create_model_version(MODEL, f"runs:/{m.run_id}/x", m.run_id)


def add_impostor(m: Mirror) -> None:
    one = m.version(2)
    m.client.create_model_version(MODEL, one.source, one.run_id, one.tags, description=one.description)


def new_event(m: Mirror) -> None:
    m.case.issue("Dee", "dee.key")


def lost_notes(m: Mirror) -> None:
    m.path.with_name(m.path.name + NOTES_SUFFIX).unlink()


def lost_notes_and_a_version(m: Mirror) -> None:
    lost_notes(m)
    m.client.delete_model_version(MODEL, "3")


ALL = range(1, 5)
IN_PLACE = [
    (alter_tag, {("altered", 3)}),
    (alter_recipient, {("altered", 2)}),
    (alter_sequence, {("altered", 2)}),
    (delete_tag, {("altered", 1)}),
    (alter_description, {("altered", 1)}),
    (alter_artifact, {("altered", 1)}),
    (move_alias, {("altered", None)}),
    (alias_of_a_revoked_key, {("altered", None)}),
    (lost_notes, set()),
]
TABLE = [
    (delete_version, {("deleted", 3)}),
    (delete_latest_version, {("deleted", 4)}),
    (delete_model, {("deleted", n) for n in ALL}),
    (recreate_model, {("recreated", n) for n in ALL}),
    (recreate_without_tags, {("recreated", 1), ("altered", 1), *(("deleted", n) for n in (2, 3, 4))}),
    (add_version, {("extra", 5)}),
    (add_impostor, {("extra", 5)}),
    (new_event, {("missing", None)}),
    (lost_notes_and_a_version, {("missing", None)}),
]


def test_what_is_altered_in_place_is_named_and_put_right(mirror: Mirror) -> None:
    for scenario, expected in IN_PLACE:
        scenario(mirror)
        assert mirror.differences() == expected, scenario.__name__
        mirror.update()
        assert mirror.differences() == set(), scenario.__name__


@pytest.mark.parametrize(("scenario", "expected"), TABLE, ids=[row[0].__name__ for row in TABLE])
def test_every_difference_is_named_and_put_right(mirror: Mirror, scenario, expected) -> None:
    scenario(mirror)
    assert mirror.differences() == expected
    mirror.update()
    # What nobody's event made is for a person to delete.
    assert {kind for kind, _ in mirror.differences()} <= {"extra"}


def test_an_update_tells_what_it_put_right(mirror: Mirror) -> None:
    alter_recipient(mirror)
    delete_version(mirror)
    assert [(one.kind, one.version) for one in mirror.update().mended] == [("altered", 2), ("deleted", 3)]


# Signed heads.


def heads(m: Mirror):
    return mirrored_heads(m.path, m.case.owner.public_keys, m.store.uri)


def verified(m: Mirror) -> set[str]:
    report = verify_ledger(m.path, m.case.owner.public_keys, heads(m).heads)
    return {one.kind for one in report.faults}


def test_signed_heads_lie_in_mlflow_and_serve_as_receipts(mirror: Mirror) -> None:
    size = len(mirror.case.ledger.events())
    assert {one.head.size for one in heads(mirror).heads} == {size} and verified(mirror) == set()
    mirror.case.issue("Dee", "dee.key")
    mirror.update()
    assert {one.head.size for one in heads(mirror).heads} == {size, size + 1}
    assert verified(mirror) == set()


def test_a_truncated_ledger_is_exposed_by_mlflow(mirror: Mirror) -> None:
    mirror.path.write_bytes(b"".join(mirror.path.read_bytes().splitlines(keepends=True)[:-1]))
    sidecar_path(mirror.path).unlink()
    assert verify_ledger(mirror.path, mirror.case.owner.public_keys).ok
    assert verified(mirror) == {"truncated"}


def test_a_replaced_ledger_is_exposed_by_mlflow(mirror: Mirror) -> None:
    first = mirror.case.ledger.events()[0]
    assert isinstance(first.details, ReleaseCreated)
    mirror.path.unlink()
    sidecar_path(mirror.path).unlink()
    Ledger(mirror.path, mirror.case.owner.signing).append(first.details, actor="Dr Owner")
    assert verify_ledger(mirror.path, mirror.case.owner.public_keys).ok
    assert verified(mirror) == {"foreign_receipt"}


def test_a_head_that_was_tampered_with_is_a_difference_and_no_receipt(mirror: Mirror) -> None:
    (head,) = heads(mirror).heads
    forged = head.model_copy(update={"head": head.head.model_copy(update={"size": 99})})
    for content in ("junk", forged.model_dump_json()):
        mirror.client.log_text(mirror.mirror_run(), content, f"heads/{head.head.size:09d}.json")
        found = heads(mirror)
        assert [one.kind for one in found.divergences] == ["altered"] and found.heads == (head,)
    assert verified(mirror) == set()


def test_two_ledgers_in_one_store_do_not_disturb_each_other(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = make_case(tmp_path / "second", seed=1, release_id="cd" * 16)
    second.issue("Ada")
    assert mirror_ledger(second.ledger.path, second.owner.public_keys, mirror.store.uri).made == 1
    assert mirror.differences() == set() and verified(mirror) == set()
    assert not verify_mirror(second.ledger.path, second.owner.public_keys, mirror.store.uri)


def test_nothing_secret_is_mirrored(mirror: Mirror) -> None:
    vault = mirror.case.copy.vault
    needles = [vault.secret, mirror.case.owner.identity.secret.encode()]
    needles += [image.packet_key for image in mirror.case.example.key.images]
    assert find_secrets(mirror.store.folder, needles) == []
