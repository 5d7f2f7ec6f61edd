"""The note that tells an edition's owner folder from a release's."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from medlocker.audit.events import Name, UtcTime
from medlocker.errors import ReleaseError
from medlocker.imageio import write_atomic
from medlocker.release import ReleaseId

EDITION_NAME = "edition.json"
EDITION_SCHEMA: Final = "medlocker.edition/1"


class EditionDocument(BaseModel):
    """What an edition is.

    Attributes:
        edition_id: its own id; as a number it is also the recipient's index in the tracing code.
        release_id: of the release it was made from.
        recipient: whose it is.
        margin: confidence, as in `tracing.edition_alphabet`.
        ledger: of the release, relative to the edition's owner folder.
        made_at: UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["medlocker.edition/1"] = EDITION_SCHEMA
    edition_id: ReleaseId
    release_id: ReleaseId
    recipient: Name
    margin: float
    ledger: str
    made_at: UtcTime


def read_edition(owner_dir: Path) -> EditionDocument | None:
    """The edition document of an owner's folder; None where the folder is a release's.

    Raises:
        ReleaseError: it is damaged.
    """
    path = owner_dir / EDITION_NAME
    if not path.exists():
        return None
    try:
        return EditionDocument.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise ReleaseError(f"{path}: not a valid {EDITION_SCHEMA} document", fix="restore it from a backup") from None


def write_edition(owner_dir: Path, document: EditionDocument) -> None:
    """Write the edition document.

    Raises:
        ReleaseError: it cannot be written.
    """
    write_atomic(owner_dir / EDITION_NAME, (document.model_dump_json(indent=2) + "\n").encode())
