"""A further marked copy of a release: the same originals, other placements, another secret; no network is asked.

The originals come from the release itself, restored with the owner's vault, so that an owner need not keep them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

import medlocker
from medlocker.blending import Mark, Pixels, Placement, pixel_sha256, prepare_mark
from medlocker.errors import AlteredImageError, ImageReadError, MedLockerError, ReleaseError
from medlocker.imageio import IMAGE_SUFFIXES, StoredImage, read_image
from medlocker.keys import KeyImage, VaultDocument, VaultImage, decode_logo, restore_image, vault_key
from medlocker.keys.copies import MarkedCopy
from medlocker.marking import Destination, MarkedFile, make_marked
from medlocker.release import Outcome, ReleaseImage, ReleaseManifest, path_inside
from medlocker.workspace import FinishedImage, SavedImage, Workspace, load_job

KEPT_IN_MEMORY = 32
"""Originals that a loader remembers."""


class Originals:
    """The originals of a copy, one at a time, each checked against its digest.

    Args:
        copy: release or edition, with its opened vault.
        folder: of originals, looked into first: by the names of the release, as `unlock` writes them, or with another
            suffix. None for the copy alone.
    """

    def __init__(self, copy: MarkedCopy, folder: Path | None = None) -> None:
        key = vault_key(copy.vault)
        self._copy, self._folder, self._key = copy, folder, key
        self._images = {image.id: image for image in key.images}
        self._logo = decode_logo(copy.vault)
        self.pixels = lru_cache(maxsize=KEPT_IN_MEMORY)(self._pixels)

    def load(self, image_id: str) -> StoredImage:
        """One original, with the metadata that its marked copy has.

        Raises:
            ReleaseError: the marked image is missing or altered, and the original is not where it was looked for.
        """
        image = self._images[image_id]
        if self._folder is not None and (found := self._given(self._folder, image)):
            return found
        try:
            return restore_image(self._copy.folder, self._key, image)
        except MedLockerError as error:
            raise ReleaseError(
                f"{image_id}: its original cannot be restored from {self._copy.folder}", why=error.what,
                fix="repair that folder, or name a folder with the originals with --originals",
            ) from error  # fmt: skip

    def _pixels(self, image_id: str) -> Pixels:
        return self.load(image_id).pixels

    def mark(self, image_id: str) -> Mark:
        """The logo, scaled for one image."""
        image = self._images[image_id]
        return prepare_mark(
            self._logo, image.shape, np.dtype(image.dtype), logo_scale=image.logo_scale, rule=self._key.rule
        )

    def _given(self, folder: Path, image: KeyImage) -> StoredImage | None:
        named = path_inside(folder, image.file)
        for path in (named, *sorted(named.parent.glob(f"{_escaped(named.stem)}.*"))):
            if path.suffix.lower() not in IMAGE_SUFFIXES or not path.exists():
                continue
            try:
                found = read_image(path)
            except ImageReadError:
                continue
            if pixel_sha256(found.pixels) == image.original_sha256:
                return found
        return None


def make_copy(
    source: MarkedCopy,
    workspace: Workspace,
    placements: Mapping[str, Placement],
    originals: Originals,
    *,
    alternatives: bool,
    workers: int = 1,
    on_image: Callable[[int], None] | None = None,
) -> tuple[VaultDocument, ReleaseManifest, int]:
    """Mark every image of a release anew, at the placements named; a killed run goes on where it stopped.

    Args:
        source: the release, opened.
        workspace: of the copy, from `Workspace.start_or_resume`.
        placements: image id → α, x, y; one of the image's kept placements, or the released one.
        originals: of the source.
        alternatives: whether the copy's vault keeps the placements that the search kept.
        workers: threads.
        on_image: told the number of images just finished.

    Returns:
        Vault and manifest of the copy, neither written yet, and how many images an earlier run had finished.

    Raises:
        MedLockerError: an original cannot be restored, or a file cannot be written.
    """
    job = _Copying(source, workspace, placements, originals, alternatives)
    images, resumed = [], 0
    with ThreadPoolExecutor(workers) as pool:
        for saved, known in pool.map(job.copy, source.vault.images):
            images.append(saved)
            resumed += known
            if on_image:
                on_image(1)
    return _vault(source, workspace, images), _manifest(source, workspace, images), resumed


class _Copying:
    def __init__(
        self,
        source: MarkedCopy,
        workspace: Workspace,
        placements: Mapping[str, Placement],
        originals: Originals,
        alternatives: bool,
    ) -> None:
        self.workspace, self.placements, self.originals = workspace, placements, originals
        self.alternatives = alternatives
        self.public = {image.id: image for image in source.manifest.images}
        self.searched = _searched(source)

    def copy(self, image: VaultImage) -> tuple[SavedImage, bool]:
        """One image's record, and whether it had been there."""
        if (known := self.workspace.load_saved(image.id)) is not None:
            return known, True
        placement = self.placements[image.id]
        to = Destination(self.workspace.job.release_id, self.workspace.secret)
        original, mark = self.originals.load(image.id), self.originals.mark(image.id)
        if (original.pixels.shape, original.pixels.dtype.name) != (image.shape, image.dtype):
            raise AlteredImageError(f"{image.id}: the original has not the shape or type that the vault names")
        marked = make_marked(original, mark, placement, PurePosixPath(image.file), image.id, to)
        marked.write(self.workspace.release)
        saved = SavedImage(
            vault=_moved(image, placement, marked.sha256, self.alternatives),
            public=_public(self.public[image.id], image, placement, marked),
        )
        before = self.searched(image.id)
        if before is not None:
            saved = before.model_copy(update={"vault": saved.vault, "public": saved.public})
        # The record comes after its file, so that it vouches for it.
        self.workspace.save(image.id, saved)
        return saved, False


