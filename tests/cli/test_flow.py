"""The verbs in the order in which an owner and a recipient use them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image
from secret_scan import find_secrets

from medlocker.imageio import read_image
from medlocker.keys import load_identity, read_vault, vault_key

FAST = ("--population", 6, "--generations", 1, "--batch-size", 16)


def lock(shell, *options, out="out", targets="other", code=0):
    shell("identity", "new", "--out", "owner.txt") if not Path("owner.txt").exists() else None
    words = ["protect", "--data", "data", "--out", out, "--owner", "owner.txt", "--sources", "net", *FAST, *options]
    return shell.json(*words, *(["--targets", targets] if targets else []), code=code)


def test_an_owner_locks_and_a_recipient_unlocks(shell):
    locked = lock(shell)
    assert (locked["images"], locked["unlock"]) == (6, {"restored": 6, "tried": 6})
    public = shell("identity", "new", "--out", "me.txt").stdout.strip()
    issued = shell.json(
        "key", "issue", "out", "--owner", "owner.txt", "--to", "Ada", "--recipient", public, "--out", "ada.key"
    )
    assert (issued["images"], issued["release_id"]) == (6, locked["release_id"])
    shell("verify", "out")
    assert (
        "6 of 6 images restored bit for bit"
        in shell("unlock", "out", "--key", "ada.key", "--identity", "me.txt", "--out", "originals").stdout
    )
    for path in Path("data").glob("*.png"):
        assert (read_image(path).pixels == read_image(Path("originals") / path.name).pixels).all()
        assert (read_image(path).pixels != read_image(Path("out") / path.name).pixels).any()


@pytest.mark.parametrize("named", ["here", "by variable", "not at all"])
def test_every_owners_verb_finds_the_owner_in_the_same_places(shell, monkeypatch, named):
    if named == "by variable":
        shell("identity", "new", "--out", "kept.txt")
        monkeypatch.setenv("MEDLOCKER_OWNER", "kept.txt")
    elif named == "here":
        shell("identity", "new", "--out", "owner.txt")
    protect = ("protect", "--data", "data", "--out", "out", "--sources", "net", *FAST)
    if named == "not at all":
        said = shell(*protect, code=1)
        assert "MEDLOCKER_OWNER" in said.output
        assert "medlocker identity new --owner" in said.output
        return
    shell(*protect)
    shell("transfer", "out", "--targets", "third")
    shell("report", "out")


def test_the_owner_unlocks_with_the_vault(shell):
    lock(shell)
    assert "6 of 6" in shell("unlock", "out", "--identity", "owner.txt", "--out", "originals").stdout


def test_transfer_and_report_need_only_the_release_and_the_owner(shell):
    locked = lock(shell, "--baselines", "random_single,random_best,box")
    measured = shell.json("transfer", "out", "--targets", "third", "--owner", "owner.txt")
    assert {n["name"] for n in measured["networks"]} == {"net", "third"}
    assert {r["method"] for r in measured["attack_success"]} == {"searched", "random_single", "random_best", "box"}
    again = [r for r in measured["attack_success"] if r["network"] == "net" and r["basis"] == "per_model"]
    before = [r for r in locked["attack_success"] if r["network"] == "net" and r["basis"] == "per_model"]
    assert again == before
    report = Path(shell.json("report", "out", "--owner", "owner.txt")["report"])
    assert "<html" in report.read_text()


def test_originals_that_moved_are_named_again(shell):
    lock(shell)
    shutil.move("data", "elsewhere")
    assert "no such file" in shell("transfer", "out", "--owner", "owner.txt", code=1).stderr.lower()
    assert shell.json("transfer", "out", "--owner", "owner.txt", "--data", "elsewhere")["images"] == 6


def test_an_unlabelled_folder_leaves_the_class_the_sources_see(shell):
    Path("data/labels.csv").unlink()
    locked = lock(shell, targets="")
    assert locked["metrics"]["images/clean_misread"] == 0


def test_only_correct_keeps_what_every_network_reads(shell):
    rows = Path("data/labels.csv").read_text().replace("0.png,0", "0.png,1")
    Path("data/labels.csv").write_text(rows)
    assert lock(shell, "--only-correct")["images"] == 5
    assert lock(shell, "--only-correct", "--per-class", 1, out="two")["images"] == 2


def test_a_finished_release_is_not_done_again(shell):
    first = lock(shell)
    marked = Path("out/0.png").read_bytes()
    second = lock(shell)
    assert (first["resumed"], second["resumed"]) == (0, 6)
    assert second["release_id"] == first["release_id"]
    assert Path("out/0.png").read_bytes() == marked


def test_one_run_a_command_and_each_says_how_it_ended(shell):
    lock(shell)
    shell("protect", "--data", "nowhere", "--out", "new", "--owner", "owner.txt", "--sources", "net", code=1)
    client = MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("medlocker").experiment_id])
    assert sorted(r.info.status for r in runs) == ["FAILED", "FINISHED"]
    failed = next(r for r in runs if r.info.status == "FAILED")
    assert "nowhere" in failed.data.tags["medlocker.error"]


def test_the_run_holds_settings_metrics_data_and_files(shell):
    locked = lock(shell)
    run = mlflow.get_run(locked["run_id"])
    assert run.data.params["cfg/search.population"] == "6"
    assert run.data.metrics["unlock/restored"] == 6
    assert {"asr/source/net", "asr/source/net/lo", "asr/transfer/other", "asr/baseline/box/other"} <= set(
        run.data.metrics
    )
    assert run.data.metrics["asr/source/net"] == pytest.approx(locked["metrics"]["asr/source/net"])
    assert run.inputs.dataset_inputs[0].dataset.digest
    assert run.data.tags["mlflow.note.content"].startswith("**6 images of data locked.**")
    assert {"visible/ssim_mean", "visible/ssim_mean/lo", "visible/mark_area", "visible/ssim_mark"} <= set(
        run.data.metrics
    )
    assert "Visible cost: the mark lies on" in run.data.tags["mlflow.note.content"]
    table = json.loads(Path(MlflowClient().download_artifacts(run.info.run_id, "tables/images.json")).read_text())
    assert {"ssim", "mark_area", "lesion_covered"} <= set(table["columns"])
    live = MlflowClient().get_metric_history(run.info.run_id, "progress/images")
    assert (live[0].step, live[-1].step, live[-1].value) == (1, 6, 6)
    steps = MlflowClient().get_metric_history(run.info.run_id, "search/confidence_mean")
    assert [m.step for m in steps] == [0, 1]
    files = {f.path for f in MlflowClient().list_artifacts(run.info.run_id)}
    assert {"release", "vault"} <= files


def test_a_stripped_packet_is_lossy_only_on_request(shell):
    lock(shell)
    image = read_image(Path("out/2.png"))
    Image.fromarray(image.pixels).save("out/2.png")
    failed = shell("unlock", "out", "--identity", "owner.txt", "--out", "originals", code=1)
    assert "2.png" in failed.stderr
    assert "5 of 6" in failed.stdout
    lossy = shell("unlock", "out", "--identity", "owner.txt", "--out", "originals", "--lossy")
    assert "PSNR" in lossy.stderr or "6 of 6" in lossy.stdout
    difference = read_image(Path("originals/2.png")).pixels.astype(int) - read_image(Path("data/2.png")).pixels
    assert np.abs(difference).max() < 255
    shell("verify", "out", code=1)


def test_nothing_the_tracking_store_or_the_release_holds_is_secret(shell):
    """Neither the release secret, nor a packet key, nor the identity, nor a placement is written in the clear."""
    lock(shell, "--baselines", "random_single,random_best,box")
    owner = load_identity(Path("owner.txt"))
    vault = read_vault(Path("out.owner/vault.age"), owner)
    key = vault_key(vault)
    needles = [vault.secret, *(i.packet_key for i in key.images), Path("owner.txt").read_bytes().split()[-1]]
    needles += [f'"alpha":{i.alpha},"x":{i.x},"y":{i.y}'.encode() for i in vault.images]
    leaks = [line for line in find_secrets(Path(), needles) if not line.startswith("owner.txt:")]
    assert leaks == []
    for table in Path().rglob("*.json"):
        assert not {'"alpha"', '"x"', '"y"', '"original_sha256"'} & set(table.read_text().replace(":", " ").split())


def test_the_scan_would_find_a_vault_in_the_clear(shell):
    lock(shell)
    vault = read_vault(Path("out.owner/vault.age"), load_identity(Path("owner.txt")))
    Path("leak.json").write_text(vault.model_dump_json())
    assert find_secrets(Path(), [vault.secret])
    assert find_secrets(Path(), [f'"alpha":{i.alpha},"x":{i.x},"y":{i.y}'.encode() for i in vault.images])
