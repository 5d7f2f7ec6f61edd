"""Progress on standard error: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from medlocker.jobs.progress import Advance

SECONDS_BETWEEN_LINES = 10.0


class TerminalProgress:
    """Shows the stages of a job with rich.

    Args:
        quiet: show nothing but remarks.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._quiet = quiet

    def say(self, line: str) -> None:
        """Print one line."""
        self._console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Advance]:
        """A bar on a terminal; otherwise a line at the start, every ten seconds, and at the end."""
        if self._quiet:
            yield lambda _steps=1, _note="": None
        elif self._console.is_terminal:
            with self._bar(name, total) as advance:
                yield advance
        else:
            with self._lines(name, total) as advance:
                yield advance

    @contextmanager
    def _bar(self, name: str, total: int | None) -> Iterator[Advance]:
        columns = [SpinnerColumn(), TextColumn("{task.description}")]
        if total is not None:
            columns += [BarColumn(), MofNCompleteColumn()]
        with Progress(*columns, TimeElapsedColumn(), TextColumn("{task.fields[note]}"), console=self._console) as bar:
            task = bar.add_task(name, total=total, note="")

            def advance(steps: int = 1, note: str = "") -> None:
                bar.update(task, advance=steps)
                if note:
                    bar.update(task, note=note)

            yield advance

    @contextmanager
    def _lines(self, name: str, total: int | None) -> Iterator[Advance]:
        started = last = time.monotonic()
        done, remark = 0, ""

        def advance(steps: int = 1, note: str = "") -> None:
            nonlocal done, last, remark
            done, remark = done + steps, note or remark
            if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                self.say(self._line(name, done, total, remark))

        yield advance
        self.say(f"{self._line(name, done, total, remark)} in {time.monotonic() - started:.1f} s")

    @staticmethod
    def _line(name: str, done: int, total: int | None, remark: str) -> str:
        of = f" of {total}" if total is not None else ""
        return f"{name}: {done}{of}{', ' if remark else ''}{remark}"
