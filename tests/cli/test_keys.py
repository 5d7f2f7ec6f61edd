"""The life of keys on the command line, as an owner and recipients use it."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
from key_case import Case, make_case
from mlflow import MlflowClient

from medlocker.keys import load_identity
from medlocker.keys.release_signature import sign_release


@pytest.fixture
def owned(shell, tmp_path, monkeypatch) -> Case:
    """A recorded release in ./release of the owner ./owner.txt; Ada is registered and holds version 1."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # Nothing is mirrored, which saves seconds.
    case = make_case(tmp_path)
    sign_release(case.copy.folder, case.owner)
    for name in ("Ada", "Ben"):
        shell("recipient", "add", name, "--key", case.recipient(name).key, "--organisation", "Ward 4")
    shell("key", "issue", "release", "--to", "Ada", "--out", "ada.key")
    return case


def unlock(shell, key="ada.key", identity="Ada.txt", *more, code=0, out="o"):
    return shell("unlock", "release", "--key", key, "--identity", identity, "--out", out, *more, code=code)


def test_recipients_are_listed_with_what_was_registered(shell, owned):
    listed = shell.json("recipient", "list")["recipients"]
    assert [(one["name"], one["organisation"]) for one in listed] == [("Ada", "Ward 4"), ("Ben", "Ward 4")]
    assert "2 registered." in shell("recipient", "list").stdout
    for words, said in (
        (["add", "Ada", "--key", owned.recipient("Ada").key], "registered already"),
        (["add", "Eve", "--key", "AGE-SECRET-KEY-1ABC"], "a secret key is not a public key"),
        (["add", "Eve", "--key", "age1nonsense"], "not a public key"),
        (["add", "Eve\x1b[1m", "--key", owned.recipient("Ada").key], "printable"),
    ):
        assert said in shell("recipient", *words, code=1).stderr
    assert "one of the two" in shell("recipient", "add", "Eve", code=2).stderr


def test_issue_reissue_revoke_list_and_unlock(shell, owned):
    assert "4 of 4" in unlock(shell, "ada.key", "Ada.txt", "--owner-key", "owner.txt.signing.pub").stdout
    assert "use medlocker key reissue" in shell("key", "issue", "release", "--to", "Ada", "--out", "x", code=2).stderr
    again = shell("key", "reissue", "release", "--to", "Ada", "--out", "ada2.key", "--reason", "lost", "--revoke")
    assert "cannot be recalled" in again.stderr and "rerelease" in again.stderr
    assert "revoked version 1" in unlock(shell, code=1).stderr
    unlock(shell, "ada2.key")
    listed = shell.json("key", "list", "release")["keys"]
    assert [(one["key_version"], one["state"]) for one in listed] == [(1, "revoked"), (2, "active")]
    assert "1 of 2 keys are active." in shell("audit", "who", "release").stdout
    revoked = shell("key", "revoke", "release", "--to", "Ada", "--reason", "left")
    assert "version 2 revoked" in revoked.stdout and "cannot be recalled" in revoked.stderr
    assert "nothing new" in shell("key", "revoke", "release", "--to", "Ada", "--reason", "left").stdout
    assert "revoked version 2" in unlock(shell, "ada2.key", code=1).stderr


def test_a_key_for_some_images(shell, owned):
    shell("key", "issue", "release", "--to", "Ben", "--out", "ben.key", "--images", "a,grey*")
    assert "2 of 2" in unlock(shell, "ben.key", "Ben.txt").stdout
    assert sorted(p.name for p in Path("o").iterdir()) == ["a.png", "grey16.png"]
    who = shell.json("audit", "who", "release", "--image", "scan")["holdings"]
    assert [one["recipient"] for one in who] == ["Ada"]
    shown = shell("key", "show", "release", "--key", "ben.key", "--identity", "Ben.txt").stdout
    assert "scope: subset" in shown and "expires at: never" in shown and "None" not in shown


def test_an_expired_key_is_refused(shell, owned, monkeypatch):
    shell("key", "issue", "release", "--to", "Ben", "--out", "ben.key", "--expires", "1h")
    unlock(shell, "ben.key", "Ben.txt")
    assert (
        "lies in the past"
        in shell(
            "key",
            "reissue",
            "release",
            "--to",
            "Ben",
            "--out",
            "b2.key",
            "--reason",
            "x",
            "--expires",
            "2020-01-01",
            code=2,
        ).stderr
    )

    from datetime import datetime, timedelta

    from medlocker.keys import revocations

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=2)

    monkeypatch.setattr(revocations, "datetime", Later)
    assert "the key expired on" in unlock(shell, "ben.key", "Ben.txt", code=1).stderr


def test_a_list_handed_on_by_path_counts_and_a_fresh_one_may_be_required(shell, owned):
    shutil.copytree("release", "their-copy")
    required = ["--key", "ada.key", "--identity", "Ada.txt", "--out", "o", "--require-fresh"]
    assert "no list of revoked keys" in shell("unlock", "their-copy", *required, code=1).stderr
    shell("key", "renew", "release", "--out", "list.json")
    shell("unlock", "their-copy", *required, "--revocations", "list.json")
    shell("key", "revoke", "release", "--to", "Ada", "--reason", "left", "--out", "list2.json")
    refused = shell("unlock", "their-copy", *required, "--revocations", "list2.json", code=1)
    assert "revoked version 1" in refused.stderr


