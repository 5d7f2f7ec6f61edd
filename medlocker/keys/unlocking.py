"""Restore the originals of a release."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from medlocker.blending import Logo, Mark, Pixels, estimate_original, pixel_sha256, prepare_mark
from medlocker.errors import (
    ImageReadError,
    MedLockerError,
    MissingPacketError,
    SettingsError,
    UnlockError,
    WrongKeyError,
)
from medlocker.executors import Executor, InProcess
from medlocker.imageio import StoredImage, encode_image, new_writer, read_image, sweep_partials, write_atomic
from medlocker.keys.documents import KeyDocument, KeyImage, decode_logo
from medlocker.keys.losses import Loss, expected_loss
from medlocker.keys.reading import MarkedImage, missing_packet, read_marked
from medlocker.recovery import PacketContext, restore
from medlocker.release import load_manifest, path_inside


class UnlockedImage(BaseModel):
    """What became of one image.

    Attributes:
        id: the record's id.
        file: path below the folder of the originals.
        status: `restored` bit for bit, `lossy` by Eq. 9 alone, or `failed`.
        skipped: it lay there already, bit for bit.
        error: the error's class, where there was one.
        message: what happened; empty for a restored image.
        expected_inexact: share of the image's pixels expected to differ, 0–1; None unless lossy.
        expected_psnr: dB; None unless lossy.
        worst_psnr: dB; None unless lossy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    file: str
    status: Literal["restored", "lossy", "failed"]
    skipped: bool = False
    error: str | None = None
    message: str = ""
    expected_inexact: float | None = None
    expected_psnr: float | None = None
    worst_psnr: float | None = None


class UnlockReport(BaseModel):
    """What became of a release.

    Attributes:
        release_id: of the release.
        images: one per image of the key, in its order.
        not_in_key: ids of released images that the key does not cover.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    images: tuple[UnlockedImage, ...]
    not_in_key: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether no image failed."""
        return all(image.status != "failed" for image in self.images)


def unlock_release(
    release_dir: Path,
    key: KeyDocument,
    out_dir: Path,
    *,
    lossy: bool = False,
    executor: Executor | None = None,
    on_image: Callable[[UnlockedImage], None] | None = None,
) -> UnlockReport:
    """Restore every image that a key covers; one that fails does not stop the others.

    Images that lie in `out_dir` bit for bit are not done again, so that a stopped run goes on with the same command. A
    file that differs is never overwritten.

    Args:
        release_dir: the marked images.
        key: opened.
        out_dir: for the originals; same names, lossless.
        lossy: where a recovery packet is missing, estimate by Eq. 9.
        executor: has the images worked on; None for this thread.
        on_image: told of each image as it is done.

    Returns:
        What became of each image.

    Raises:
        ReleaseError: the release has no valid manifest.
        WrongKeyError: the key is for another release.
        SettingsError: `out_dir` lies in the release.
        LogoError: the key's logo is damaged.
    """
    manifest = load_manifest(release_dir)
    _check_release(key, manifest.release_id, release_dir)
    if out_dir.resolve().is_relative_to(release_dir.resolve()):
        raise SettingsError(f"{out_dir}: lies in the release", fix="choose a folder outside of it for the originals")
    decode_logo(key)  # A damaged logo is told of before anything is begun.
    unlocking = Unlocking(key, release_dir, out_dir, lossy)
    done: dict[str, UnlockedImage] = {}
    for image in (executor or InProcess()).run(unlocking, key_secret(key), range(len(key.images))):
        done[image.id] = image
        if on_image:
            on_image(image)
    sweep_partials(out_dir, [image.file for image in key.images])
    covered = {image.id for image in key.images}
    return UnlockReport(
        release_id=key.release_id,
        images=tuple(done[image.id] for image in key.images),
        not_in_key=tuple(image.id for image in manifest.images if image.id not in covered),
    )


def restore_image(release_dir: Path, key: KeyDocument, image: KeyImage) -> StoredImage:
    """Restore one image in memory and check it against its digest.

    Args:
        release_dir: the marked images.
        key: opened.
        image: one of the key's.

    Returns:
        The original pixels, with the marked file's metadata.

    Raises:
        ImageReadError: the file is missing, truncated or damaged.
        AlteredImageError: its pixels are not those that were released.
        MissingPacketError: it carries no recovery packet.
        CorruptPacketError: the packet is damaged, or another image's.
        WrongKeyError: the packet was sealed under another key.
    """
    marked = read_marked(release_dir, image.file, image.marked_sha256)
    return _restored(marked, _mark(marked, key, decode_logo(key), image), key.release_id, image)


def _mark(marked: MarkedImage, key: KeyDocument, logo: Logo, image: KeyImage) -> Mark:
    pixels = marked.image.pixels
    return prepare_mark(logo, pixels.shape, pixels.dtype, logo_scale=image.logo_scale, rule=key.rule)


def _restored(marked: MarkedImage, mark: Mark, release_id: str, image: KeyImage) -> StoredImage:
    if marked.packet is None:
        raise missing_packet(image.file)
    context = PacketContext(release_id, image.id, image.marked_sha256)
    pixels = restore(marked.image.pixels, mark, image.placement, marked.packet, image.packet_key, context)
    if pixel_sha256(pixels) != image.original_sha256:
        raise UnlockError(f"{image.file}: the restored pixels are not the original", why="the key is inconsistent")
    return StoredImage(pixels, marked.image.metadata)


def _check_release(key: KeyDocument, release_id: str, release_dir: Path) -> None:
    if key.release_id != release_id:
        raise WrongKeyError(
            f"{release_dir}: the key is for release {key.release_id}, this is {release_id}",
            fix="ask the owner for a key to this release",
        )


