"""Every command of the documentation runs, and answers as the page says."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

import mlflow
import pytest
from docs_blocks import Block, console_steps, matches, printed_lines, read_blocks
from docs_commands import shell_commands, spans, wrong_words
from docs_sandbox import CommandError, Sandbox

ROOT = Path(__file__).parents[2]
RECORDS = ("docs/results", "docs/decisions")
"""What was done once, on data that is not here; its commands are read, not run."""
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _is_record(page: Path) -> bool:
    return _name(page).startswith(RECORDS)


GUIDES = [page for page in PAGES if not _is_record(page)]


@pytest.mark.parametrize("page", [p for p in GUIDES if any(block.runs for block in read_blocks(p))], ids=_name)
def test_what_a_page_says_happens(page: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page(read_blocks(page), sandbox, monkeypatch)


def run_page(blocks: list[Block], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a page's blocks in order.

    Raises:
        CommandError: one fails, or answers otherwise than the page shows.
    """
    monkeypatch.chdir(sandbox.folder)
    names: dict[str, Any] = {}
    for block in blocks:
        if not block.runs:
            continue
        try:
            if block.language == "python":
                _run_python(block.text, names, monkeypatch, sandbox)
            elif block.language == "console":
                _run_console(block, sandbox)
            else:
                sandbox.shell(block.text, block.exit)
        except CommandError as failure:
            raise CommandError(f"{block.where}: {failure}") from failure


def _run_console(block: Block, sandbox: Sandbox) -> None:
    steps = console_steps(block.text)
    for number, step in enumerate(steps, 1):
        got = sandbox.shell(step.command, block.exit if number == len(steps) else 0)
        if step.shown and not matches(step.shown, got):
            raise CommandError(f"$ {step.command}\nshows\n{step.shown}but gave\n{got}")


def _run_python(code: str, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    for name, value in sandbox.environment.items():
        if name.startswith(("MLFLOW_", "MEDLOCKER_")):
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mlflow.set_tracking_uri(f"sqlite:///{sandbox.folder}/mlflow.db")
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            exec(compile(code, "page", "exec"), names)
    except Exception as error:
        raise CommandError(f"{type(error).__name__}: {error} from\n{code}") from error
    finally:
        # An example that logs without a `with` leaves the run open that MLflow began for it.
        while mlflow.active_run() is not None:
            mlflow.end_run()
        mlflow.set_tracking_uri("")
        os.chdir(sandbox.folder)
    told = printed_lines(code)
    if told is not None and not matches("\n".join(told), said.getvalue()):
        raise CommandError(f"prints\n{said.getvalue()}instead of\n" + "\n".join(told))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_and_option_named_on_a_page_exists(page: Path) -> None:
    texts = [(block.where, block.text) for block in read_blocks(page) if block.language in SHELLS]
    texts += [(page.name, span) for span in spans(page.read_text(encoding="utf-8"))]
    wrong = [f"{where}: {problem}" for where, text in texts for problem in wrong_words(text)]
    assert wrong == []


SHELLS = ("", "bash", "console", "prepare")


@pytest.mark.parametrize("page", GUIDES, ids=_name)
def test_a_block_with_commands_says_whether_it_is_run(page: Path) -> None:
    silent = [
        b.where for b in read_blocks(page) if not b.language and b.not_run is None and list(shell_commands(b.text))
    ]
    assert silent == [], "make these blocks `bash` or `console`, or say why they are not run"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^ {0,3}```.*?^ {0,3}```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if not _leads_somewhere(page, *link.partition("#")[::2])] == []


def _leads_somewhere(page: Path, name: str, heading: str) -> bool:
    target = (page.parent / name).resolve() if name else page
    return target.exists() and (not heading or heading in _headings(target))


def _headings(page: Path) -> set[str]:
    """Anchors as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
