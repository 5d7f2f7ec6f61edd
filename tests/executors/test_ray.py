"""Work in Ray actors, on one Ray of this machine that all tests share."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import fakes
import numpy as np
import pytest
import recipes
from fakes import LinearClassifier, bright_corner
from PIL import Image
from recipes import SECRET, Squaring
from secret_scan import find_secrets

from medlocker.blending import load_logo
from medlocker.datasets import DatasetSpec, open_dataset
from medlocker.errors import DatasetError, ModelError, SettingsError, WorkerError
from medlocker.fitness import Ensemble
from medlocker.keys import new_identity, unlock_release, vault_key, verify_release
from medlocker.keys.vault import read_vault
from medlocker.protecting import ProtectSettings, decisive_settings, protect
from medlocker.search import SearchSettings
from medlocker.workspace import Workspace

ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed: pip install 'medlocker[ray]'")

from medlocker.executors.ray import connected, ray_actors  # noqa: E402  (needs Ray)

for module in (fakes, recipes):
    ray.cloudpickle.register_pickle_by_value(module)  # no worker could import it

SQUARES = [(n, n * n) for n in range(12)]
SETTINGS = ProtectSettings(search=SearchSettings(population=6, generations=1), keep=3, batch_size=16)


@pytest.fixture(scope="session")
def here():
    with connected(None, 2):
        yield


@pytest.fixture
def actors(here):
    with ray_actors(None, 2, 1, print) as actors:
        yield actors


def test_ray_does_not_take_over_what_a_signal_means(here):
    # Its own handler would end a job with code 15, and the job's run as failed instead of killed.
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_every_task_is_done_and_actors_stay_for_the_next_part(actors, tmp_path):
    workers = []
    for part in ("1", "2"):
        (tmp_path / part).mkdir()
        assert sorted(actors.run(Squaring(tmp_path / part, together=2), SECRET, range(12))) == SQUARES
        workers.append({p.name for p in (tmp_path / part).iterdir()})
    assert workers[0] == workers[1]
    assert len(workers[0]) == 2
    assert f"by-{os.getpid()}" not in workers[0]


def test_killed_actors_are_replaced_and_get_the_secret_again(here, tmp_path):
    said = []
    with ray_actors(None, 2, 1, said.append) as actors:
        assert sorted(actors.run(Squaring(tmp_path, dies_at=(3, 7)), SECRET, range(12))) == SQUARES
    assert len(said) == 2
    assert all(line.startswith("a worker was lost and is replaced, 1 of the images are done again") for line in said)


@pytest.mark.slow
def test_a_task_that_kills_every_actor_stops_the_job(actors, tmp_path):
    with pytest.raises(WorkerError, match="keep dying"):
        list(actors.run(Squaring(tmp_path, dies_at=(3,), always=True), SECRET, range(4)))


def test_errors_keep_their_words(actors, tmp_path):
    with pytest.raises(DatasetError) as caught:
        list(actors.run(Squaring(tmp_path, refuses=2), SECRET, range(4)))
    assert str(caught.value) == "2.png: its pixels changed. someone edited it. restore the file."
    with pytest.raises(ModelError, match=r"net\.safetensors"):
        list(actors.run(Squaring(tmp_path, absent=True), SECRET, range(4)))
    with pytest.raises(WorkerError, match="memory ran out"):
        list(actors.run(Squaring(tmp_path, exhausted=1), SECRET, range(4)))


def test_a_cluster_without_room_is_refused(here):
    with pytest.raises(SettingsError, match="2 cores"), ray_actors(None, 1, 64, print):
        pass


def test_another_version_on_a_node_is_named(actors, tmp_path, monkeypatch):
    monkeypatch.setattr("medlocker.__version__", "0.0.1")
    with pytest.raises(WorkerError, match="install the same version on every node"):
        list(actors.run(Squaring(tmp_path), SECRET, range(4)))


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "medlocker.executors.ray")
    with pytest.raises(SettingsError, match=r"pip install 'medlocker\[ray\]'"):
        import medlocker.executors.ray  # noqa: F401


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_release_made_with_ray_is_the_same_and_leaks_no_secret(actors, tmp_path):
    """Marked on Ray and here: the same bytes. What Ray keeps on disk and in shared memory holds none of the secrets."""
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for name in "abcd":
        pixels = rng.integers(60, 256, (48, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / f"{name}.png")
    owner = new_identity(tmp_path / "owner.txt")
    dataset = open_dataset(DatasetSpec(root=tmp_path / "data", layout="plain"))
    ensemble, logo = Ensemble([LinearClassifier(bright_corner(gain=0.02), bias=1.0)]), load_logo()

    def begin(out: Path) -> Workspace:
        decisive = decisive_settings(dataset, ensemble, logo, SETTINGS)
        return Workspace.start_or_resume(out, out.with_name(out.name + ".owner"), owner, decisive, {})

    begin(tmp_path / "here")
    for name in ("here", "here.owner"):
        shutil.copytree(tmp_path / name, tmp_path / name.replace("here", "ray"))
    workspace = begin(tmp_path / "ray")
    protect(dataset, ensemble, logo, SETTINGS, workspace, owner, None, actors)
    protect(dataset, ensemble, logo, SETTINGS, begin(tmp_path / "here"), owner)
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")
    key = vault_key(read_vault(workspace.vault_path, owner))
    assert unlock_release(tmp_path / "ray", key, tmp_path / "originals", executor=actors).complete
    assert len(contents(tmp_path / "originals")) == 4
    assert verify_release(tmp_path / "ray", executor=actors).ok
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    secrets = [workspace.secret, *(image.packet_key for image in key.images)]
    assert list(session.rglob("*.log"))
    assert find_secrets(session, secrets) == []


@pytest.mark.slow
def test_a_lost_node_costs_only_its_images(tmp_path):
    from ray.cluster_utils import Cluster

    if ray.is_initialized():
        ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    said = []
    try:
        with ray_actors(cluster.address, 2, 1, said.append) as actors:
            results = actors.run(Squaring(tmp_path, together=2, seconds=0.25), SECRET, range(24))
            got = [next(results) for _ in range(4)]
            cluster.remove_node(nodes[0], allow_graceful=False)
            got += list(results)
    finally:
        cluster.shutdown()
    assert sorted(got) == [(n, n * n) for n in range(24)]
    assert len(said) == 1


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_does_not_answer_is_named_at_once(address):
    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(WorkerError, match="cannot be reached"), ray_actors(address, 1, 1, print):
        pass
