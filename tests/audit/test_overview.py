"""A ledger at a glance, whole and damaged."""

from __future__ import annotations

from ledger_kit import NAMES, RELEASE, fill, issued, lines_of, minute, rewrite, six_events

from medlocker.audit import Accusation, EditionMade, KeyReissued, KeyRevoked, RecipientAdded, TraceReported
from medlocker.audit.overview import ledger_overview

EDITION = "e" * 32


def history():
    reissued = issued("Ben").model_dump() | {
        "kind": "key.reissued",
        "key_version": 2,
        "replaces": 1,
        "reason": "new laptop",
    }
    return [
        *six_events(),
        RecipientAdded(recipient="Ada", recipient_key_sha256="b" * 64, organisation="Ward 4", purpose="grading"),
        RecipientAdded(recipient="Fay", recipient_key_sha256="c" * 64),
        KeyReissued.model_validate(reissued),
        KeyRevoked(release_id=RELEASE, recipient="Cy", key_version=1, reason="left"),
        EditionMade(release_id=RELEASE, edition_id=EDITION, recipient="Dee", manifest_sha256="d" * 64, images=3),
        issued("Dee", edition_id=EDITION, expires_at=minute(60)),
        TraceReported(
            release_id=RELEASE,
            evidence_sha256="f" * 64,
            images=2,
            accused=(Accusation(recipient="Eli", false_accusation=1e-4),),
        ),
    ]


def test_everything_is_found_under_its_release_and_recipient(path, ledger):
    fill(ledger, history())
    seen = ledger_overview(path, now=minute(100))
    release, edition = seen.copies
    assert (release.release_id, release.edition_of, release.images, release.active_keys) == (RELEASE, None, 3, 4)
    assert (edition.release_id, edition.edition_of, edition.recipient) == (EDITION, RELEASE, "Dee")
    assert [one.state for one in edition.holdings] == ["expired"] and edition.active_keys == 0
    people = {one.name: one for one in seen.recipients}
    assert list(people) == sorted([*NAMES, "Fay"])
    assert (people["Ada"].organisation, people["Ada"].purpose, people["Ada"].registered_at) == (
        "Ward 4",
        "grading",
        minute(6),
    )
    assert [(one.key_version, one.state) for one in people["Ben"].holdings] == [(1, "superseded"), (2, "active")]
    assert [one.state for one in people["Cy"].holdings] == ["revoked"]
    assert (people["Fay"].holdings, people["Fay"].registered_at) == ((), minute(7))
    assert people["Eli"].accused_by == (12,) and people["Ada"].accused_by == ()
    assert len(seen.events) == 13 and [event.sequence for event in seen.traces] == [12]


def test_the_states_are_those_of_the_moment_asked_for(path, ledger):
    fill(ledger, history())
    assert [one.state for one in ledger_overview(path, now=minute(8)).recipients[1].holdings] == [
        "superseded",
        "active",
    ]
    assert [one.state for one in ledger_overview(path, now=minute(7)).recipients[1].holdings] == ["active"]


def test_a_damaged_line_is_left_out_and_the_rest_is_shown(path, ledger):
    fill(ledger, six_events())
    lines = lines_of(path)
    rewrite(path, [*lines[:2], b"{not an event}", *lines[3:]])
    seen = ledger_overview(path, now=minute(100))
    assert [one.recipient for one in seen.holdings] == ["Ada", "Cy", "Dee", "Eli"]
