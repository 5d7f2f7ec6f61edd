"""Bad input: each gets an exit code and a message that names the file or option."""

from __future__ import annotations

from pathlib import Path

import pytest

from medlocker.cli import main

PROTECT = "protect --data data --out out --owner owner.txt --sources net"


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("protect --data data --out out --owner none.txt --sources net", 1, ["none.txt"]),
        ("protect --data none --out out --owner owner.txt --sources net", 1, ["none"]),
        (f"{PROTECT} --labels none.csv", 1, ["none.csv"]),
        (f"{PROTECT} --where split", 2, ["split=test"]),
        (f"{PROTECT} --where split=none", 1, ["split"]),
        (f"{PROTECT} --where colour=red", 1, ["colour"]),
        (f"{PROTECT} --logo none.png", 1, ["none.png"]),
        (f"{PROTECT} --logo data/labels.csv", 1, ["labels.csv"]),
        (f"{PROTECT} --logo-scale 0.5", 2, ["--logo-scale"]),
        (f"{PROTECT} --alpha-range 200,100", 2, ["alpha"]),
        (f"{PROTECT} --alpha-range 100,300", 2, ["alpha-range"]),
        (f"{PROTECT} --source-weights 0.4,0.6", 2, ["weights"]),
        (f"{PROTECT} --source-weights a", 2, ["--source-weights"]),
        (f"{PROTECT} --targets net", 1, ["net", "more than once"]),
        (f"{PROTECT} --search guess", 2, ["guess"]),
        (f"{PROTECT} --budget 100", 2, ["basin_hopping", "budget"]),
        (f"{PROTECT} --search surrogate --budget 0", 2, ["--budget"]),
        (f"{PROTECT} --seed -1", 2, ["--seed"]),
        (f"{PROTECT} --limit 0", 2, ["--limit"]),
        (f"{PROTECT} --population 0", 2, ["--population"]),
        (f"{PROTECT} --stop-below 2", 2, ["--stop-below"]),
        (f"{PROTECT} --baselines luck", 2, ["luck"]),
        (f"{PROTECT} --placement inside_lesions", 1, ["lesion"]),
        (f"{PROTECT} --tracking-uri nonsense://x", 1, ["nonsense"]),
        ("protect --out out", 2, ["--data"]),
        ("unlock none --key k --identity owner.txt --out o", 1, ["k"]),
        ("unlock none --out o", 2, ["--key"]),
        ("verify none", 1, ["none"]),
        ("verify data", 1, ["release.json"]),
        ("transfer none --owner owner.txt", 1, ["none"]),
        ("report none --owner owner.txt", 1, ["none"]),
        ("key issue none --owner owner.txt --to A --recipient age1x --out k", 1, ["none"]),
        ("identity new --out owner.txt", 1, ["owner.txt"]),
        ("identity show data/labels.csv", 1, ["labels.csv"]),
        ("train none --data data --out w.safetensors", 1, ["none"]),
        ("export none.safetensors --out x.onnx", 1, ["none.safetensors"]),
        ("fly", 2, ["fly"]),
    ],
)
def test_bad_input_is_named(shell, command, code, words):
    shell("identity", "new", "--out", "owner.txt")
    result = shell(*command.split(), code=code)
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr
    assert not Path("out/release.json").exists()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [("empty.png", b"", "empty"), ("text.png", b"hello", "text.png"), ("cut.png", None, "cut.png")],
)
def test_unusable_images_stop_the_job_or_are_left_out(shell, name, content, reason):
    shell("identity", "new", "--out", "owner.txt")
    whole = Path("data/0.png").read_bytes()
    Path("data", name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with Path("data/labels.csv").open("a") as table:
        table.write(f"{name},0,test\nghost.png,1,test\n")
    fast = ["--population", 4, "--generations", 0]
    stopped = shell(*PROTECT.split(), *fast, code=1)
    assert reason in stopped.stderr
    assert "ghost.png" in stopped.stderr
    assert "--on-error skip" in stopped.stderr
    skipped = shell.json(*PROTECT.split(), *fast, "--on-error", "skip")
    assert skipped["images"] == 6


def test_a_wrong_identity_a_foreign_key_and_an_altered_image(shell):
    shell("identity", "new", "--out", "owner.txt")
    public = shell("identity", "new", "--out", "me.txt").stdout.strip()
    for out in ("one", "two"):
        shell(*PROTECT.replace("--out out", f"--out {out}").split(), "--population", 4, "--generations", 0)
    shell("key", "issue", "one", "--owner", "owner.txt", "--to", "A", "--recipient", public, "--out", "a.key")
    wrong = shell("unlock", "one", "--key", "a.key", "--identity", "owner.txt", "--out", "o", code=1)
    assert "a.key" in wrong.stderr
    foreign = shell("unlock", "two", "--key", "a.key", "--identity", "me.txt", "--out", "o", code=1)
    assert "release" in foreign.stderr
    Path("one/1.png").write_bytes(Path("one/0.png").read_bytes())
    Path("one/3.png").unlink()
    Path("one/5.png").write_bytes(Path("one/5.png").read_bytes()[:200])
    altered = shell("unlock", "one", "--key", "a.key", "--identity", "me.txt", "--out", "o", code=1)
    assert "3 of 6 images restored" in altered.stdout
    assert all(name in altered.stderr for name in ("1.png", "3.png", "5.png"))
    assert sum(i["error"] is not None for i in shell.json("verify", "one", code=1)["images"]) == 3


def test_nobody_overwrites_a_key_or_an_original(shell):
    shell("identity", "new", "--out", "owner.txt")
    shell(*PROTECT.split(), "--population", 4, "--generations", 0)
    Path("o").mkdir()
    Path("o/0.png").write_bytes(Path("data/1.png").read_bytes())
    kept = shell("unlock", "out", "--identity", "owner.txt", "--out", "o", code=1)
    assert "not overwritten" in kept.stderr
    assert Path("o/0.png").read_bytes() == Path("data/1.png").read_bytes()


def test_every_verb_has_help_and_a_first_line():
    from click.testing import CliRunner

    runner = CliRunner()
    listing = runner.invoke(main, ["--help"]).output
    for verb in ("protect", "unlock", "verify", "transfer", "report", "identity", "key", "train", "export"):
        assert verb in listing
        assert runner.invoke(main, [verb, "--help"]).exit_code == 0


def test_version_and_completion():
    from click.testing import CliRunner

    import medlocker

    assert medlocker.__version__ in CliRunner().invoke(main, ["--version"]).output
    assert "_MEDLOCKER_COMPLETE" in CliRunner().invoke(main, ["completion", "bash"]).output


def test_empty_options_count_as_not_given(shell):
    shell("identity", "new", "--out", "owner.txt")
    empty = ["--labels", "", "--where", "", "--limit", "", "--logo", "", "--targets", "", "--seed", "", "--search", ""]
    shell(*PROTECT.split(), "--population", 4, "--generations", 0, *empty)