def _searched(source: MarkedCopy) -> Callable[[str], FinishedImage | None]:
    """What the search saw of each image, where the release's records are still there."""
    try:
        workspace = Workspace(source.folder, source.owner_dir, load_job(source.owner_dir), source.vault.secret)
    except MedLockerError:
        return lambda _image_id: None

    def load(image_id: str) -> FinishedImage | None:
        record = workspace.load_saved(image_id)
        return record if isinstance(record, FinishedImage) else None

    return load


def _moved(image: VaultImage, placement: Placement, marked_sha256: str, alternatives: bool) -> VaultImage:
    changed = placement._asdict() | {"marked_sha256": marked_sha256}
    return image.model_copy(update=changed if alternatives else changed | {"alternatives": ()})


def _public(before: ReleaseImage, image: VaultImage, placement: Placement, marked: MarkedFile) -> ReleaseImage:
    confidence, outcome = _reading(before, image, placement)
    return before.model_copy(
        update={
            "marked_sha256": marked.sha256,
            "packet_bytes": len(marked.packet),
            "file_bytes": len(marked.encoded),
            "outcome": outcome,
            "final_confidence": confidence,
            "queries": 0,
        }
    )


def _reading(before: ReleaseImage, image: VaultImage, placement: Placement) -> tuple[float, Outcome]:
    """What the sources made of a placement when the search tried it."""
    if placement == image.placement:
        return before.final_confidence, before.outcome
    tried = next(a for a in image.alternatives if Placement(a.alpha, a.x, a.y) == placement)
    if before.outcome == "clean_misread":
        return tried.confidence, "clean_misread"
    return tried.confidence, "fooled" if tried.fooled else "not_fooled"


def _vault(source: MarkedCopy, workspace: Workspace, images: list[SavedImage]) -> VaultDocument:
    return VaultDocument(
        release_id=workspace.job.release_id,
        created_at=workspace.job.created_at,
        secret=workspace.secret,
        logo=source.vault.logo,
        logo_sha256=source.vault.logo_sha256,
        rule=source.vault.rule,
        images=tuple(one.vault for one in images),
    )


def _manifest(source: MarkedCopy, workspace: Workspace, images: list[SavedImage]) -> ReleaseManifest:
    return source.manifest.model_copy(
        update={
            "release_id": workspace.job.release_id,
            "created_at": workspace.job.created_at.astimezone(UTC),
            "medlocker_version": medlocker.__version__,
            "images": tuple(one.public for one in images),
        }
    )


def _escaped(stem: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in stem)
