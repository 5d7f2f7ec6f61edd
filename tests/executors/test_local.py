"""Work in this process, in threads and in processes of this machine."""

from __future__ import annotations

import os
import pickle
from contextlib import closing

import pytest
from recipes import SECRET, Squaring

from medlocker import errors
from medlocker.errors import DatasetError, MedLockerError, ModelError, WorkerError
from medlocker.executors import InProcess, Threads
from medlocker.executors.processes import Processes

SQUARES = [(n, n * n) for n in range(12)]


@pytest.fixture(params=["in process", "threads", "processes"])
def executor(request):
    if request.param == "processes":
        with closing(Processes(2, 1, print)) as processes:
            yield processes
    else:
        yield InProcess() if request.param == "in process" else Threads(3)


def test_every_task_is_done(executor, tmp_path):
    assert sorted(executor.run(Squaring(tmp_path), SECRET, range(12))) == SQUARES


def test_an_error_keeps_its_words(executor, tmp_path):
    with pytest.raises(DatasetError) as caught:
        list(executor.run(Squaring(tmp_path, refuses=2), SECRET, range(4)))
    assert str(caught.value) == "2.png: its pixels changed. someone edited it. restore the file."


def test_memory_that_runs_out_is_an_error_with_advice(executor, tmp_path):
    if isinstance(executor, Threads):
        pytest.skip("threads decode images; they run no network")
    with pytest.raises(WorkerError, match=r"memory ran out.*--batch-size"):
        list(executor.run(Squaring(tmp_path, exhausted=2), SECRET, range(4)))


def test_threads_keep_the_order(tmp_path):
    assert list(Threads(3).run(Squaring(tmp_path), SECRET, range(12))) == SQUARES


def test_processes_share_the_work_and_stay_for_the_next_part(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    with closing(Processes(2, 1, print)) as executor:
        list(executor.run(Squaring(first, together=2), SECRET, range(12)))
        list(executor.run(Squaring(second, together=2), SECRET, range(12)))
    workers = {p.name for p in first.iterdir()}
    assert len(workers) == 2
    assert f"by-{os.getpid()}" not in workers
    assert {p.name for p in second.iterdir()} == workers


def test_killed_processes_are_replaced(tmp_path):
    said = []
    with closing(Processes(2, 1, said.append)) as executor:
        assert sorted(executor.run(Squaring(tmp_path, dies_at=(3, 7)), SECRET, range(12))) == SQUARES
    assert len(said) == 2
    assert all("SIGKILL, as the system does when memory runs out" in line for line in said)


def test_a_worker_that_cannot_be_made_is_told_once(tmp_path):
    with closing(Processes(2, 1, print)) as executor, pytest.raises(ModelError, match="no such file"):
        list(executor.run(Squaring(tmp_path, absent=True), SECRET, range(12)))


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MedLockerError)]
)
def test_errors_survive_a_journey_between_processes(kind):
    error = kind("a.png: odd", why="because", fix="mend it")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (back.what, back.why, back.fix) == ("a.png: odd", "because", "mend it")
