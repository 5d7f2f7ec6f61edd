"""Check a release without any secret."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from medlocker.errors import MedLockerError
from medlocker.keys.reading import missing_packet, read_marked
from medlocker.recovery import PACKET_SUFFIX, PacketContext, check_packet
from medlocker.release import MANIFEST_NAME, ReleaseImage, ReleaseManifest, load_manifest


class VerifiedImage(BaseModel):
    """What was found of one image.

    Attributes:
        id: the record's id.
        file: path below the release folder.
        error: the error's class, where there was one.
        message: what is wrong; empty where nothing is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    file: str
    error: str | None = None
    message: str = ""


class VerifyReport(BaseModel):
    """What was found of a release.

    Attributes:
        release_id: of the release.
        images: one per released image, in the manifest's order.
        extra_files: files that are not part of the release, posix paths below its folder; they are named, but do not
            make it faulty: a report or a note may lie beside the images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    images: tuple[VerifiedImage, ...]
    extra_files: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every image is as released."""
        return all(image.error is None for image in self.images)


def verify_release(release_dir: Path) -> VerifyReport:
    """Check that every image is there, holds the released pixels and carries a packet of its own.

    This needs no key, and so cannot show that a packet opens, nor that the manifest is the owner's.

    Args:
        release_dir: the release.

    Returns:
        What was found.

    Raises:
        ReleaseError: the manifest is missing or not valid.
    """
    manifest = load_manifest(release_dir)
    images = tuple(_verified(release_dir, manifest.release_id, image) for image in manifest.images)
    return VerifyReport(
        release_id=manifest.release_id, images=images, extra_files=tuple(sorted(_extra_files(release_dir, manifest)))
    )


def _verified(release_dir: Path, release_id: str, image: ReleaseImage) -> VerifiedImage:
    try:
        marked = read_marked(release_dir, image.file, image.marked_sha256)
        if marked.packet is None:
            raise missing_packet(image.file)
        check_packet(marked.packet, PacketContext(release_id, image.id, image.marked_sha256))
    except MedLockerError as error:
        return VerifiedImage(id=image.id, file=image.file, error=type(error).__name__, message=str(error))
    return VerifiedImage(id=image.id, file=image.file)


def _extra_files(release_dir: Path, manifest: ReleaseManifest) -> Iterator[str]:
    expected = {MANIFEST_NAME, *(image.file for image in manifest.images)}
    expected |= {image.file + PACKET_SUFFIX for image in manifest.images if image.packet == "sidecar"}
    for folder, _, names in os.walk(release_dir):
        for name in names:
            file = (Path(folder) / name).relative_to(release_dir).as_posix()
            if file not in expected:
                yield file
