"""Runs of the fake networks, told apart again from their tracking store."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FAST = ("--population", 6, "--generations", 1, "--batch-size", 16)


@pytest.fixture
def two_runs(shell):
    """The same data and networks with strong and with faint marks."""
    shell("identity", "new", "--out", "owner.txt")
    words = ["protect", "--data", "data", "--owner", "owner.txt", "--sources", "net", "--targets", "other", *FAST]
    strong = shell.json(*words, "--out", "strong", "--alpha-range", "250,255")
    faint = shell.json(*words, "--out", "faint", "--alpha-range", "0,1")
    return strong["run_id"], faint["run_id"]


def test_runs_are_listed_compared_and_ranked(shell, two_runs):
    strong, faint = two_runs
    listed = shell.json("runs", "list")
    assert [run["run_id"] for run in listed["runs"]] == [faint, strong]
    assert listed["runs"][0]["settings"]["search.population"] == "6"
    assert strong[:8] in shell("runs", "list", "--limit", 5).stdout

    compared = shell.json("runs", "compare", faint[:8], strong, "--html", "page.html")
    assert compared["settings"] == {"mark.alpha_range": ["0,1", "250,255"]}
    (first, second) = compared["outcomes"]["asr/source/net"]
    assert (first["n"], second["n"]) == (6, 6)
    assert first["low"] <= first["value"] <= first["high"]
    tests = {test["network"]: test for test in compared["tests"]}
    assert set(tests) == {"net", "other"}
    assert tests["net"]["asr_reference"] == first["value"]
    assert tests["net"]["asr_other"] == second["value"]
    assert tests["net"]["images"] == 6
    assert tests["net"]["only_other"] - tests["net"]["only_reference"] == pytest.approx(
        6 * (second["value"] - first["value"])
    )
    page = Path("page.html").read_text()
    assert page.count('src="data:image/jpeg') == 6 * 3  # the original and two marked versions of each image
    assert not re.findall(r'(?:src|href)="(?!data:)', page)

    text = shell("runs", "compare", faint, strong).stdout
    assert "mark.alpha_range" in text
    assert "common images" in text

    ranked = shell.json("runs", "best", "--metric", "confidence/final_mean", "--lowest")
    assert [run["run_id"] for run in ranked["runs"]] == [strong, faint]
    assert "Best by confidence/final_mean" in shell("runs", "best", "--metric", "confidence/final_mean").stdout
    only = shell.json("runs", "best", "--metric", "asr/source/net", "--where", "mark.alpha_range=0,1")
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
