"""Check a release without any secret."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from medlocker.errors import MedLockerError
from medlocker.executors import Executor, InProcess
from medlocker.keys.reading import missing_packet, read_marked
from medlocker.keys.release_signature import SIGNATURE_NAME, check_signature
from medlocker.keys.revocations import REVOCATIONS_NAME
from medlocker.recovery import PACKET_SUFFIX, PacketContext, check_packet
from medlocker.release import MANIFEST_NAME, ReleaseImage, ReleaseManifest, load_manifest
from medlocker.signing import PublicKey


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
        signed: whether the release carries a signature; it is checked where there is one, and must be there where the
            owner's key was given.
        extra_files: files that are not part of the release, posix paths below its folder; they are named, but do not
            make it faulty: a report or a note may lie beside the images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    images: tuple[VerifiedImage, ...]
    signed: bool
    extra_files: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every image is as released."""
        return all(image.error is None for image in self.images)


def verify_release(
    release_dir: Path,
    owner_keys: Sequence[PublicKey] = (),
    *,
    executor: Executor | None = None,
    on_image: Callable[[VerifiedImage], None] | None = None,
) -> VerifyReport:
    """Check that every image is there, holds the released pixels and carries a packet of its own.

    This needs no secret, and so cannot show that a packet opens. Without the owner's public key it cannot show whose
    the manifest is either.

    Args:
        release_dir: the release.
        owner_keys: public keys known to be the owner's.
        executor: has the images worked on; None for this thread.
        on_image: told of each image as it is done.

    Returns:
        What was found.

    Raises:
        ReleaseError: the manifest is missing or not valid, or is not what the owner signed.
    """
    manifest = load_manifest(release_dir)
    statement = check_signature(release_dir, owner_keys)
    found: dict[str, VerifiedImage] = {}
    recipe = Verifying(release_dir, manifest.release_id)
    for image in (executor or InProcess()).run(recipe, b"", manifest.images):
        found[image.id] = image
        if on_image:
            on_image(image)
    return VerifyReport(
        release_id=manifest.release_id,
        images=tuple(found[image.id] for image in manifest.images),
        signed=statement is not None,
        extra_files=tuple(sorted(_extra_files(release_dir, manifest))),
    )


@dataclass(frozen=True)
class Verifying:
    """Makes workers that check images of a release; there is no secret in it.

    Attributes:
        release_dir: the release.
        release_id: of the release.
        chunk: see `Recipe`.
    """

    release_dir: Path
    release_id: str
    chunk: int = 1

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process."""
        return {**self.__dict__, "release_dir": self.release_dir.absolute()}

    def worker(self, _secret: bytes) -> _Verifier:
        """A worker."""
        return _Verifier(self)


@dataclass(frozen=True)
class _Verifier:
    recipe: Verifying

    def run(self, tasks: Iterable[ReleaseImage]) -> Iterator[VerifiedImage]:
        for image in tasks:
            yield _verified(self.recipe.release_dir, self.recipe.release_id, image)


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
    expected = {MANIFEST_NAME, SIGNATURE_NAME, REVOCATIONS_NAME, *(image.file for image in manifest.images)}
    expected |= {image.file + PACKET_SUFFIX for image in manifest.images if image.packet == "sidecar"}
    for folder, _, names in os.walk(release_dir):
        for name in names:
            file = (Path(folder) / name).relative_to(release_dir).as_posix()
            if file not in expected:
                yield file
