"""The test of the documentation can fail: pages that are wrong in one way each."""

from __future__ import annotations

from pathlib import Path

import pytest
from docs_blocks import console_steps, matches, printed_lines, read_blocks
from docs_commands import shell_commands, spans, wrong_words
from docs_sandbox import CommandError, Sandbox
from test_docs import run_page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```bash\nmedlocker verify nothing\n```", "exit code 1"),
        ("```bash\nfalse | cat\n```", "exit code 1"),
        ("```console\n$ echo one\ntwo\n```", "shows\ntwo"),
        ("<!-- exit: 1 -->\n```console\n$ true\n```", "exit code 0 instead of 1"),
        ("<!-- prepare: false -->", "exit code 1"),
        ("```python\nprint(1 + 1)  # 3\n```", "prints\n2"),
        ("```python\nimport medlocker.nothing\n```", "ModuleNotFoundError"),
        ("```bash\ntrue\n```\n\n```bash\ntest -e nothing\n```", "page.md:6"),
    ],
)
def test_a_page_that_is_wrong_fails(tmp_path: Path, sandbox: Sandbox, monkeypatch, text: str, message: str) -> None:
    with pytest.raises(CommandError) as failure:
        run_page(_page(tmp_path, text), sandbox, monkeypatch)
    assert message in str(failure.value)


def test_a_page_that_is_right_passes(tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
<!-- prepare
export GREETING=hello
mkdir below; cd below
-->
```console
$ echo $GREETING from \\
    "$(basename "$PWD")"
hello from below
$ medlocker networks 'demo_*'
…
demo_resnet … px  weights shipped
$ medlocker identity show nothing > told 2>&1 || cat told
Error: …nothing…
```
<!-- exit: 2 -->
```bash
medlocker verify
```
<!-- not run: it would fail -->
```bash
false
```
```python
x = 2
```
```python
print(x + 2)  # …
```
"""
    blocks = _page(tmp_path, text)
    assert [block.runs for block in blocks] == [True, True, True, False, True, True]
    run_page(blocks, sandbox, monkeypatch)


def _page(folder: Path, text: str):
    page = folder / "page.md"
    page.write_text(text)
    return read_blocks(page)


@pytest.mark.parametrize("text", ["```bash\ntrue", "<!-- prepare\ntrue"])
def test_what_is_not_closed_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="not closed"):
        _page(tmp_path, text)


def test_output_before_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="before the first command"):
        console_steps("hello\n$ echo hello")


@pytest.mark.parametrize(
    ("shown", "got", "same"),
    [
        ("a\n", "a", True),
        ("a", "b", False),
        ("a", "a\nb", False),
        ("a … c", "a b c", True),
        ("a … c", "a b\n c", False),
        ("…\nz", "x\ny\nz", True),
        ("…\nz", "z", True),
        ("a\n…", "a", True),
        ("a.c", "abc", False),
    ],
)
def test_what_an_ellipsis_stands_for(shown: str, got: str, same: bool) -> None:
    assert matches(shown, got) is same


def test_a_block_that_says_what_only_some_prints_print_is_not_compared() -> None:
    assert printed_lines("print(1)  # 1\nprint(2)") is None
    assert printed_lines("print(f(1), 2)  # (1, 2)") == ["(1, 2)"]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("medlocker protect --data eyes --out release", []),
        ("medlocker protect --date eyes", ["medlocker protect has no option --date"]),
        ("X=1 medlocker key isue release | tee log", ["medlocker key has no command isue"]),
        ("true && medlocker verify release \\\n  --owner-keys k", ["medlocker verify has no option --owner-keys"]),
        ("mlflow ui --prt 1", ["mlflow ui has no option --prt"]),
        ("mlflow run . -e protect -P daat=eyes", ["entry point protect has no parameter daat"]),
        ("mlflow run . -e protekt", ["MLproject has no entry point protekt"]),
        ("pip install medlocker --nothing", []),
    ],
)
def test_wrong_words_are_found_without_running(text: str, problems: list[str]) -> None:
    assert wrong_words(text) == problems


def test_words_of_a_shell_text() -> None:
    text = "A=1 medlocker b > c; d 'e f' && (g) # h\nmedlocker \\\n  j\nit's a drawing"
    assert list(shell_commands(text)) == [["medlocker", "b"], ["c"], ["d", "e f"], ["g"], ["medlocker", "j"]]


def test_commands_within_sentences() -> None:
    assert spans("See `medlocker ui --open`.\n```\n`medlocker no`\n```\nNot `medlocker.cli`.") == [
        "medlocker ui --open"
    ]
