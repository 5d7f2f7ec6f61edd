"""Runs of the fake networks, told apart again from their tracking store."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

FAST = ("--population", 6, "--generations", 1, "--batch-size", 16)


@pytest.fixture
def two_runs(shell):
    """A black mark over the whole image, opaque and unseen: half the images are bright, and turn, or none do."""
    shell("identity", "new", "--out", "owner.txt")
    Image.new("RGB", (12, 12)).save("black.png")
    words = ["protect", "--data", "data", "--owner", "owner.txt", "--sources", "net", "--targets", "other", *FAST]
    words += ["--logo", "black.png", "--logo-scale", 1]
    strong = shell.json(*words, "--out", "strong", "--alpha-range", "250,255")
    faint = shell.json(*words, "--out", "faint", "--alpha-range", "0,0")
    return strong["run_id"], faint["run_id"]


def test_runs_are_listed_compared_and_ranked(shell, two_runs):
    strong, faint = two_runs
    listed = shell.json("runs", "list")
    assert [run["run_id"] for run in listed["runs"]] == [faint, strong]
    assert listed["runs"][0]["settings"]["search.population"] == "6"
    assert strong[:8] in shell("runs", "list", "--limit", 5).stdout

    compared = shell.json("runs", "compare", faint[:8], strong, "--html", "page.html")
    assert compared["settings"] == {"mark.alpha_range": ["0,0", "250,255"]}
    (first, second) = compared["outcomes"]["asr/source/net"]
    assert [(v["value"], v["n"]) for v in (first, second)] == [(0.0, 6), (0.5, 6)]
    assert second["low"] < second["value"] < second["high"]
    tests = {test["network"]: test for test in compared["tests"]}
    assert set(tests) == {"net", "other"}
    assert (tests["net"]["images"], tests["net"]["only_reference"], tests["net"]["only_other"]) == (6, 0, 3)
    assert tests["net"]["mcnemar_p"] == pytest.approx(2 * 0.5**3)
    assert tests["net"]["adjusted_p"] == pytest.approx(2 * tests["net"]["mcnemar_p"])  # Holm over two equal tests
    assert not tests["net"]["significant"]
    page = Path("page.html").read_text()
    assert page.count('src="data:image/jpeg') == 6 * 3  # the original and two marked versions of each image
    assert not re.findall(r'(?:src|href)="(?!data:)', page)

    text = shell("runs", "compare", faint, strong).stdout
    assert "mark.alpha_range" in text
    assert "common images" in text

    ranked = shell.json("runs", "best", "--metric", "asr/transfer/other")
    assert [run["run_id"] for run in ranked["runs"]] == [strong, faint]
    assert "50.0% of 6" in shell("runs", "best", "--metric", "asr/transfer/other").stdout
    worst = shell.json("runs", "best", "--metric", "asr/transfer/other", "--lowest")
    assert [run["run_id"] for run in worst["runs"]] == [faint, strong]
    only = shell.json("runs", "best", "--metric", "asr/source/net", "--where", "mark.alpha_range=0,0")
    assert [run["run_id"] for run in only["runs"]] == [faint]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compare", "0123456789"), "one run cannot be compared"),
        (("compare", "nothing", "0123456789"), "nothing: no runs of that name or id"),
        (("best", "--metric", "asr/x", "--experiment", "nowhere"), "no experiment nowhere"),
        (("best", "--metric", "asr/x", "--experiment", "Default"), "--metric asr/x: none of 0 runs has it"),
        (("list", "--where", "verb"), "--where verb: not a condition"),
        (("list", "--tracking-uri", "sqlite:////nowhere/mlflow.db"), "does not exist or cannot be written"),
    ],
)
def test_bad_input_is_named(shell, words, message):
    result = shell("runs", *words, code=1 if "experiment nowhere" in message or "exist" in message else 2)
    assert message in result.stderr


def test_a_job_without_a_reachable_store_says_so_and_offline_brings_it_home_later(shell, empty_database):
    shell("identity", "new", "--out", "owner.txt")
    words = ["protect", "--data", "data", "--owner", "owner.txt", "--sources", "net", *FAST, "--out", "out"]
    failed = shell(*words, "--tracking-uri", "http://127.0.0.1:9", code=1)
    assert "--offline" in failed.stderr
    assert not Path("out").exists()
    Path("trip").mkdir()
    shutil.copy(empty_database, "trip/mlflow.db")
    done = shell.json(*words, "--offline", "trip")
    shell("transfer", "out", "--owner", "owner.txt", "--targets", "other", "--offline", "trip")
    real = ("--tracking-uri", f"sqlite:///{Path('mlflow.db').absolute()}")
    assert shell.json("runs", "list", "--all-experiments", *real)["runs"] == []
    merged = shell.json("runs", "merge", "trip", *real)["runs"]
    assert [(run["name"], run["outcome"]) for run in merged] == [("protect data", "copied"), ("transfer out", "copied")]
    assert merged[0]["offline_run_id"] == done["run_id"]
    listed = shell.json("runs", "list", "--where", "verb=protect")["runs"]
    assert [run["run_id"] for run in listed] == [merged[0]["run_id"]]
    assert listed[0]["metrics"]["asr/source/net"] == done["metrics"]["asr/source/net"]
    assert "0 of 2 runs copied" in shell("runs", "merge", "trip").stdout
