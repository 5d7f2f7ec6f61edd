"""Events as audit messages for IHE ATNA repositories.

Source: DICOM PS3.15, section A.5.1 (Audit Message Schema), derived from RFC 3881.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as Xml

from medlocker.audit.events import Event
from medlocker.audit.vocabulary import (
    CATEGORIES,
    DESTINATION,
    MEDLOCKER_SOURCE,
    Code,
    base64_text,
    concerned,
    further_details,
    recipient,
)

_OWN_SYSTEM = "MedLocker"


def atna_messages(events: Sequence[Event]) -> Iterator[str]:
    """One AuditMessage document an event, each on one line."""
    return (Xml.tostring(audit_message(event), encoding="unicode") for event in events)


def audit_message(event: Event) -> Xml.Element:
    """One AuditMessage."""
    message = Xml.Element("AuditMessage")
    _identification(message, event)
    _participant(message, event.actor, requestor=True)
    if name := recipient(event):
        _code(_participant(message, name, requestor=False), "RoleIDCode", DESTINATION, "DCM")
    source = Xml.SubElement(message, "AuditSourceIdentification", AuditSourceID="MedLocker")
    Xml.SubElement(source, "AuditSourceTypeCode", {"csd-code": MEDLOCKER_SOURCE.code})
    _objects(message, event)
    return message


def _identification(message: Xml.Element, event: Event) -> None:
    category = CATEGORIES[event.details.kind]
    identification = Xml.SubElement(
        message,
        "EventIdentification",
        EventActionCode=category.action,
        EventDateTime=event.time.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator="0",
    )
    _code(identification, "EventID", category.event, "DCM")
    if category.subtype:
        _code(identification, "EventTypeCode", category.subtype, "DCM")
    _code(identification, "EventTypeCode", Code(event.details.kind, event.details.kind), _OWN_SYSTEM)


def _participant(message: Xml.Element, name: str, *, requestor: bool) -> Xml.Element:
    return Xml.SubElement(message, "ActiveParticipant", UserID=name, UserIsRequestor=str(requestor).lower())


def _objects(message: Xml.Element, event: Event) -> None:
    for number, thing in enumerate(concerned(event)):
        element = Xml.SubElement(
            message,
            "ParticipantObjectIdentification",
            ParticipantObjectID=thing.value,
            ParticipantObjectTypeCode=thing.object_type,
            ParticipantObjectTypeCodeRole=thing.role.code,
        )
        _code(element, "ParticipantObjectIDTypeCode", Code(thing.kind, thing.kind), _OWN_SYSTEM)
        Xml.SubElement(element, "ParticipantObjectName").text = thing.value
        if number == 0:
            for name, text in further_details(event):
                Xml.SubElement(element, "ParticipantObjectDetail", type=name, value=base64_text(text))


def _code(parent: Xml.Element, tag: str, code: Code, system: str) -> None:
    Xml.SubElement(parent, tag, {"csd-code": code.code, "codeSystemName": system, "originalText": code.display})
