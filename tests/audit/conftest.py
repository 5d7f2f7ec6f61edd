"""Owners, and a ledger of six events."""

from __future__ import annotations

import pytest
from ledger_kit import fill, six_events

from medlocker.audit import Ledger
from medlocker.signing import new_signing_identity


@pytest.fixture(scope="session")
def owner(tmp_path_factory):
    return new_signing_identity(tmp_path_factory.mktemp("owner") / "signing.pem")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    return new_signing_identity(tmp_path_factory.mktemp("stranger") / "signing.pem")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def ledger(path, owner):
    return Ledger(path, owner)


@pytest.fixture
def heads(ledger):
    return fill(ledger, six_events())
