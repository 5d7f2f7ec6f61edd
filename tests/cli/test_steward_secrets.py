"""No answer of the steward's page holds a secret: every address it links to, headers and errors included."""

from __future__ import annotations

from pathlib import Path

import pytest
from secret_scan import find_secrets
from test_flow import lock

from medlocker.keys import load_identity, read_vault, vault_key
from medlocker.signing import read_public_keys
from medlocker_mlflow.steward import StewardSettings
from medlocker_mlflow.steward.app import create_page

BESIDE = (
    "vault.age", "job.json", "ledger.jsonl", "ledger.jsonl.head", "report.html", "records", "../owner.txt",
    "%2e%2e%2fowner.txt", "..%2fowner.txt", "overview.json%2f..%2fvault.age", "copies/..%2f..%2fvault.age",
)  # fmt: skip


@pytest.fixture
def needles(shell) -> list[bytes]:
    """An owner, a recipient, keys in each state; returns everything that must stay where it is."""
    lock(shell)
    public = shell("identity", "new", "--out", "me.txt").stdout.strip()
    words = ["--owner", "owner.txt", "--to", "Ada"]
    shell("key", "issue", "out", *words, "--recipient", public, "--out", "ada.key")
    shell("key", "reissue", "out", *words, "--reason", "moved", "--out", "ada2.key")
    shell("key", "revoke", "out", *words, "--reason", "left")
    shell("unlock", "out", "--identity", "owner.txt", "--out", "originals")
    vault = read_vault(Path("out.owner/vault.age"), load_identity(Path("owner.txt")))
    secret = [vault.secret, *(image.packet_key for image in vault_key(vault).images)]
    secret += [bytes.fromhex(image.original_sha256) for image in vault.images]
    secret += [f'"alpha":{i.alpha},"x":{i.x},"y":{i.y}'.encode() for i in vault.images]
    for name in ("owner.txt", "me.txt"):
        secret.append(Path(name).read_bytes().split()[-1])
    secret.append(Path("owner.txt.signing.pem").read_bytes().split(b"\n")[1])
    secret += [Path(name).read_bytes()[-48:] for name in ("ada.key", "ada2.key", "out.owner/vault.age")]
    return secret


def crawl(folder: Path, secret_header: str = "") -> int:
    """Save every answer the page gives below a folder; returns how many."""
    settings = StewardSettings(ledgers=(Path(),), owner_keys=tuple(read_public_keys("owner.txt.signing.pub")))
    client = create_page(settings, frozenset({"localhost"}), lambda run_id: f"/runs/{run_id}").test_client()
    seen: set[str] = set()
    todo = ["/", "/none", *(f"/ledgers/out/{name}" for name in BESIDE), *(f"/{name}" for name in BESIDE)]
    while todo:
        address = todo.pop()
        answer = client.get(address)
        head = f"{answer.status} {answer.headers}{secret_header}".encode()
        (folder / str(len(seen))).write_bytes(head + answer.data)
        seen.add(address)
        links = {part.split('"')[0].replace("&amp;", "&") for part in answer.text.split('href="')[1:]}
        todo += [link for link in links if link.startswith("/") and link not in seen and link not in todo]
    return len(seen)


def test_no_answer_holds_a_secret(needles: list[bytes], tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    folder.mkdir()
    assert crawl(folder) >= 2 * len(BESIDE) + 15
    assert b"superseded" in b"".join(path.read_bytes() for path in folder.iterdir())
    assert find_secrets(folder, needles) == []


def test_the_scan_would_find_one_in_a_header(needles: list[bytes], tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    folder.mkdir()
    crawl(folder, needles[0].hex())
    assert find_secrets(folder, needles)
