"""Blocks of a page of the documentation that a test can run. CONTRIBUTING.md tells the convention."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

RUN_LANGUAGES = ("bash", "console", "python")
_FENCE = re.compile(r"^( {0,3})```(\w*)\s*$")
_REMARK = re.compile(r"^<!--\s*(not run|exit|prepare)\b:?\s*(.*)$")


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        page: the file.
        line: of its first line, from 1.
        language: `bash`, `console`, `python`, `prepare`, or what else the fence says.
        text: its lines.
        not_run: why it is not run; None for a block that is.
        exit: exit code of its last command.
    """

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None = None
    exit: int = 0

    @property
    def where(self) -> str:
        """For messages: page and line."""
        return f"{self.page.name}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether the test runs it."""
        return self.not_run is None and self.language in (*RUN_LANGUAGES, "prepare")


def read_blocks(page: Path) -> list[Block]:
    """All fenced blocks and hidden preparations of a page, in order.

    Raises:
        ValueError: a fence or a remark is not closed.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    blocks: list[Block] = []
    remark, start = ("", ""), 0
    while start < len(lines):
        opened, told = _FENCE.match(lines[start]), _REMARK.match(lines[start])
        if opened:
            end = _find(lines, start + 1, opened[1] + "```", page)
            body = [line.removeprefix(opened[1]) for line in lines[start + 1 : end]]
            blocks.append(_block(page, start + 2, opened[2], "\n".join(body), remark))
            remark, start = ("", ""), end + 1
        elif told:
            end = next((n for n in range(start, len(lines)) if lines[n].rstrip().endswith("-->")), None)
            if end is None:
                raise ValueError(f"{page.name}:{start + 1}: the remark is not closed")
            body = "\n".join([told[2], *lines[start + 1 : end + 1]]).rstrip()[: -len("-->")].strip()
            if told[1] == "prepare":
                blocks.append(Block(page, start + 1, "prepare", body))
            else:
                remark = (told[1], body)
            start = end + 1
        else:
            if lines[start].strip():
                remark = ("", "")
            start += 1
    return blocks


def _find(lines: list[str], start: int, fence: str, page: Path) -> int:
    for number in range(start, len(lines)):
        if lines[number].rstrip() == fence:
            return number
    raise ValueError(f"{page.name}:{start}: the block is not closed")


def _block(page: Path, line: int, language: str, text: str, remark: tuple[str, str]) -> Block:
    kind, value = remark
    return Block(
        page,
        line,
        language,
        text,
        not_run=(value or "no reason given") if kind == "not run" else None,
        exit=int(value) if kind == "exit" else 0,
    )


@dataclass(frozen=True)
class Step:
    """One command of a `console` block with what it shows."""

    command: str
    shown: str


def console_steps(text: str) -> list[Step]:
    """Commands after `$ `, continued after a backslash; other lines are what they show.

    Raises:
        ValueError: the block shows output before the first command.
    """
    steps: list[Step] = []
    continued = False
    for line in text.splitlines():
        if continued:
            steps[-1] = Step(f"{steps[-1].command}\n{line}", "")
        elif line.startswith("$ "):
            steps.append(Step(line[2:], ""))
        elif not steps:
            raise ValueError(f"{line!r} stands before the first command ($ …)")
        else:
            steps[-1] = Step(steps[-1].command, f"{steps[-1].shown}{line}\n")
        continued = steps[-1].command.endswith("\\") and not steps[-1].shown
    return steps


def matches(shown: str, got: str) -> bool:
    """Whether output is what a page shows; `…` stands for anything within a line, alone for any lines."""
    pattern = ""
    for line in shown.rstrip("\n").split("\n"):
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += r"[^\n]*?".join(re.escape(part) for part in line.rstrip().split("…")) + r"[ \t]*\n"
    return re.fullmatch(pattern, got.rstrip("\n") + "\n") is not None


def printed_lines(code: str) -> list[str] | None:
    """What a Python block says its `print`s print, in comments behind them; None where one says nothing."""
    prints = [line for line in code.splitlines() if re.match(r"print\(", line)]
    told = [re.search(r"\)  # (.*)$", line) for line in prints]
    if not prints or not all(told):
        return None
    return [one[1] for one in told if one]
