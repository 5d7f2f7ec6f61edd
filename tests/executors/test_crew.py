"""Who does what, and what is done again: the crew against hands that do as they are told."""

from __future__ import annotations

from collections import deque

import pytest

from medlocker.errors import DatasetError, ModelError, WorkerError
from medlocker.executors.base import Answer
from medlocker.executors.crew import MAX_ATTEMPTS, MAX_LOSSES, Done, Failed, Lost, Ready, run_crew


class ScriptedHands:
    """Squares what it is given, except where `plan` says what happens to a task instead."""

    def __init__(self, places=2, chunk=1, plan=None, starts=None):
        self.places, self.chunk, self.plan = places, chunk, plan or {}
        self.coming = deque(starts if starts is not None else [Ready(place) for place in range(places)])
        self.given: list[tuple[int, tuple]] = []
        self.closed = False

    def give(self, place, tasks):
        self.given.append((place, tasks))
        for task in tasks:
            happens = self.plan.get(task, [])
            if happens:
                self.coming.extend(event(place) for event in happens.pop(0))
                return
        self.coming.append(Done(place, Answer(tuple(task**2 for task in tasks))))

    def events(self, _timeout):
        return [self.coming.popleft()] if self.coming else []

    def waiting_for(self):
        return "nodes"

    def close(self):
        self.closed = True


def dies(place):
    return Lost(place, "killed")


def test_every_task_is_done_once_and_the_hands_are_let_go():
    hands = ScriptedHands()
    assert sorted(run_crew(hands, range(7), print)) == [0, 1, 4, 9, 16, 25, 36]
    assert sorted(task for _, tasks in hands.given for task in tasks) == list(range(7))
    assert hands.closed


def test_no_task_is_fine():
    assert list(run_crew(ScriptedHands(), [], print)) == []


def test_tasks_are_drawn_only_as_workers_come_free():
    drawn = []
    hands = ScriptedHands(places=2)
    results = run_crew(hands, (drawn.append(n) or n for n in range(100)), print)
    next(results)
    assert len(drawn) <= 3
    results.close()
    assert hands.closed


def test_what_a_lost_worker_was_at_goes_to_the_other():
    hands = ScriptedHands(plan={0: [[dies]]})
    said = []
    assert sorted(run_crew(hands, range(4), said.append)) == [0, 1, 4, 9]
    assert [place for place, tasks in hands.given if 0 in tasks] == [0, 1]
    assert said == ["a worker was lost and is replaced, 1 of the images are done again: killed"]


def test_a_replaced_worker_takes_part_again():
    hands = ScriptedHands(places=1, plan={1: [[dies, Ready]]})
    assert sorted(run_crew(hands, range(3), lambda _line: None)) == [0, 1, 4]


def test_a_loss_while_idle_costs_no_task():
    hands = ScriptedHands(starts=[Ready(0), Ready(1), Lost(1, "node gone")])
    said = []
    assert list(run_crew(hands, [3], said.append)) == [9]
    assert said == ["a worker was lost and is replaced: node gone"]


def test_chunks_are_whole_except_the_last():
    hands = ScriptedHands(places=1, chunk=3)
    assert sorted(run_crew(hands, range(7), print)) == [n * n for n in range(7)]
    assert [len(tasks) for _, tasks in hands.given] == [3, 3, 1]


def test_an_image_that_kills_every_worker_stops_the_job():
    hands = ScriptedHands(places=1, plan={2: [[dies, Ready]] * MAX_ATTEMPTS})
    with pytest.raises(WorkerError, match=r"keep dying.*killed.*memory"):
        list(run_crew(hands, range(4), lambda _line: None))
    assert hands.closed


def test_workers_that_never_start_stop_the_job():
    hands = ScriptedHands(places=2, starts=[dies(n % 2) for n in range(99)])
    with pytest.raises(WorkerError, match=f"{2 * MAX_LOSSES} in a row"):
        list(run_crew(hands, range(4), lambda _line: None))


def test_results_before_an_error_are_handed_over_first():
    hands = ScriptedHands(places=1, chunk=3)
    hands.plan = {0: [[lambda place: Done(place, Answer((0, 1), DatasetError("2.png: changed")))]]}
    got = []
    with pytest.raises(DatasetError, match=r"2\.png"):
        got.extend(result for result in run_crew(hands, range(3), print))
    results = run_crew(ScriptedHands(plan={0: [[lambda p: Done(p, Answer((0,), DatasetError("x")))]]}), [0], print)
    assert next(results) == 0
    with pytest.raises(DatasetError):
        next(results)


def test_a_worker_that_cannot_be_made_stops_the_job():
    hands = ScriptedHands(starts=[Failed(0, ModelError("no such network"))])
    with pytest.raises(ModelError, match="no such network"):
        list(run_crew(hands, [1], print))


def test_waiting_is_told():
    hands = ScriptedHands(places=1, starts=[])
    said = []

    def say(line):
        said.append(line)
        hands.coming.append(Ready(0))

    assert list(run_crew(hands, [3], say)) == [9]
    assert said == ["waiting for workers: nodes"]
