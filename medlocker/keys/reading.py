"""Read one marked image of a release, with its recovery packet, as someone who trusts neither."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from medlocker.blending import pixel_sha256
from medlocker.errors import (
    AlteredImageError,
    CorruptPacketError,
    ImageReadError,
    MissingImageError,
    MissingPacketError,
)
from medlocker.imageio import StoredImage, decode_image, extract_packet
from medlocker.recovery import MAX_PACKET_BYTES, PACKET_SUFFIX
from medlocker.release import path_inside

MAX_IMAGE_BYTES = 4 << 30

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class MarkedImage(NamedTuple):
    """A marked image whose pixels are those that were released.

    Attributes:
        image: pixels and metadata.
        packet: the recovery packet, unchecked; None where there is none.
    """

    image: StoredImage
    packet: bytes | None


def read_marked(release_dir: Path, file: str, marked_sha256: str) -> MarkedImage:
    """Read a marked image. How it is compressed does not matter, its pixels do.

    Args:
        release_dir: folder of the release.
        file: path below it.
        marked_sha256: digest of the pixels that were released.

    Returns:
        The image and its packet, from the file or from the `.mlrp` file beside it.

    Raises:
        ReleaseError: the path leads out of the folder.
        MissingImageError: the file is not there.
        ImageReadError: it is truncated or damaged.
        AlteredImageError: it holds other pixels.
        CorruptPacketError: the packet's frame is damaged.
    """
    path = path_inside(release_dir, file)
    encoded = _read_bounded(path, MAX_IMAGE_BYTES)
    if encoded is None:
        raise MissingImageError(f"{path}: no such file", fix="get the whole release from its owner again")
    image = decode_image(encoded, str(path))
    if pixel_sha256(image.pixels) != marked_sha256:
        raise AlteredImageError(
            f"{path}: its pixels are not those that were released",
            why="the image was edited, resized or saved with loss",
            fix="get this image from its owner again",
        )
    return MarkedImage(image, _embedded_packet(encoded, path) or _sidecar_packet(release_dir, file))


def missing_packet(file: str) -> MissingPacketError:
    """The error for an image without a packet."""
    return MissingPacketError(
        f"{file}: it carries no recovery packet",
        why="a program that saved the image anew drops it",
        fix="get this image from its owner again, or accept an inexact restore with --lossy",
    )


def _embedded_packet(encoded: bytes, path: Path) -> bytes | None:
    if not encoded.startswith(_PNG_SIGNATURE):
        return None
    try:
        return extract_packet(encoded)
    except ImageReadError as error:
        raise CorruptPacketError(f"{path}: {error.what}", why=error.why) from error


def _sidecar_packet(release_dir: Path, file: str) -> bytes | None:
    return _read_bounded(path_inside(release_dir, file + PACKET_SUFFIX), MAX_PACKET_BYTES)


def _read_bounded(path: Path, limit: int) -> bytes | None:
    try:
        if path.stat().st_size > limit:
            raise ImageReadError(f"{path}: larger than {limit >> 20} MiB", why="files of that size are not read")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ImageReadError(f"{path}: cannot be read", why=error.strerror) from error
