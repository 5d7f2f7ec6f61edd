"""Ledgers by name, read again only when their files change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from medlocker.audit import LEDGER_NAME, LedgerError, LedgerReport, verify_ledger
from medlocker.audit.heads import sidecar_path
from medlocker.audit.overview import Overview, ledger_overview
from medlocker.workspace import OWNER_SUFFIX
from medlocker_mlflow.steward.settings import StewardSettings

_Stamp = tuple[tuple[int, int] | None, ...]
_STATES_HOLD = 60.0
"""Seconds for which the told states of keys hold; an expiry passes without a change to the file."""


class LedgerShelf:
    """The ledgers of a page.

    A folder stands for `ledger.jsonl` in it and in each of its folders, so that new releases appear by themselves.
    Nothing else on disk can be reached through it, whatever name is asked for.

    Args:
        settings: what to show.
        clock: the moment for which states of keys are told; with a time zone.
    """

    def __init__(self, settings: StewardSettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.settings, self._clock = settings, clock
        self._overviews: dict[Path, tuple[_Stamp, datetime, Overview]] = {}
        self._reports: dict[Path, tuple[_Stamp, LedgerReport]] = {}
        self._lock = threading.Lock()

    def names(self) -> dict[str, Path]:
        """Ledger files by the name of their release's folder; a number tells equal names apart.

        Raises:
            LedgerError: there is none.
        """
        found: dict[str, Path] = {}
        for path in self._files():
            name = path.parent.name.removesuffix(OWNER_SUFFIX) or path.stem
            equal = sum(one == name or one.startswith(f"{name} (") for one in found)
            found[f"{name} ({equal + 1})" if equal else name] = path
        return found

    def overview(self, name: str) -> Overview:
        """What a ledger says, states of keys at most a minute old.

        Raises:
            KeyError: there is no ledger of this name.
            LedgerError: it cannot be read.
        """
        path, now = self.names()[name], self._clock()
        with self._lock:
            stamp, known = _stamps(path), self._overviews.get(path)
            if known is None or known[0] != stamp or abs((now - known[1]).total_seconds()) > _STATES_HOLD:
                known = self._overviews[path] = (stamp, now, ledger_overview(path, now=now))
            return known[2]

    def report(self, name: str) -> LedgerReport | None:
        """Whether a ledger proves itself, verified anew when it or its head has changed; None without owner's keys.

        Raises:
            KeyError: there is no ledger of this name.
            LedgerError: it cannot be read.
        """
        path, settings = self.names()[name], self.settings
        if not settings.owner_keys:
            return None
        with self._lock:
            stamp, known = _stamps(path), self._reports.get(path)
            if known is None or known[0] != stamp:
                known = self._reports[path] = (stamp, verify_ledger(path, settings.owner_keys, settings.receipts))
            return known[1]

    def _files(self) -> Iterator[Path]:
        seen: set[Path] = set()
        for given in self.settings.ledgers:
            places = [given / LEDGER_NAME, *sorted(given.glob(f"*/{LEDGER_NAME}"))] if given.is_dir() else [given]
            for path in (place.resolve() for place in places):
                if path.is_file() and path not in seen:
                    seen.add(path)
                    yield path
        if not seen:
            places_named = ", ".join(map(str, self.settings.ledgers))
            raise LedgerError(f"{places_named}: no ledger there", fix="name ledger files, or folders that hold them")


def _stamps(path: Path) -> _Stamp:
    return tuple(map(_stamp, (path, sidecar_path(path))))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
