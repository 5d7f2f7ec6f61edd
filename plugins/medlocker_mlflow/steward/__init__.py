"""The page a data steward opens: what was released, who holds which key version, and whether the ledger proves itself.

Read-only. It reads ledgers, and nothing that is secret: a ledger holds names and digests, no key and no placement.
"""

from medlocker_mlflow.steward.pages import steward_blueprint
from medlocker_mlflow.steward.settings import StewardSettings
from medlocker_mlflow.steward.shelf import LedgerShelf

__all__ = ["LedgerShelf", "StewardSettings", "steward_blueprint"]
