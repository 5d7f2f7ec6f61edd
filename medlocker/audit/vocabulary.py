"""How the ledger's events are called in health care's audit vocabularies (DICOM PS3.16, FHIR R4)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import NamedTuple

from medlocker.audit.events import Event

DCM = "http://dicom.nema.org/resources/ontology/DCM"
OWN = "urn:medlocker:audit-event"


class Code(NamedTuple):
    """A code of DICOM's controlled terminology (DCM)."""

    code: str
    display: str


class Category(NamedTuple):
    """What an event is to an audit system.

    Attributes:
        event: DICOM event identifier.
        subtype: DICOM event type code, where one fits.
        action: C, R, U, D or E.
    """

    event: Code
    subtype: Code | None
    action: str


class Concerned(NamedTuple):
    """A thing that an event concerns.

    Attributes:
        kind: `release`, `edition`, `key`, `recipient` or `evidence`.
        value: its identifier.
        object_type: 1 person, 2 system object.
        role: of the object, by the role codes which RFC 3881, DICOM and FHIR share.
    """

    kind: str
    value: str
    object_type: str
    role: Code


EXPORT = Code("110106", "Export")
ALERT = Code("110113", "Security Alert")
OBJECT_CHANGED = Code("110135", "Object Security Attributes Changed")
USER_CHANGED = Code("110137", "User Security Attributes Changed")
RESTRICTED = Code("110132", "Use of Restricted Function")
DESTINATION = Code("110152", "Destination Role ID")
MEDLOCKER_SOURCE = Code("4", "Application Server")

CATEGORIES = {
    "release.created": Category(EXPORT, None, "C"),
    "release.replaced": Category(EXPORT, None, "U"),
    "edition.made": Category(EXPORT, None, "C"),
    "recipient.added": Category(ALERT, USER_CHANGED, "C"),
    "key.issued": Category(ALERT, OBJECT_CHANGED, "C"),
    "key.reissued": Category(ALERT, OBJECT_CHANGED, "U"),
    "key.revoked": Category(ALERT, OBJECT_CHANGED, "D"),
    "key.used": Category(ALERT, RESTRICTED, "E"),
    "trace.reported": Category(ALERT, RESTRICTED, "R"),
}

_REPOSITORY = Code("17", "Data Repository")
_SECURITY_RESOURCE = Code("13", "Security Resource")
_SECURITY_USER = Code("11", "Security User Entity")
_REPORT = Code("3", "Report")


def concerned(event: Event) -> list[Concerned]:
    """The things that an event concerns."""
    details = event.details
    things = []
    if release_id := getattr(details, "release_id", None):
        things.append(Concerned("release", release_id, "2", _REPOSITORY))
    if edition_id := getattr(details, "edition_id", None):
        things.append(Concerned("edition", edition_id, "2", _REPOSITORY))
    if version := getattr(details, "key_version", None):
        name = f"{edition_id or release_id}/{recipient(event)}/{version}"
        things.append(Concerned("key", name, "2", _SECURITY_RESOURCE))
    if details.kind == "recipient.added":
        things.append(Concerned("recipient", details.recipient, "1", _SECURITY_USER))
    if details.kind == "trace.reported":
        things.append(Concerned("evidence", details.evidence_sha256, "2", _REPORT))
        things.extend(Concerned("recipient", one.recipient, "1", _SECURITY_USER) for one in details.accused)
    return things


def recipient(event: Event) -> str | None:
    """Who received something by this event, if anyone."""
    name: str | None = getattr(event.details, "recipient", None)
    return name


def further_details(event: Event) -> Iterator[tuple[str, str]]:
    """All else that an event says, as names and texts; a long scope is left to the ledger."""
    left_out = {"kind", "release_id", "edition_id", "recipient", "key_version", "accused"}
    yield "sequence", str(event.sequence)
    yield "previous", event.previous
    if event.run_id:
        yield "mlflow_run_id", event.run_id
    for name, value in event.details.model_dump(mode="json").items():
        if name not in left_out and value is not None:
            yield name, f"{len(value)} images" if isinstance(value, list) else str(value)


def base64_text(text: str) -> str:
    """UTF-8 as base64, which audit messages ask for."""
    return base64.b64encode(text.encode()).decode()
