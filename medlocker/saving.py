"""From a search's result to a saved image: blend, seal, encode, check as a stranger would, write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from medlocker.blending import Pixels
from medlocker.datasets import Record
from medlocker.errors import ModelError
from medlocker.fitness import Ensemble
from medlocker.imageio import StoredImage, release_name
from medlocker.keys import Alternative, VaultImage
from medlocker.marking import Destination, make_marked
from medlocker.planning import Plan
from medlocker.querying import SearchResult
from medlocker.release import Outcome, ReleaseImage
from medlocker.workspace import FinishedImage, Workspace

CONFIDENCE_TOLERANCE = 1e-3
"""Largest allowed difference between the confidence the search saw and the one measured on the saved file."""


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image between its loading and its saving.

    Attributes:
        record: names it.
        image: as stored, with metadata.
        plan: its mark and feasible placements.
        label: the class to leave.
        clean_prediction: class the sources give the clean image.
        clean_confidence: mean probability of `label`, before marking.
    """

    record: Record
    image: StoredImage
    plan: Plan
    label: int
    clean_prediction: int
    clean_confidence: float


def save_marked(loaded: LoadedImage, result: SearchResult, workspace: Workspace, ensemble: Ensemble) -> FinishedImage:
    """Mark one image with the best placement found and write it; its record is the caller's to put down.

    Args:
        loaded: the original.
        result: what the search found.
        workspace: where it goes.
        ensemble: reads the file that will be saved.

    Returns:
        What is known of the image.

    Raises:
        ModelError: the sources read the saved file otherwise than the search did.
        ReleaseError: the file cannot be written, or does not hold the marked pixels.
    """
    name = release_name(loaded.record.relative_path)
    destination = Destination(workspace.job.release_id, workspace.secret)
    marked = make_marked(loaded.image, loaded.plan.mark, result.best.placement, name, loaded.record.id, destination)
    final = _read_again(marked.pixels, loaded, result, ensemble)
    marked.write(workspace.release, writer=workspace.writer)
    public = ReleaseImage(
        id=loaded.record.id,
        file=name.as_posix(),
        marked_sha256=marked.sha256,
        packet="embedded" if marked.embedded else "sidecar",
        packet_bytes=len(marked.packet),
        file_bytes=len(marked.encoded),
        outcome=_outcome(loaded, int(final.argmax())),
        clean_confidence=loaded.clean_confidence,
        final_confidence=rounded(final[loaded.label]),
        queries=result.queries,
    )
    return FinishedImage(
        vault=_vault_image(loaded, result, name, public.marked_sha256),
        public=public,
        label=loaded.label,
        clean_prediction=loaded.clean_prediction,
        curve=result.curve,
    )


def _read_again(
    saved: Pixels, loaded: LoadedImage, result: SearchResult, ensemble: Ensemble
) -> npt.NDArray[np.float32]:
    """Read what will be saved as a stranger would; the search's own figure must agree."""
    final: npt.NDArray[np.float32] = ensemble.read(saved).numpy()
    if abs(float(final[loaded.label]) - result.best.confidence) > CONFIDENCE_TOLERANCE:
        raise ModelError(
            f"{loaded.record.id}: the search saw confidence {result.best.confidence:.4f}, "
            f"the saved file gives {float(final[loaded.label]):.4f}",
            why="the sources are not deterministic enough",
        )
    return final


def _vault_image(loaded: LoadedImage, result: SearchResult, name: PurePosixPath, marked_sha256: str) -> VaultImage:
    alpha, x, y = result.best.placement
    return VaultImage(
        id=loaded.record.id,
        file=name.as_posix(),
        shape=loaded.image.pixels.shape,
        dtype=loaded.image.pixels.dtype.name,
        logo_scale=loaded.plan.logo_scale,
        alpha=alpha,
        x=x,
        y=y,
        original_sha256=loaded.record.pixel_sha256,
        marked_sha256=marked_sha256,
        alternatives=tuple(
            Alternative(**a.placement._asdict(), confidence=a.confidence, fooled=a.fooled) for a in result.alternatives
        ),
    )


def _outcome(loaded: LoadedImage, final_prediction: int) -> Outcome:
    if loaded.clean_prediction != loaded.label:
        return "clean_misread"
    return "fooled" if final_prediction != loaded.label else "not_fooled"


def rounded(probability: float) -> float:
    """A probability as it is written down: six decimals, never outside 0–1."""
    return min(1.0, max(0.0, round(float(probability), 6)))
