"""Whatever lies in a file of keys or custody, reading it ends well or in one clear error, and never in a trace."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from key_case import Case, make_case

from medlocker.audit import export_events, read_events, read_proof, read_receipt, verify_ledger
from medlocker.audit.overview import ledger_overview
from medlocker.errors import MedLockerError
from medlocker.keys import decode_logo, load_identity, load_manifest, read_key, read_vault, verify_release
from medlocker.keys.copies import VAULT_NAME
from medlocker.keys.edition_document import EDITION_NAME, read_edition
from medlocker.keys.lifecycle import publish_revocations, receipt_file
from medlocker.keys.recipients import REGISTRY_TYPE, add_recipient, read_registry, registry_file
from medlocker.keys.release_signature import SIGNATURE_NAME, STATEMENT_TYPE, check_signature, sign_release
from medlocker.keys.revocations import REVOCATIONS_NAME, REVOCATIONS_TYPE, check_usable, read_revocations
from medlocker.keys.vault import KEY_TYPE
from medlocker.sealing import canonical_json, seal_to
from medlocker.secret_files import write_secret
from medlocker.signing import load_signing_identity, read_public_keys, sign_envelope

LONG = "MEDLOCKER_FUZZ_EXAMPLES"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    made = make_case(tmp_path_factory.mktemp("case"))
    sign_release(made.copy.folder, made.owner)
    made.issue("Ada", images={"grey16"})
    publish_revocations(made.copy, made.ledger)
    add_recipient(registry_file(made.owner.file), made.owner, "Ada", made.recipient("Ada").key)
    return made


# Readers: each gets the bytes of a file; documents are also signed and sealed anew, so that their content is reached.


def _written(path: Path, content: bytes) -> Path:
    path.unlink(missing_ok=True)
    write_secret(path, content)
    return path


def read_identity(case: Case, content: bytes) -> None:
    load_identity(_written(case.root / "fuzz.txt", content), "passphrase")


def read_signing(case: Case, content: bytes) -> None:
    load_signing_identity(_written(case.root / "fuzz.pem", content), "passphrase")


def read_public(case: Case, content: bytes) -> None:
    read_public_keys(str(_written(case.root / "fuzz.pub", content)))


def read_sealed(case: Case, content: bytes) -> None:
    case.open(_written(case.root / "fuzz.key", content))


def read_envelope(case: Case, content: bytes) -> None:
    read_sealed(case, seal_to([case.recipient("Ada").key], content))


def read_key_document(case: Case, content: bytes) -> None:
    envelope = canonical_json(sign_envelope(KEY_TYPE, content, case.owner.signing))
    path = _written(case.root / "fuzz.key", seal_to([case.recipient("Ada").key], envelope))
    document = read_key(path, load_identity(case.root / "Ada.txt"), case.owner.public_keys)
    decode_logo(document)
    check_usable(document, [])


def read_vault_document(case: Case, content: bytes) -> None:
    sealed = seal_to([case.owner.identity.public_key], content)
    decode_logo(read_vault(_written(case.root / "fuzz.age", sealed), case.owner.identity))


def read_list(case: Case, content: bytes) -> None:
    read_revocations(_written(case.root / "fuzz.json", content), case.owner.public_keys)


def read_signed_list(case: Case, content: bytes) -> None:
    envelope = sign_envelope(REVOCATIONS_TYPE, content, case.owner.signing)
    read_list(case, canonical_json(envelope) + b"\n")


def read_recipients(case: Case, content: bytes) -> None:
    read_registry(_written(case.root / "fuzz.json", content), case.owner)


def read_signed_recipients(case: Case, content: bytes) -> None:
    read_recipients(case, canonical_json(sign_envelope(REGISTRY_TYPE, content, case.owner.signing)) + b"\n")


def read_manifest(case: Case, content: bytes) -> None:
    folder = case.root / "fuzz"
    folder.mkdir(exist_ok=True)
    _written(folder / "release.json", content)
    load_manifest(folder)
    verify_release(folder)


def read_signature(case: Case, content: bytes) -> None:
    _written(case.copy.folder / SIGNATURE_NAME, content)
    check_signature(case.copy.folder)


def read_statement(case: Case, content: bytes) -> None:
    read_signature(case, canonical_json(sign_envelope(STATEMENT_TYPE, content, case.owner.signing)) + b"\n")


def read_one_receipt(case: Case, content: bytes) -> None:
    receipt = read_receipt(_written(case.root / "fuzz.json", content))
    verify_ledger(case.ledger.path, case.owner.public_keys, [receipt])


def read_one_proof(case: Case, content: bytes) -> None:
    read_proof(_written(case.root / "fuzz.json", content))


def read_ledger(case: Case, content: bytes) -> None:
    path = _written(case.root / "fuzz.jsonl", content)
    verify_ledger(path, case.owner.public_keys)
    ledger_overview(path, now=case.ledger.events()[0].time)
    for form in ("csv", "fhir", "atna", "json"):
        export_events(read_events(path), form)


def read_edition_note(case: Case, content: bytes) -> None:
    _written(case.root / EDITION_NAME, content)
    read_edition(case.root)


def read_mirror_note(case: Case, content: bytes) -> None:
    from medlocker_mlflow.mirror_view import NOTES_SUFFIX, read_notes

    path = case.ledger.path
    _written(path.with_name(path.name + NOTES_SUFFIX), content)
    read_notes(path)


def _sample(reader: Callable[[Case, bytes], None], case: Case) -> bytes:
    """A valid file or document of the kind that a reader takes."""
    folder, owner = case.copy.folder, case.owner.file
    key = case.open(case.root / "ada.key")
    files: dict[Callable[[Case, bytes], None], Path | bytes] = {
        read_identity: owner,
        read_signing: owner.with_name(owner.name + ".signing.pem"),
        read_public: owner.with_name(owner.name + ".signing.pub"),
        read_sealed: case.root / "ada.key",
        read_envelope: canonical_json(sign_envelope(KEY_TYPE, canonical_json(key), case.owner.signing)),
        read_key_document: canonical_json(key),
        read_vault_document: canonical_json(read_vault(case.copy.owner_dir / VAULT_NAME, case.owner.identity)),
        read_list: folder / REVOCATIONS_NAME,
        read_signed_list: canonical_json(read_revocations(folder / REVOCATIONS_NAME, case.owner.public_keys)),
        read_recipients: registry_file(owner),
        read_signed_recipients: canonical_json(read_registry(registry_file(owner), case.owner)),
        read_manifest: folder / "release.json",
        read_signature: SIGNATURE,
        read_statement: STATEMENT,
        read_one_receipt: receipt_file(case.root / "ada.key"),
        read_one_proof: receipt_file(case.root / "ada.key"),
        read_ledger: case.ledger.path,
        read_edition_note: b'{"edition_id":"' + b"a" * 32 + b'","ledger":"../l","made_at":"2026-01-01T00:00:00Z",'
        b'"margin":0.1,"recipient":"Ada","release_id":"' + b"b" * 32 + b'","schema_version":"medlocker.edition/1"}',
        read_mirror_note: b'{"stores":{"s":{"1":{"model":"m","version":1,"created":2}}}}',
    }
    found = files[reader]
    return found if isinstance(found, bytes) else found.read_bytes()


STATEMENT = b'{"manifest_sha256":"' + b"0" * 64 + b'","owner_keys":[],"release_id":"' + b"ab" * 16 + b'"}'
SIGNATURE = b'{"payload":"AAAA","payloadType":"x","signatures":[{"keyid":"","sig":"AAAA"}]}\n'
READERS = (
    read_identity, read_signing, read_public, read_sealed, read_envelope, read_key_document, read_vault_document,
    read_list, read_signed_list, read_recipients, read_signed_recipients, read_manifest, read_signature, read_statement,
    read_one_receipt, read_one_proof, read_ledger, read_edition_note, read_mirror_note,
)  # fmt: skip


# Damage: bytes cut, doubled and put in; in JSON any value in any place replaced, dropped or added.

ODD_BYTES = [
    b"[" * 3000, b'{"a":' * 500, b"\xff\xfe", b'"\\ud800"', b"1e999", b"NaN", b"\x00" * 50, b"\n", b"-0.0", b"9" * 5000,
]  # fmt: skip
ODD_VALUES = [
    "../../x", "/etc/passwd", "\u202e", "", "0" * 64, "ab" * 16, "AAAA", "age1", "ssh-ed25519 AAAA", "\ud800",
    "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", 2**63, -1, 0, [], {}, [[]], [{}], {"a": 1},
]  # fmt: skip
RAW = st.binary(max_size=40) | st.sampled_from(ODD_BYTES)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.just("x" * 70_000),
    st.sampled_from(ODD_VALUES),
)


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A change that can be made to any content."""
    kind = draw(st.sampled_from(["json", "json", "json", "splice", "raw"]))
    share, length, piece = draw(st.floats(0, 1)), draw(st.integers(0, 60)), draw(RAW)
    number, odd, how = draw(st.integers(0, 2**32)), draw(ODD), draw(st.sampled_from(["put", "drop", "add"]))

    def damage(content: bytes) -> bytes:
        if kind == "raw":
            return piece
        if kind == "splice" or not content.lstrip().startswith(b"{"):
            start = int(share * len(content))
            return content[:start] + piece + content[start + length :]
        lines = content.splitlines()
        chosen = number % len(lines)
        lines[chosen] = _json_damage(lines[chosen], number, odd, how)
        return b"\n".join(lines) + b"\n"

    return damage


