"""Curves while a job runs."""

from __future__ import annotations

from types import SimpleNamespace

from medlocker.errors import TrackingError
from medlocker.jobs.live import LiveCurve
from medlocker.jobs.progress import SilentProgress
from medlocker.tracking import NullTracker


class Recorder(NullTracker):
    def __init__(self, refuse: bool = False) -> None:
        self.points: list[tuple[int | None, dict[str, float]]] = []
        self.refuse = refuse
        self.asked = 0

    def metrics(self, values, step=None):
        self.asked += 1
        if self.refuse:
            raise TrackingError("gone")
        self.points.append((step, dict(values)))


class Listener(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line):
        self.lines.append(line)


def run(tracker, progress, outcomes, seconds_an_image):
    now = [0.0]
    live = LiveCurve(tracker, progress, clock=lambda: now[0])
    for done, outcome in enumerate(outcomes, start=1):
        now[0] += seconds_an_image
        live.queries += 10
        live.image(done, len(outcomes), SimpleNamespace(outcome=outcome) if outcome else None)


def test_points_come_at_most_every_five_seconds_and_at_the_end():
    tracker = Recorder()
    run(tracker, SilentProgress(), ["fooled", "not_fooled", "clean_misread", None, "fooled", "fooled"], 2)
    assert [step for step, _ in tracker.points] == [1, 4, 6]
    assert [p["progress/asr_so_far"] for _, p in tracker.points] == [1.0, 0.5, 0.75]
    assert [p["progress/queries_per_second"] for _, p in tracker.points] == [5.0, 5.0, 5.0]


def test_before_any_image_counts_there_is_no_rate():
    tracker = Recorder()
    run(tracker, SilentProgress(), ["clean_misread"], 1)
    assert "progress/asr_so_far" not in tracker.points[0][1]


def test_a_store_that_refuses_ends_the_curve_and_not_the_job():
    tracker, listener = Recorder(refuse=True), Listener()
    run(tracker, listener, ["fooled"] * 4, 9)
    assert tracker.asked == 1
    assert listener.lines == ["the progress curve ends here: gone."]
