"""Which lesion masks a job keeps clear of: those the data set came with, or those a network draws."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medlocker.datasets import Dataset
from medlocker.errors import DatasetError
from medlocker.jobs.progress import Progress
from medlocker.planning import ANATOMY, MarkSettings
from medlocker.segmenting import Segmenter, mask_files, write_predicted_masks

MASKS_NAME = "masks"
"""Folder of predicted masks below the owner's folder."""


def kept_types(mark: MarkSettings) -> frozenset[str]:
    """Mask types that are no lesions, and stay where lesions are predicted."""
    return ANATOMY | frozenset(mark.protect)


def expecting_masks(dataset: Dataset, lesions: Sequence[str], owner_dir: Path, mark: MarkSettings) -> Dataset:
    """The data set with the files its predicted masks will have; nothing is drawn yet.

    Args:
        dataset: with the masks it came with.
        lesions: types the network draws.
        owner_dir: of the release.
        mark: names the types whose given masks stay.
    """
    kept, folder = kept_types(mark), (owner_dir / MASKS_NAME).absolute()
    return replace(
        dataset,
        records=tuple(
            replace(
                record,
                lesion_masks={kind: path for kind, path in record.lesion_masks.items() if kind in kept}
                | mask_files(lesions, folder, record.id),
            )
            for record in dataset.records
        ),
    )


def masked(
    dataset: Dataset, segmenter: Segmenter | None, owner_dir: Path, mark: MarkSettings, progress: Progress
) -> Dataset:
    """The data set with the masks that count: its own, or the files a network will draw; checked by `check_masks`."""
    if segmenter is not None:
        dataset = expecting_masks(dataset, segmenter.lesions, owner_dir, mark)
    check_masks(dataset, mark, progress)
    return dataset


def draw_masks(dataset: Dataset, segmenter: Segmenter, owner_dir: Path, progress: Progress) -> None:
    """Draw the lesions of every image into the owner's folder; an interrupted call continues."""
    with progress.stage(f"Drawing lesion masks with {segmenter.name}", len(dataset.records)) as advance:
        write_predicted_masks(dataset, segmenter, owner_dir / MASKS_NAME, on_image=advance)


def check_masks(dataset: Dataset, mark: MarkSettings, progress: Progress) -> None:
    """Refuse a placement that looks at masks where there are none: it would quietly be `anywhere`.

    Args:
        dataset: with the masks it came with.
        mark: placement and protected types.
        progress: told how many images count as healthy.

    Raises:
        DatasetError: no image has a mask of a lesion, or of a type that must stay free.
    """
    known = {kind for record in dataset.records for kind in record.lesion_masks}
    absent = [kind for kind in mark.protect if kind not in known]
    if absent:
        raise DatasetError(
            f"{dataset.root}: --keep-free {','.join(absent)}: no image has such a mask",
            why=f"masks were found for {', '.join(sorted(known)) or 'no type'}",
            fix="name the masks with --masks, or leave the type out",
        )
    kept = kept_types(mark)
    masked = sum(any(kind not in kept for kind in record.lesion_masks) for record in dataset.records)
    if mark.placement == "anywhere":
        return
    if not masked:
        raise DatasetError(
            f"{dataset.root}: --placement {mark.placement} needs lesion masks",
            why="no image of the data set has one",
            fix="name them with --masks DIR, or draw them with --masks predicted --segmenter NETWORK",
        )
    if masked < len(dataset.records):
        progress.say(f"{len(dataset.records) - masked} of {len(dataset.records)} images have no lesion mask: healthy")


def decisive_masks(dataset: Dataset, mark: MarkSettings, segmenter: Segmenter | None) -> dict[str, object]:
    """What about the masks decides a release; empty where no mask is looked at.

    Args:
        dataset: with the masks it came with.
        mark: placement and protected types.
        segmenter: draws the lesions; None where they are given.

    Raises:
        DatasetError: a mask cannot be read.
    """
    if mark.placement == "anywhere" and not mark.protect:
        return {}
    if segmenter is None:
        return {"masks": f"given, sha256:{_digest(dataset)}"}
    thresholds = dict(zip(segmenter.lesions, segmenter.thresholds, strict=True))
    return {"masks": f"predicted by {segmenter.fingerprint}", "mask_thresholds": thresholds}


def _digest(dataset: Dataset) -> str:
    digest = hashlib.sha256()
    for record in dataset.records:
        for kind, path in sorted(record.lesion_masks.items()):
            try:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                raise DatasetError(f"{path}: the mask cannot be read", why=error.strerror) from error
            digest.update(f"{record.id}\0{kind}\0{content}\n".encode())
    return digest.hexdigest()