def _json_damage(line: bytes, number: int, odd: object, how: str) -> bytes:
    document = json.loads(line)
    places = list(_places(document))
    holder, name = places[number % len(places)]
    if how == "put":
        holder[name] = copy.deepcopy(odd)
    elif how == "drop":
        del holder[name]
    elif isinstance(holder, dict):
        holder["added"] = odd
    else:
        holder.append(odd)
    # Lone surrogates and NaN are written as some programs do, though JSON has none.
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=number % 2 == 0).encode(
        errors="surrogatepass"
    )


def _places(value: object):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in list(items):
        yield value, name
        yield from _places(inner)


def never_a_trace(case: Case, reader, examples: int) -> int:
    sample, count = _sample(reader, case), 0

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=examples < 1000,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(damages())
    def run(damage) -> None:
        nonlocal count
        count += 1
        try:
            reader(case, damage(sample))
        except MedLockerError as error:
            assert str(error) and len(str(error)) < 3000

    run()
    return count


@pytest.mark.parametrize("reader", READERS)
def test_malformed_files_never_give_a_trace(case: Case, reader) -> None:
    assert never_a_trace(case, reader, 40) >= 40


@pytest.mark.slow
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("reader", READERS)
def test_malformed_files_never_give_a_trace_at_length(case: Case, reader, capsys) -> None:
    count = never_a_trace(case, reader, int(os.environ.get(LONG, "2000")))
    with capsys.disabled():
        print(f"\n{reader.__name__}: {count} malformed files")


def test_an_unknown_schema_is_named_at_no_great_length(case: Case) -> None:
    """Found by the long run."""
    with pytest.raises(MedLockerError) as caught:
        read_manifest(case, b'{"schema_version":"' + b"x" * 70_000 + b'"}')
    assert len(str(caught.value)) < 3000
