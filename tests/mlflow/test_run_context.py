from __future__ import annotations

import sys
from types import SimpleNamespace

import mlflow
import pytest
from mlflow_store import Store

import medlocker
from medlocker_mlflow.run_context import RELEASE_ID_VARIABLE, MedLockerContext


def test_a_bare_run_is_tagged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RELEASE_ID_VARIABLE, "ab" * 16)
    with mlflow.start_run():
        pass
    tags = store.only_run().data.tags
    assert tags["medlocker.version"] == medlocker.__version__
    assert tags["medlocker.release_id"] == "ab" * 16


def test_a_program_that_does_not_use_medlocker_is_not_tagged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "medlocker")
    assert not MedLockerContext().in_context()
    with mlflow.start_run():
        pass
    assert "medlocker.version" not in store.only_run().data.tags


@pytest.mark.parametrize("value", ["", "AGE-SECRET-KEY-1QQ", "ab" * 15, "ab" * 17, "AB" * 16])
def test_what_is_no_release_id_does_not_become_a_tag(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(RELEASE_ID_VARIABLE, value)
    assert set(MedLockerContext().tags()) == {"medlocker.version"}


@pytest.mark.parametrize("module", [None, SimpleNamespace(), SimpleNamespace(__version__=3)])
def test_it_never_raises(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    monkeypatch.setitem(sys.modules, "medlocker", module)
    monkeypatch.delenv(RELEASE_ID_VARIABLE, raising=False)
    assert MedLockerContext().tags() == {}
