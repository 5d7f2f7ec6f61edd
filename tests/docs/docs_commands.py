"""Do the commands of a page exist, with the options they are given? Click and MLproject are asked; nothing runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import click
import yaml

ROOT = Path(__file__).parents[2]
_OPERATORS = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "2>&1", "(", ")"}


def wrong_words(text: str) -> list[str]:
    """What is wrong with the `medlocker` and `mlflow` commands of a shell text; empty where nothing is."""
    return [problem for words in shell_commands(text) for problem in _problems(words)]


def shell_commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a shell text as words, without assignments before them."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        if not re.search(r"\b(medlocker|mlflow) ", line):
            continue  # A block without a language may be anything, a drawing for instance.
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words: list[str] = []
        for word in [*_tokens(lexer, line), ";"]:
            if word in _OPERATORS or set(word) <= set("();<>|&"):
                if words:
                    yield words
                words = []
            elif words or not re.match(r"^\w+=", word):
                words.append(word)


def _tokens(lexer: shlex.shlex, line: str) -> list[str]:
    try:
        return list(lexer)
    except ValueError as error:
        raise ValueError(f"{line!r}: {error}") from error


def _problems(words: list[str]) -> list[str]:
    if words[:3] == ["python", "-m", "medlocker"]:
        words = words[2:]
    if words[0] not in ("medlocker", "mlflow"):
        return []
    if words[:2] == ["mlflow", "run"]:
        return _click_problems(words) + _project_problems(words)
    return _click_problems(words)


def _click_problems(words: list[str]) -> list[str]:
    command, path = _program(words[0]), words[0]
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest[0])
        if found is None:
            return [f"{path} has no command {rest[0]}"]
        command, path, rest = found, f"{path} {rest[0]}", rest[1:]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    known |= set(command.get_help_option_names(click.Context(command, **_settings(command))))
    given = [word.partition("=")[0] for word in rest if re.match(r"--?[A-Za-z]", word)]
    return [f"{path} has no option {name}" for name in given if name not in known]


def _settings(command: click.Command) -> dict[str, list[str]]:
    return {"help_option_names": list(command.context_settings.get("help_option_names", ["-h", "--help"]))}


def _project_problems(words: list[str]) -> list[str]:
    pairs = list(pairwise(words))
    entry = dict(pairs).get("-e", "main")
    if words == ["mlflow", "run"] or entry == "…":
        return []  # Named in a sentence.
    if entry not in entry_points():
        return [f"MLproject has no entry point {entry}"]
    known = entry_points()[entry]["parameters"]
    given = [value.partition("=")[0] for flag, value in pairs if flag == "-P"]
    return [f"entry point {entry} has no parameter {name}" for name in given if name not in known]


@cache
def entry_points() -> dict[str, dict[str, dict[str, object]]]:
    """Of MLproject."""
    return dict(yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"])


@cache
def _program(name: str) -> click.Command:
    if name == "mlflow":
        import mlflow.cli

        return mlflow.cli.cli
    from medlocker.cli import main

    return main


def spans(text: str) -> list[str]:
    """Commands named within sentences: inline code that begins with `medlocker ` or `mlflow `."""
    outside = re.sub(r"^ {0,3}```.*?^ {0,3}```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [span for span in re.findall(r"`([^`\n]+)`", outside) if re.match(r"(medlocker|mlflow) [a-z]", span)]