def test_after_a_rotation_old_and_new_keys_open(shell, owned):
    shutil.copy("owner.txt.signing.pub", "before.pub")
    shell("key", "renew", "release")
    assert len(shell.json("identity", "rotate", "--owner", "owner.txt")["signing_keys"]) == 2
    shell("key", "issue", "release", "--to", "Ben", "--out", "ben.key")
    # Signed by the new key, while the release still bears the former key's signature.
    assert "before the owner changed keys" in unlock(shell, "ben.key", "Ben.txt", code=1).stderr
    unlock(shell, "ben.key", "Ben.txt", "--owner-key", "owner.txt.signing.pub")
    assert shell.json("key", "renew", "release")["signed_again"] is True
    assert shell.json("key", "renew", "release")["signed_again"] is False
    for key, name in (("ada.key", "Ada"), ("ben.key", "Ben")):
        unlock(shell, key, f"{name}.txt")
        unlock(shell, key, f"{name}.txt", "--owner-key", "owner.txt.signing.pub", "--require-fresh")
        refused = unlock(shell, key, f"{name}.txt", "--owner-key", "before.pub", code=1).stderr
        assert ("if the owner changed keys" if name == "Ada" else "ask the owner") in refused
    shell("verify", "release", "--owner-key", "owner.txt.signing.pub")
    shell("audit", "verify", "release", "--owner-key", "owner.txt.signing.pub", "--receipt", "ada.key.receipt.json")


def test_an_altered_manifest_is_not_signed_again(shell, owned):
    shell("key", "renew", "release")
    path = Path("release/release.json")
    path.write_text(path.read_text().replace('"dataset":"example"', '"dataset":"another"'))
    shell("identity", "rotate", "--owner", "owner.txt")
    assert "not the manifest that its owner signed" in shell("key", "renew", "release", code=1).stderr


def test_the_owners_own_unlocking_is_recorded_by_whoever_the_vault_is_sealed_to(shell, owned):
    """A bug once: ./owner.txt signed the event although the owner's folder holds another identity."""
    from medlocker.keys.owner import public_file, signing_file

    for source in (Path("owner.txt"), signing_file(Path("owner.txt")), public_file(Path("owner.txt"))):
        shutil.move(source, Path("release.owner") / source.name.replace("owner.txt", "identity.txt"))
    shell("identity", "new", "--owner", "--out", "owner.txt")
    assert "4 of 4" in shell("unlock", "release", "--out", "o").stdout
    event = shell.json("audit", "log", "release", "--kind", "key.used")["events"][-1]
    assert event["details"]["restored"] == 4 and event["details"]["recipient"] == "owner"
    key = "release.owner/identity.txt.signing.pub"
    shell("audit", "verify", "release", "--owner-key", key)


def test_an_unlocking_that_cannot_be_recorded_does_not_begin(shell, owned):
    Path("owner.txt.signing.pem").unlink()
    assert "signing.pem" in shell("unlock", "release", "--identity", "owner.txt", "--out", "o", code=1).stderr
    assert not Path("o").exists()


def test_the_papers_form_is_written_only_on_request_and_for_its_owner_alone(shell, owned):
    words = ["key", "export", "release", "--paper-form", "--identity", "owner.txt", "--out", "form.json"]
    assert "in the clear" in shell(*words, code=2).stderr and not Path("form.json").exists()
    assert "Warning: form.json holds the parameters of 4 images" in shell(*words, "--plaintext").stderr
    assert stat.S_IMODE(Path("form.json").stat().st_mode) == 0o600
    assert "already exists" in shell(*words, "--plaintext", code=2).stderr


def test_keys_appear_in_mlflow_and_differences_make_verify_fail(shell, owned):
    client = MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db")
    shell(
        "key",
        "reissue",
        "release",
        "--to",
        "Ada",
        "--out",
        "ada2.key",
        "--reason",
        "x",
        "--mlflow",
        client.tracking_uri,
    )
    (model,) = client.search_registered_models()
    verify = ["audit", "verify", "release", "--owner-key", "owner.txt.signing.pub", "--mlflow", client.tracking_uri]
    assert "1 signed heads found there; 0 differences" in shell(*verify).stdout
    client.set_model_version_tag(model.name, "1", "medlocker.key.recipient", "Eve")
    told = shell(*verify, code=1)
    assert "/1: altered: Ada, key version 1: medlocker.key.recipient is 'Eve'" in told.stderr
    issued = shell("key", "issue", "release", "--to", "Ben", "--out", "ben.key", "--mlflow", client.tracking_uri)
    assert "Warning: MLflow's registry had been changed, and was put right" in issued.stderr
    assert shell.json(*verify)["mlflow"] == []
    path = Path("release.owner/ledger.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"Ben"', b'"Eve"'))
    told = shell(*verify, code=1)
    assert "key versions not compared, the ledger is at fault" in told.stdout


def test_a_store_that_cannot_be_reached_is_told_of_and_is_no_failure(shell, owned, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/at/all.db")
    issued = shell("key", "issue", "release", "--to", "Ben", "--out", "ben.key")
    assert "is recorded, but MLflow does not show it" in issued.stderr
    assert load_identity(Path("Ben.txt")) and Path("ben.key").exists()


def test_protected_identities_work_everywhere(shell, owned, monkeypatch):
    monkeypatch.setenv("MEDLOCKER_PASSPHRASE", "correct horse")
    shell("identity", "new", "--out", "cy.txt", "--passphrase")
    public = shell("identity", "show", "cy.txt").stdout.strip()
    shell("key", "issue", "release", "--to", "Cy", "--recipient", public, "--out", "cy.key")
    unlock(shell, "cy.key", "cy.txt")
    monkeypatch.setenv("MEDLOCKER_PASSPHRASE", "battery")
    assert "passphrase is wrong" in unlock(shell, "cy.key", "cy.txt", code=1).stderr
    monkeypatch.delenv("MEDLOCKER_PASSPHRASE")
    assert "is protected by a passphrase" in unlock(shell, "cy.key", "cy.txt", code=1).stderr
