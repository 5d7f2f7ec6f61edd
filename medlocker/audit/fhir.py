"""Events as FHIR R4 AuditEvent resources.

Source: HL7 FHIR R4 (4.0.1), AuditEvent.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from medlocker.audit.events import Event
from medlocker.audit.vocabulary import (
    CATEGORIES,
    DCM,
    DESTINATION,
    MEDLOCKER_SOURCE,
    OWN,
    Code,
    concerned,
    further_details,
    recipient,
)

_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
_OBJECT_TYPES = {"1": "Person", "2": "System Object"}


def fhir_bundle(events: Sequence[Event]) -> dict[str, Any]:
    """A Bundle (collection) with one AuditEvent an event."""
    entries = [{"fullUrl": f"urn:uuid:{_uuid(event)}", "resource": audit_event(event)} for event in events]
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "collection"}
    # FHIR allows no empty list.
    return {**bundle, "entry": entries} if entries else bundle


def audit_event(event: Event) -> dict[str, Any]:
    """One AuditEvent resource."""
    category = CATEGORIES[event.details.kind]
    subtypes = [_coding(DCM, category.subtype)] if category.subtype else []
    return {
        "resourceType": "AuditEvent",
        "id": _uuid(event),
        "type": _coding(DCM, category.event),
        "subtype": [*subtypes, {"system": OWN, "code": event.details.kind}],
        "action": category.action,
        "recorded": event.time.isoformat(timespec="milliseconds"),
        "outcome": "0",
        "agent": _agents(event),
        "source": {
            "observer": {"display": "MedLocker"},
            "type": [_coding(f"{_TERMINOLOGY}/security-source-type", MEDLOCKER_SOURCE)],
        },
        "entity": _entities(event),
    }


def _agents(event: Event) -> list[dict[str, Any]]:
    human = _coding(f"{_TERMINOLOGY}/extra-security-role-type", Code("humanuser", "human user"))
    agents: list[dict[str, Any]] = [{"type": {"coding": [human]}, "name": event.actor, "requestor": True}]
    if name := recipient(event):
        agents.append({"type": {"coding": [_coding(DCM, DESTINATION)]}, "name": name, "requestor": False})
    return agents


def _entities(event: Event) -> list[dict[str, Any]]:
    entities: list[dict[str, Any]] = [
        {
            "what": {"identifier": {"system": f"urn:medlocker:{thing.kind}", "value": thing.value}},
            "type": _coding(
                f"{_TERMINOLOGY}/audit-entity-type", Code(thing.object_type, _OBJECT_TYPES[thing.object_type])
            ),
            "role": _coding(f"{_TERMINOLOGY}/object-role", thing.role),
        }
        for thing in concerned(event)
    ]
    entities[0]["detail"] = [{"type": name, "valueString": text} for name, text in further_details(event)]
    return entities


def _coding(system: str, code: Code) -> dict[str, str]:
    return {"system": system, "code": code.code, "display": code.display}


def _uuid(event: Event) -> str:
    # The hash of the line before, with the place, names an event for good: exporting twice makes no second one.
    return str(uuid.uuid5(_NAMESPACE, f"{event.previous}/{event.sequence}/{event.time.isoformat()}"))
