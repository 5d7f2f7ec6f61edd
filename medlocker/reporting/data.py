"""What a report is made from. Nothing in it tells where or how strongly one image was marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medlocker.metrics import AttackSuccess, GradeSuccess
from medlocker.release import Outcome, ReleaseManifest


@dataclass(frozen=True, eq=False)
class Sample:
    """One image of the contact sheet.

    Attributes:
        id: the record's id.
        label: name of the class to leave.
        outcome: what the sources made of the marked image.
        original: (H, W, 3) uint8.
        marked: (H, W, 3) uint8, same size.
        clean_confidence: the sources' mean probability of the class to leave, before marking.
        final_confidence: the same after marking.
    """

    id: str
    label: str
    outcome: Outcome
    original: npt.NDArray[np.uint8]
    marked: npt.NDArray[np.uint8]
    clean_confidence: float
    final_confidence: float


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything a report shows; a section whose data are empty or None is left out.

    Attributes:
        title: heading of the page.
        manifest: the release.
        settings: resolved settings, in the order to show them; nothing secret.
        samples: images of the contact sheet, about 24 at most.
        attack_success: cells of the attack success table.
        by_grade: attack success by class.
        clean_confidences: per image, in 0–1, before marking.
        final_confidences: per image, in 0–1, after marking.
        footprints: per image (x/W, y/H, w/W, h/H), in 0–1; only their sum over many images is shown.
        curve: mean probability of the class to leave after each generation, in 0–1.
        unlock_check: (restored bit for bit, tried), or None where it was not tried.
        notes: further remarks, one paragraph each.
        labelled: False where the sources' own clean prediction stands in for the label.
    """

    title: str
    manifest: ReleaseManifest
    settings: Mapping[str, object]
    samples: Sequence[Sample] = ()
    attack_success: Sequence[AttackSuccess] = ()
    by_grade: Sequence[GradeSuccess] = ()
    clean_confidences: Sequence[float] = ()
    final_confidences: Sequence[float] = ()
    footprints: Sequence[tuple[float, float, float, float]] = ()
    curve: Sequence[float] = ()
    unlock_check: tuple[int, int] | None = None
    notes: Sequence[str] = ()
    labelled: bool = True
