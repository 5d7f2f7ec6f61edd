"""The steward's page: what it shows, what it never serves, and inside a real MLflow server."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from servers import mlflow_server

from medlocker.audit import (
    Accusation,
    KeyIssued,
    KeyRevoked,
    Ledger,
    LedgerError,
    RecipientAdded,
    ReleaseCreated,
    TraceReported,
)
from medlocker.cli import main
from medlocker.errors import SettingsError
from medlocker.signing import new_signing_identity
from medlocker_mlflow.steward import LedgerShelf, StewardSettings
from medlocker_mlflow.steward.app import create_page

RELEASE = "a" * 32
MARKUP = "Eve <script>alert(1)</script>"


@pytest.fixture(scope="module")
def owner(tmp_path_factory):
    return new_signing_identity(tmp_path_factory.mktemp("steward") / "signing.pem")


@pytest.fixture
def path(tmp_path, owner):
    path = tmp_path / "fundus.owner" / "ledger.jsonl"
    path.parent.mkdir()
    ledger = Ledger(path, owner)

    def key(name, **more):
        return KeyIssued(release_id=RELEASE, recipient=name, key_version=1, recipient_key_sha256="b" * 64,
                         key_sha256="c" * 64, images=5, **more)  # fmt: skip

    for event in (
        ReleaseCreated(release_id=RELEASE, manifest_sha256="d" * 64, images=5),
        RecipientAdded(recipient="Ada / Ward 4", recipient_key_sha256="b" * 64, organisation="St. Mary", purpose="x"),
        key("Ada / Ward 4"),
        key(MARKUP, expires_at=datetime.now(UTC) - timedelta(days=1)),
        KeyRevoked(release_id=RELEASE, recipient="Ada / Ward 4", key_version=1, reason="project ended"),
        TraceReported(release_id=RELEASE, evidence_sha256="e" * 64, images=2,
                      accused=(Accusation(recipient=MARKUP, false_accusation=2e-5),)),
    ):  # fmt: skip
        ledger.append(event, actor="Dr Owner", run_id="run1")
    return path


def page(path, owner=None, links=lambda run_id: None):
    keys = (owner.public,) if owner else ()
    settings = StewardSettings(ledgers=(path.parent.parent,), owner_keys=keys)
    return create_page(settings, frozenset({"localhost"}), links).test_client()


def html(client, address, status=200):
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    return answer.text


def test_the_overview_shows_states_recipients_traces_and_a_verified_ledger(path, owner):
    text = html(page(path, owner), "/ledgers/fundus/")
    assert "The ledger proves itself" in text and "6 events" in text
    assert text.count('class="badge revoked"') == 1 and text.count('class="badge expired"') == 1
    assert "project ended" in text and "St. Mary" in text and "2e-05" in text
    assert "No key was issued" not in text


def test_what_others_wrote_is_never_markup(path, owner):
    client = page(path, owner)
    for address in ("/", "/ledgers/fundus/", "/ledgers/fundus/events", f"/ledgers/fundus/copies/{RELEASE}"):
        assert "<script" not in html(client, address)
    assert "Eve &lt;script&gt;" in html(client, "/ledgers/fundus/")


def test_every_link_on_every_page_leads_somewhere(path, owner):
    client, seen, todo = page(path, owner), set(), ["/"]
    while todo:
        address = todo.pop()
        text = html(client, address)
        for part in text.split('href="')[1:]:
            link = part.split('"')[0].replace("&amp;", "&")
            if link.startswith("/") and link not in seen:
                seen.add(link)
                todo.append(link)
    assert len(seen) >= 14
    assert any(link.endswith("/recipients/Ada%20/%20Ward%204") for link in seen)


def test_a_rewritten_ledger_is_shown_as_at_fault(path, owner):
    client = page(path, owner)
    assert "proves itself" in html(client, "/ledgers/fundus/")
    path.write_bytes(path.read_bytes().replace(b"project ended", b"project begun"))
    text = html(client, "/ledgers/fundus/")
    assert "Do not rely on what is shown here" in text and "bad_signature" in text
    assert ">3 faults</span>" in html(client, "/")


def test_without_a_public_key_it_says_so(path):
    assert "Not verified" in html(page(path), "/ledgers/fundus/")
    assert "not verified" in html(page(path), "/")


def test_it_only_reads_and_only_ledgers(path, owner):
    (path.parent / "vault.age").write_text("secret vault")
    client = page(path, owner)
    absent = ("copies/none", "vault.age", "recipients/Nobody", "events?kind=odd", "events?page=9")
    for address in ("/ledgers/other/", "/ledgers/..%2F..%2Fetc/", *(f"/ledgers/fundus/{one}" for one in absent)):
        assert client.get(address).status_code == 404, address
    for method in (client.post, client.put, client.delete, client.patch):
        assert method("/ledgers/fundus/").status_code == 405


@pytest.mark.parametrize("address", ["/", "/ledgers/none/", "/favicon.ico"])
def test_headers_forbid_scripts_frames_and_caches(path, owner, address):
    headers = page(path, owner).get(address).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:5055", 200), ("localhost", 200), ("evil.example", 403), ("[::1]:80", 403)]
)
def test_foreign_host_names_are_refused(path, host, status):
    assert page(path).get("/", headers={"Host": host}).status_code == status


def test_json_holds_the_same_facts(path, owner):
    told = json.loads(html(page(path, owner), "/ledgers/fundus/overview.json"))
    assert [one["state"] for one in told["overview"]["holdings"]] == ["revoked", "expired"]
    assert told["verification"]["fault_count"] == 0
    assert json.loads(html(page(path), "/ledgers/fundus/overview.json"))["verification"] is None


def test_runs_are_linked_where_they_are_known(path, owner):
    assert 'href="http://m/run1"' in html(
        page(path, owner, lambda run_id: f"http://m/{run_id}"), "/ledgers/fundus/events"
    )


def test_many_events_are_paged(tmp_path, owner):
    ledger = Ledger(tmp_path / "long.owner" / "ledger.jsonl", owner)
    ledger.path.parent.mkdir()
    for number in range(101):
        ledger.append(RecipientAdded(recipient=f"R{number}", recipient_key_sha256="b" * 64), actor="o")
    client = page(ledger.path)
    first, second = (
        html(client, "/ledgers/long/events"),
        html(client, "/ledgers/long/events?page=2&kind=recipient.added"),
    )
    assert "Page 1 of 2" in first and ">R100<" not in second and "R0" in second


def test_names_are_told_apart_and_expiry_passes_without_a_change(tmp_path, path, owner):
    other = tmp_path / "deep" / "fundus.owner"
    other.mkdir(parents=True)
    (other / "ledger.jsonl").write_bytes(path.read_bytes())
    moment = [datetime.now(UTC)]
    shelf = LedgerShelf(StewardSettings(ledgers=(path, other)), clock=lambda: moment[0])
    assert list(shelf.names()) == ["fundus", "fundus (2)"]
    before = shelf.overview("fundus")
    assert shelf.overview("fundus") is before
    moment[0] += timedelta(seconds=61)
    assert shelf.overview("fundus") is not before


def test_no_ledger_and_no_setting_are_errors(tmp_path):
    with pytest.raises(LedgerError, match="no ledger there"):
        LedgerShelf(StewardSettings(ledgers=(tmp_path,))).names()
    with pytest.raises(SettingsError, match="MEDLOCKER_LEDGERS"):
        StewardSettings.from_environment({})


@pytest.mark.parametrize(("words", "said"), [
    (["ui", "missing"], "missing: no such file or folder"),
    (["ui", "."], "no ledger there"),
    (["ui", ".", "--owner-key", "none.pub"], "none.pub"),
])  # fmt: skip
def test_bad_input_is_named(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, words)
    assert done.exit_code in (1, 2) and said in done.output and "Traceback" not in done.output


@pytest.mark.slow
def test_inside_an_mlflow_server(tmp_path, path, owner):
    key = tmp_path / "owner.pub"
    key.write_text(owner.public.text + "\n")
    extra = {"MEDLOCKER_LEDGERS": str(path.parent), "MEDLOCKER_OWNER_KEYS": str(key)}
    with mlflow_server(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", app="medlocker", environment=extra) as server:

        def get(address):
            with urllib.request.urlopen(server.uri + address, timeout=30) as answer:
                return answer.read().decode()

        assert "fundus" in get("/medlocker/")
        assert "The ledger proves itself" in get("/medlocker/ledgers/fundus/")
        assert "<title>MLflow</title>" in get("/") or "mlflow" in get("/").lower()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get("/medlocker/ledgers/other/")
    assert os.environ.get("MEDLOCKER_LEDGERS") is None
