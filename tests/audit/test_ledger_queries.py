"""Which events, who holds what, and the exports."""

from __future__ import annotations

import base64
import csv
import io
import json
from xml.etree import ElementTree as Xml

import pytest
from ledger_kit import RELEASE, fill, issued, minute, recipient

from medlocker.audit import (
    Accusation,
    EditionMade,
    EventFilter,
    KeyReissued,
    KeyRevoked,
    KeyUsed,
    LedgerError,
    ReleaseCreated,
    TraceReported,
    export_events,
    image_sha256,
    read_events,
    select,
    who,
)

OTHER = "f" * 32
EDITION = "e" * 32


def story():
    """A release, three recipients, every kind of event; one a minute."""
    ada_two = KeyReissued.model_validate(
        {**issued("Ada", 2).model_dump(), "kind": "key.reissued", "replaces": 1, "reason": "lost"}
    )
    return [
        ReleaseCreated(release_id=RELEASE, manifest_sha256="a" * 64, images=3),
        recipient("Ada"),
        issued("Ada"),
        issued("Ben", scope=[image_sha256(RELEASE, "eye 1")], images=1),
        ada_two,
        issued("=Cy()", expires_at=minute(30)),
        KeyRevoked(release_id=RELEASE, recipient="Ben", key_version=1, reason="left <the> clinic"),
        EditionMade(release_id=RELEASE, edition_id=EDITION, recipient="Ada", manifest_sha256="c" * 64, images=3),
        KeyUsed(release_id=RELEASE, recipient="owner", images=3, restored=3),
        TraceReported(
            release_id=RELEASE,
            evidence_sha256="d" * 64,
            images=2,
            accused=[Accusation(recipient="Ben", false_accusation=1e-6)],
        ),
        ReleaseCreated(release_id=OTHER, manifest_sha256="a" * 64, images=1),
    ]


@pytest.fixture
def events(ledger, path):
    fill(ledger, story())
    return read_events(path)


@pytest.mark.parametrize(
    ("wanted", "sequences"),
    [
        ({}, list(range(11))),
        ({"recipient": "Ada"}, [1, 2, 4, 7]),
        ({"recipient": "Ben"}, [3, 6, 9]),
        ({"version": 2}, [4]),
        ({"kinds": ("release.created", "key.used")}, [0, 8, 10]),
        ({"release": OTHER}, [10]),
        ({"release": EDITION}, [7]),
        ({"since": minute(9)}, [9, 10]),
        ({"until": minute(1)}, [0, 1]),
        ({"image": "eye 1", "kinds": ("key.issued",)}, [2, 3, 5]),
        ({"image": "eye 2", "kinds": ("key.issued",)}, [2, 5]),
        ({"recipient": "ada"}, []),
    ],
)
def test_filters(events, wanted, sequences):
    assert [event.sequence for event in select(events, EventFilter(**wanted))] == sequences


@pytest.mark.parametrize(
    ("at", "states"),
    [
        (2.5, [("Ada", 1, "active")]),
        (5.5, [("Ada", 1, "superseded"), ("Ben", 1, "active"), ("Ada", 2, "active"), ("=Cy()", 1, "active")]),
        (60, [("Ada", 1, "superseded"), ("Ben", 1, "revoked"), ("Ada", 2, "active"), ("=Cy()", 1, "expired")]),
    ],
)
def test_who_holds_what_at_a_moment(events, at, states):
    found = who(events, now=minute(at))
    assert [(one.recipient, one.key_version, one.state) for one in found] == states


def test_who_can_open_an_image(events):
    names = {image: [one.recipient for one in who(events, now=minute(60), image=image)] for image in ("eye 1", "eye 2")}
    assert names == {"eye 1": ["Ada", "Ben", "Ada", "=Cy()"], "eye 2": ["Ada", "Ada", "=Cy()"]}
    assert who(events, now=minute(60), release=OTHER) == []


def test_two_keys_of_one_version_are_both_shown(ledger, path):
    fill(ledger, [issued("Ada", key_sha256="1" * 64), issued("Ada", key_sha256="2" * 64)])
    assert [one.key_sha256[0] for one in who(read_events(path), now=minute(9))] == ["1", "2"]


def test_json_and_csv_hold_every_event(events):
    assert [one["sequence"] for one in json.loads(export_events(events, "json"))] == list(range(11))
    rows = list(csv.DictReader(io.StringIO(export_events(events, "csv"))))
    assert [row["kind"] for row in rows] == [event.details.kind for event in events]
    assert (rows[4]["reason"], rows[4]["replaces"], rows[3]["recipient"]) == ("lost", "1", "Ben")
    # No cell begins like a formula.
    assert rows[5]["recipient"] == "'=Cy()"


def test_fhir_has_what_r4_requires(events):
    bundle = json.loads(export_events(events, "fhir"))
    assert (bundle["resourceType"], bundle["type"], len(bundle["entry"])) == ("Bundle", "collection", 11)
    for event, entry in zip(events, bundle["entry"], strict=True):
        resource = entry["resource"]
        assert resource["resourceType"] == "AuditEvent" and entry["fullUrl"] == f"urn:uuid:{resource['id']}"
        assert resource["type"]["code"].isdigit() and resource["action"] in "CRUDE" and resource["outcome"] == "0"
        assert resource["recorded"].startswith(event.time.isoformat()[:19]) and resource["recorded"].endswith("+00:00")
        assert resource["agent"][0]["requestor"] is True
        assert resource["source"]["observer"]
        assert {"type": "sequence", "valueString": str(event.sequence)} in resource["entity"][0]["detail"]
        assert event.details.kind in {one["code"] for one in resource["subtype"]}
    assert len({entry["fullUrl"] for entry in bundle["entry"]}) == 11
    assert "entry" not in json.loads(export_events([], "fhir"))


def test_atna_messages_follow_the_dicom_schema(events):
    messages = [Xml.fromstring(line) for line in export_events(events, "atna").splitlines()]
    assert len(messages) == 11
    order = ["EventIdentification", "ActiveParticipant", "AuditSourceIdentification", "ParticipantObjectIdentification"]
    for event, message in zip(events, messages, strict=True):
        places = [order.index(child.tag) for child in message]
        assert message.tag == "AuditMessage" and places == sorted(places) and set(places) == {0, 1, 2, 3}
        assert message[0].attrib.keys() == {"EventActionCode", "EventDateTime", "EventOutcomeIndicator"}
        assert message[0][-1].get("csd-code") == event.details.kind
        assert message[0].get("EventActionCode") in "CRUDE" and message[0].get("EventOutcomeIndicator") == "0"
        for coded in (one for tag in ("EventID", "EventTypeCode", "RoleIDCode") for one in message.iter(tag)):
            assert coded.attrib.keys() == {"csd-code", "codeSystemName", "originalText"}
        details = {
            one.get("type"): base64.b64decode(one.get("value")) for one in message.iter("ParticipantObjectDetail")
        }
        assert details["sequence"] == b"%d" % event.sequence
        for element in message.iter("ParticipantObjectIdentification"):
            assert element.get("ParticipantObjectTypeCode") in "12"
            assert 1 <= int(element.get("ParticipantObjectTypeCodeRole")) <= 26
            assert [child.tag for child in element][:2] == ["ParticipantObjectIDTypeCode", "ParticipantObjectName"]
    assert "left <the> clinic" not in export_events(events, "atna")


def test_an_unknown_export_is_refused(events):
    with pytest.raises(LedgerError, match="xls"):
        export_events(events, "xls")
