"""A ledger in the forms that other systems read: JSON, CSV, FHIR AuditEvent, DICOM audit messages."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Literal

from medlocker.audit.atna import atna_messages
from medlocker.audit.events import Event, LedgerError
from medlocker.audit.fhir import fhir_bundle

ExportFormat = Literal["json", "csv", "fhir", "atna"]
_COLUMNS = (
    "sequence", "time", "actor", "kind", "release_id", "edition_id", "recipient", "key_version", "replaces", "images",
    "restored", "expires_at", "organisation", "purpose", "reason", "scope", "accused", "manifest_sha256", "key_sha256",
    "recipient_key_sha256", "evidence_sha256", "run_id", "previous",
)  # fmt: skip


def export_events(events: Sequence[Event], form: ExportFormat) -> str:
    """Write events in another form.

    Args:
        events: in order.
        form: `json`: an array of events; `csv`: one row an event; `fhir`: a FHIR R4 Bundle of AuditEvent resources;
            `atna`: one DICOM PS3.15 AuditMessage a line, as each goes into one syslog message.

    Returns:
        The text, ending in a line break. The exports carry no signatures: the ledger is the proof.

    Raises:
        LedgerError: there is no such form.
    """
    if form == "csv":
        return _csv(events)
    if form == "atna":
        return "".join(f"{message}\n" for message in atna_messages(events))
    if form == "fhir":
        return json.dumps(fhir_bundle(events), indent=1, ensure_ascii=False) + "\n"
    if form == "json":
        return json.dumps([event.model_dump(mode="json") for event in events], indent=1, ensure_ascii=False) + "\n"
    raise LedgerError(f"there is no export form {form!r}", fix="choose json, csv, fhir or atna")


def _csv(events: Sequence[Event]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for event in events:
        values = event.model_dump(mode="json")
        values.update(values.pop("details"))
        writer.writerow([_cell(values.get(column)) for column in _COLUMNS])
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    # A spreadsheet would run a name that begins like a formula.
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
