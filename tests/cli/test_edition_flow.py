"""Editions, traces and re-releases on the command line, as an owner uses them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from traced_release import make_traced

from medlocker.audit import read_events
from medlocker.imageio import read_image
from medlocker.keys import new_identity
from medlocker.tracing import attacks


@pytest.fixture
def owned(shell):
    """A traced release `rel`, its owner `owner.txt`, two registered recipients."""
    traced = make_traced(Path().resolve(), 16)
    for name in ("Ada", "Ben"):
        key = new_identity(Path(f"{name}.txt")).public_key
        shell("recipient", "add", name, "--key", key, "--owner", "owner.txt")
    return traced


def make(shell, name, *more, code=0):
    words = ["edition", "make", "rel", "--owner", "owner.txt", "--to", name, "--out", f"for-{name}"]
    return shell(*words, *more, code=code)


def test_an_edition_from_its_making_to_its_leak(shell, owned):
    make(shell, "Ada"), make(shell, "Ben")
    listed = shell.json("edition", "list", "rel")
    assert [one["recipient"] for one in listed["editions"]] == ["Ada", "Ben"]
    shell("key", "issue", "for-Ada", "--owner", "owner.txt", "--to", "Ada", "--out", "ada.key")
    assert "1 active key" in shell("edition", "list", "rel").stdout
    shell("unlock", "for-Ada", "--key", "ada.key", "--identity", "Ada.txt", "--out", "originals")
    for image in owned.copy.vault.images:
        assert (read_image(Path("originals") / image.file).pixels == owned.originals[image.id]).all()
    assert "16 of 16" in shell("verify", "for-Ada", "--owner-key", "owner.txt.signing.pub").stdout
    assert "16 of 16" in shell("unlock", "for-Ben", "--identity", "owner.txt", "--out", "o2").stdout

    Path("leak").mkdir()
    for number, image in enumerate(owned.copy.vault.images):
        pixels = attacks.jpeg(read_image(Path("for-Ben") / image.file).pixels, 75)
        Image.fromarray(pixels).save(f"leak/IMG_{number}.jpg", quality=95)
    told = shell("trace", "leak", "--release", "rel", "--owner", "owner.txt")
    assert told.stdout.startswith("Ben: their edition")
    assert "names a copy, not a person" in told.stdout and "16 were recognised without their names" in told.stdout
    facts = shell.json("trace", "leak", "--release", "rel", "--owner", "owner.txt")
    assert (facts["accused"], facts["exit_code"]) == (["Ben"], 0)
    kinds = [event.details.kind for event in read_events(owned.ledger.path, owned.owner.public_keys)]
    assert kinds.count("edition.made") == 2 and kinds.count("trace.reported") == 2


def test_traces_and_editions_are_runs_of_their_own(shell, owned):
    import mlflow
    from mlflow import MlflowClient

    make(shell, "Ada")
    shell("trace", "for-Ada", "--release", "rel", "--owner", "owner.txt")
    shell("rerelease", "rel", "--owner", "owner.txt", "--out", "new", "--reason", "lost")
    client = MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("medlocker").experiment_id])
    by_verb = {run.data.tags["medlocker.verb"]: run for run in runs if run.data.tags["medlocker.verb"] != "mirror"}
    assert set(by_verb) == {"edition", "trace", "rerelease"}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert by_verb["trace"].data.metrics["trace/accused"] == 1
    recorded = {e.run_id for e in read_events(owned.ledger.path) if e.run_id}
    assert recorded == {run.info.run_id for run in by_verb.values()}
    assert mlflow.active_run() is None


def test_exit_codes_of_a_trace(shell, owned):
    make(shell, "Ada")
    one = owned.copy.vault.images[0].file
    assert (
        "Nobody is named" in shell("trace", f"for-Ada/{one}", "--release", "rel", "--owner", "owner.txt", code=3).stdout
    )
    assert "The release itself was leaked" in shell("trace", "rel", "--release", "rel", "--owner", "owner.txt").stdout
    Path("foreign").mkdir()
    Image.fromarray(np.random.default_rng(5).integers(0, 255, (60, 60, 3), dtype=np.uint8)).save("foreign/x.png")
    assert (
        "no images of the release"
        in shell("trace", "foreign", "--release", "rel", "--owner", "owner.txt", code=1).stdout
    )


def test_a_rerelease_is_the_cure_for_a_lost_key(shell, owned):
    shell("key", "issue", "rel", "--owner", "owner.txt", "--to", "Ada", "--out", "ada.key")
    done = shell("rerelease", "rel", "--owner", "owner.txt", "--out", "new", "--reason", "lost laptop")
    assert "Ada holds a key to the former release" in done.stdout and "put together what neither mark" in done.stderr
    assert (
        "key is for release"
        in shell("unlock", "new", "--key", "ada.key", "--identity", "Ada.txt", "--out", "o", code=1).stderr
    )
    shell("key", "issue", "new", "--owner", "owner.txt", "--to", "Ada", "--out", "ada2.key")
    assert "16 of 16" in shell("unlock", "new", "--key", "ada2.key", "--identity", "Ada.txt", "--out", "o").stdout
    assert "release.replaced" in shell("audit", "log", "rel").stdout
    shell("audit", "verify", "--ledger", "new.owner/ledger.jsonl", "--owner-key", "owner.txt.signing.pub")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("edition make none --owner owner.txt --to Ada --out e", 1, ["none"]),
        ("edition make rel --owner owner.txt --to Eve --out e", 1, ["Eve", "recipient add"]),
        ("edition make rel --owner Ada.txt --to Ada --out e", 1, ["Ada.txt"]),
        ("edition make rel --owner owner.txt --to Ada --out rel/e", 2, ["--out", "lies in rel"]),
        ("edition make rel --owner owner.txt --to Ada --out data", 1, ["data", "already exists"]),
        ("edition make rel --owner owner.txt --out e", 2, ["--to"]),
        ("edition list none", 1, ["none"]),
        ("trace none --release rel --owner owner.txt", 1, ["none", "no such file"]),
        ("trace rel.owner --release rel --owner owner.txt", 1, ["no image to examine"]),
        ("trace rel --release rel --owner owner.txt --epsilon 2", 2, ["--epsilon 2"]),
        ("trace rel --release data --owner owner.txt", 1, ["data", "release.json"]),
        ("trace rel --owner owner.txt", 2, ["--release"]),
        ("rerelease rel --owner owner.txt --out new", 2, ["--reason"]),
        ("rerelease rel --owner owner.txt --out rel/new --reason x", 2, ["lies in rel"]),
        ("rerelease rel --owner owner.txt --out new --reason x --new-owner none.txt", 1, ["none.txt"]),
    ],
)
def test_bad_input_is_named(shell, owned, command, code, words):
    result = shell(*command.split(), code=code)
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr


def test_verify_tells_which_copy_a_folder_is(shell, owned):
    make(shell, "Ada"), make(shell, "Ben")
    against = ["verify", "leak", "--against", "for-Ada"]
    Path("leak").mkdir()
    for number, image in enumerate(owned.copy.vault.images):
        Image.fromarray(read_image(Path("for-Ada") / image.file).pixels).save(f"leak/{number}.png")
    assert "pixel for pixel" in shell(*against).stdout
    for path in Path("leak").iterdir():
        pixels = attacks.jpeg(read_image(path).pixels, 75)
        Image.fromarray(pixels).save(path)
    assert "repeat as the owner" in shell(*against, code=1).stdout
    told = shell(*against, "--owner", "owner.txt").stdout
    assert "altered images of edition" in told and "of Ada" in told and "with probability at most" in told
    assert shell.json(*against, "--owner", "owner.txt")["verdict"] == "lossy"
    shell(*against, "--owner", "owner.txt", "--exact", code=1)
    other = shell("verify", "leak", "--against", "for-Ben", "--owner", "owner.txt", code=1).stdout
    assert "medlocker trace tells whose copy it is" in other
    shell("verify", "rel", "--against", "rel", "--owner", "owner.txt")
    assert "--against" in shell("verify", "rel", "--owner", "owner.txt", code=2).stderr
    assert "--owner" in shell("verify", "leak", "--against", "rel", "--originals", "data", code=2).stderr
