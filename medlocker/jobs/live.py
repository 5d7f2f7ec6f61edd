"""Curves of a job that is still running, so that one who watches its run sees how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from medlocker.errors import TrackingError
from medlocker.jobs.progress import Progress
from medlocker.release import ReleaseImage
from medlocker.tracking import Tracker

SECONDS_BETWEEN = 5.0
"""Seconds between two points of a curve; the first image and the last always make one."""


class LiveCurve:
    """Images done, share fooled so far and pace, logged under `progress/…` with the number of images as the step.

    Args:
        tracker: where it is logged.
        progress: told once if the tracker refuses; the job itself goes on.
        clock: seconds; replaced in tests.
    """

    def __init__(self, tracker: Tracker, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self.fooled = self.right = self.done = 0
        self.queries = 0
        self._tracker, self._progress, self._clock = tracker, progress, clock
        self._started = clock()
        self._last = float("-inf")
        self._refused = False

    def image(self, done: int, total: int, public: ReleaseImage | None) -> None:
        """One image is finished, or was by an earlier run; None for one without a feasible placement."""
        self.done = done
        if public is not None:
            self.fooled += public.outcome == "fooled"
            self.right += public.outcome != "clean_misread"
        if done == total or self._clock() - self._last >= SECONDS_BETWEEN:
            self._log()

    def _log(self) -> None:
        self._last = self._clock()
        if self._refused:
            return
        elapsed = max(self._last - self._started, 1e-9)
        values = {"progress/images": float(self.done), "progress/queries_per_second": self.queries / elapsed}
        if self.right:
            values["progress/asr_so_far"] = self.fooled / self.right
        try:
            self._tracker.metrics(values, self.done)
        except TrackingError as error:
            # The work is worth more than its curve: the final figures are logged at the end, or that fails aloud.
            self._refused = True
            self._progress.say(f"the progress curve ends here: {error}")