def key_secret(key: KeyDocument) -> bytes:
    """An opened key as the secret of an `Unlocking` or a `Restoring`."""
    return key.model_dump_json().encode()


@dataclass(frozen=True, eq=False)
class _WithKey:
    """What needs a key: the one at hand in this process, elsewhere the one that comes as a worker's secret."""

    key: KeyDocument
    release_dir: Path

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "key": None, "release_dir": self.release_dir.absolute()}

    def key_for(self, secret: bytes) -> KeyDocument:
        """The key that a worker uses."""
        at_hand: KeyDocument | None = self.key
        return at_hand or KeyDocument.model_validate_json(secret)


@dataclass(frozen=True, eq=False)
class Unlocking(_WithKey):
    """Makes workers that unlock images; their secret is the key, their tasks are numbers of its images.

    Attributes:
        key: opened; it does not travel with the recipe.
        release_dir: the marked images.
        out_dir: for the originals.
        lossy: where a recovery packet is missing, estimate by Eq. 9.
        chunk: see `Recipe`; no network runs, so a GPU changes nothing.
    """

    out_dir: Path
    lossy: bool
    chunk: int = 1

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process."""
        return {**super().__getstate__(), "out_dir": self.out_dir.absolute()}

    def worker(self, secret: bytes) -> _Unlocker:
        """A worker."""
        key = self.key_for(secret)
        return _Unlocker(self.release_dir, key, decode_logo(key), self.out_dir, self.lossy, new_writer())


@dataclass(frozen=True, eq=False)
class Restoring(_WithKey):
    """Makes workers that restore images in memory only; secret and tasks are those of `Unlocking`.

    Attributes:
        key: opened; it does not travel with the recipe.
        release_dir: the marked images.
        chunk: see `Recipe`.
    """

    chunk: int = 1

    def worker(self, secret: bytes) -> _Restorer:
        """A worker; it gives what is wrong with each image, None where it comes back bit for bit."""
        return _Restorer(self.release_dir, self.key_for(secret))


@dataclass(frozen=True, eq=False)
class _Restorer:
    release_dir: Path
    key: KeyDocument

    def run(self, tasks: Iterable[int]) -> Iterator[str | None]:
        for number in tasks:
            try:
                restore_image(self.release_dir, self.key, self.key.images[number])
            except MedLockerError as error:
                yield str(error)
            else:
                yield None


@dataclass(frozen=True, eq=False)
class _Unlocker:
    release_dir: Path
    key: KeyDocument
    logo: Logo
    out_dir: Path
    lossy: bool
    writer: str

    def run(self, tasks: Iterable[int]) -> Iterator[UnlockedImage]:
        for number in tasks:
            yield self.unlock(self.key.images[number])

    def unlock(self, image: KeyImage) -> UnlockedImage:
        try:
            target = path_inside(self.out_dir, image.file)
            if _digest_of(target) == image.original_sha256:
                return UnlockedImage(id=image.id, file=image.file, status="restored", skipped=True)
            return self._unlock_to(target, image)
        except MedLockerError as error:
            return UnlockedImage(
                id=image.id, file=image.file, status="failed", error=type(error).__name__, message=str(error)
            )

    def _unlock_to(self, target: Path, image: KeyImage) -> UnlockedImage:
        marked = read_marked(self.release_dir, image.file, image.marked_sha256)
        mark = _mark(marked, self.key, self.logo, image)
        try:
            self._write(target, _restored(marked, mark, self.key.release_id, image))
        except MissingPacketError as error:
            if not self.lossy:
                raise
            return self._estimate(target, marked, mark, image, error)
        return UnlockedImage(id=image.id, file=image.file, status="restored")

    def _estimate(
        self, target: Path, marked: MarkedImage, mark: Mark, image: KeyImage, error: MissingPacketError
    ) -> UnlockedImage:
        pixels = estimate_original(marked.image.pixels, mark, image.placement)
        self._write(target, StoredImage(pixels, marked.image.metadata))
        if pixel_sha256(pixels) == image.original_sha256:
            return UnlockedImage(id=image.id, file=image.file, status="restored")
        loss = expected_loss(marked.image.pixels, pixels, mark, image.placement)
        return UnlockedImage(
            id=image.id,
            file=image.file,
            status="lossy",
            error=type(error).__name__,
            message=f"{image.file}: restored inexactly, its recovery packet is missing; {_in_words(loss)}.",
            expected_inexact=loss.inexact,
            expected_psnr=loss.expected_psnr,
            worst_psnr=loss.worst_psnr,
        )

    def _write(self, target: Path, image: StoredImage) -> None:
        if target.exists():
            _check_same(target, image.pixels)
        else:
            write_atomic(target, encode_image(image, target.suffix), writer=self.writer)


def _in_words(loss: Loss) -> str:
    return (
        f"about {100 * loss.inexact:.1f} % of the pixels differ, PSNR about {loss.expected_psnr:.1f} dB, "
        f"at worst {loss.worst_psnr:.1f} dB"
    )


def _digest_of(path: Path) -> str | None:
    """Digest of the pixels that lie at a path; None where nothing readable lies."""
    try:
        return pixel_sha256(read_image(path).pixels)
    except ImageReadError:
        return None


def _check_same(target: Path, pixels: Pixels) -> None:
    if _digest_of(target) != pixel_sha256(pixels):
        raise UnlockError(
            f"{target}: another file lies there and is not overwritten", fix="choose another --out, or move it away"
        )
