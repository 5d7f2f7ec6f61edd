"""Which ledgers the steward's page shows, and how it checks them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medlocker.audit import SignedTreeHead, read_receipt
from medlocker.errors import SettingsError
from medlocker.signing import PublicKey, read_public_keys

LEDGERS_VARIABLE = "MEDLOCKER_LEDGERS"
KEYS_VARIABLE = "MEDLOCKER_OWNER_KEYS"
RECEIPTS_VARIABLE = "MEDLOCKER_RECEIPTS"


@dataclass(frozen=True)
class StewardSettings:
    """What to show.

    Attributes:
        ledgers: ledger files, or folders; see `LedgerShelf`.
        owner_keys: the owner's public keys, oldest first; empty leaves ledgers unverified, and the page says so.
        receipts: heads that were given away.
    """

    ledgers: tuple[Path, ...]
    owner_keys: tuple[PublicKey, ...] = ()
    receipts: tuple[SignedTreeHead, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> StewardSettings:
        """Settings of an MLflow server, which hands no options to its apps.

        `MEDLOCKER_LEDGERS`, `MEDLOCKER_OWNER_KEYS` and `MEDLOCKER_RECEIPTS` are lists of paths as in `PATH`.

        Raises:
            SettingsError: no ledger is named.
            IdentityError: a public key cannot be read.
            LedgerError: a receipt cannot be read.
        """
        values = os.environ if environment is None else environment
        ledgers = _paths(values.get(LEDGERS_VARIABLE, ""))
        if not ledgers:
            raise SettingsError(
                "no ledger was named for the steward's page",
                fix=f"set {LEDGERS_VARIABLE} to ledger files, or to folders that hold RELEASE.owner folders",
            )
        return cls(
            ledgers=ledgers,
            owner_keys=tuple(
                key for path in _paths(values.get(KEYS_VARIABLE, "")) for key in read_public_keys(str(path))
            ),
            receipts=tuple(read_receipt(path) for path in _paths(values.get(RECEIPTS_VARIABLE, ""))),
        )


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(part) for part in text.split(os.pathsep) if part)
