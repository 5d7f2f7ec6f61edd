"""Recovery packets: what Eq. 9 cannot give back, sealed for one image of one release.

Layout: "MLRP", version 1, release tag (8 bytes), image tag (8), key check (4), then the AES-SIV sealed body: a digest
of the mark and its placement (8 bytes) and the payload of `medlocker.residual`. The tags tell whoever has no key which
image a packet belongs to; release, image and the marked pixels are authenticated with the body.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from medlocker.blending import Mark, Pixels, Placement, colour_channels, footprint, with_colour_patch
from medlocker.errors import CorruptPacketError, UnlockError, WrongKeyError
from medlocker.residual import decode_residual, encode_residual
from medlocker.sealing import SIV_OVERHEAD, SealBrokenError, derive_key, open_bytes, seal_bytes

MAGIC = b"MLRP"
VERSION = 1
PACKET_SUFFIX = ".mlrp"
MAX_PACKET_BYTES = 64 << 20
IMAGE_KEY_BYTES = 32

_TAG, _CHECK, _MARK_DIGEST = 8, 4, 8
_HEADER = len(MAGIC) + 1 + 2 * _TAG + _CHECK


class PacketContext(NamedTuple):
    """Where a packet belongs; it opens nowhere else.

    Attributes:
        release_id: of the release or edition.
        image_id: of the image in it.
        marked_sha256: `pixel_sha256` of the marked image.
    """

    release_id: str
    image_id: str
    marked_sha256: str


def derive_image_key(secret: bytes, release_id: str, image_id: str) -> bytes:
    """The key of one image's packet; it opens no other packet, so that a key for some images opens only those.

    Args:
        secret: of the release.
        release_id: of the release.
        image_id: of the image.

    Returns:
        32 bytes.
    """
    return derive_key(secret, "image", release_id, image_id, length=IMAGE_KEY_BYTES)


def make_packet(
    original: Pixels, marked: Pixels, mark: Mark, placement: Placement, key: bytes, context: PacketContext
) -> bytes:
    """Seal what restores an image.

    Args:
        original: before `lock`.
        marked: after `lock` with `mark` and `placement`.
        mark: that was blended in.
        placement: α, x, y.
        key: from `derive_image_key`.
        context: release, image and marked pixels.

    Returns:
        The packet; the same bytes for the same input.

    Raises:
        UnlockError: `marked` does not follow from `original`, so that it could not be restored.
    """
    rows, columns = footprint(mark, placement, original.shape)
    payload = encode_residual(colour_channels(original[rows, columns]), mark, placement.alpha)
    restored = decode_residual(payload, colour_channels(marked[rows, columns]), mark, placement.alpha)
    if (with_colour_patch(marked, mark, placement, restored) != original).any():
        raise UnlockError(f"{context.image_id}: the marked image does not follow from the original")
    body = _mark_digest(mark, placement) + payload
    return _header(key, context) + seal_bytes(_sealing_key(key), body, _associated(context))


def restore(
    marked: Pixels, mark: Mark, placement: Placement, packet: bytes, key: bytes, context: PacketContext
) -> Pixels:
    """Undo `lock` bit for bit.

    Args:
        marked: the marked image.
        mark: that was blended in.
        placement: α, x, y.
        packet: from `make_packet`.
        key: from `derive_image_key`.
        context: release, image and marked pixels.

    Returns:
        The original, same shape and dtype.

    Raises:
        CorruptPacketError: the packet is malformed, altered, or of another image or release.
        WrongKeyError: the packet was sealed under another key.
        AlteredImageError: the marked pixels cannot come from this mark.
        UnlockError: mark or placement are not those that were blended in.
    """
    check_packet(packet, context)
    header = _header(key, context)
    if packet[: len(header)] != header:
        raise WrongKeyError(f"{context.image_id}: its recovery packet was sealed under another key")
    try:
        body = open_bytes(_sealing_key(key), packet[_HEADER:], _associated(context))
    except SealBrokenError:
        raise CorruptPacketError(
            f"{context.image_id}: its recovery packet was altered", fix="get this image from its owner again"
        ) from None
    if body[:_MARK_DIGEST] != _mark_digest(mark, placement):
        raise UnlockError(
            f"{context.image_id}: the scaled logo differs from the one that was blended in",
            why="the key is inconsistent, or this version of Pillow scales images in another way",
        )
    rows, columns = footprint(mark, placement, marked.shape)
    patch = colour_channels(marked[rows, columns])
    values = decode_residual(body[_MARK_DIGEST:], patch, mark, placement.alpha)
    return with_colour_patch(marked, mark, placement, values)


def check_packet(packet: bytes, context: PacketContext) -> None:
    """See without any key whether a packet is well formed and belongs to an image.

    Raises:
        CorruptPacketError: it is not, or does not.
    """
    if len(packet) > MAX_PACKET_BYTES:
        raise CorruptPacketError(f"{context.image_id}: a recovery packet of {len(packet)} bytes")
    if not packet.startswith(MAGIC) or len(packet) < _HEADER + SIV_OVERHEAD + _MARK_DIGEST:
        raise CorruptPacketError(f"{context.image_id}: what stands for its recovery packet is none")
    if packet[len(MAGIC)] != VERSION:
        raise CorruptPacketError(
            f"{context.image_id}: its recovery packet is of version {packet[len(MAGIC)]}", fix="update MedLocker"
        )
    release_tag, image_tag = _tags(context)
    start = len(MAGIC) + 1
    if packet[start : start + _TAG] != release_tag:
        raise CorruptPacketError(f"{context.image_id}: its recovery packet belongs to another release")
    if packet[start + _TAG : start + 2 * _TAG] != image_tag:
        raise CorruptPacketError(f"{context.image_id}: its recovery packet belongs to another image")


def _header(key: bytes, context: PacketContext) -> bytes:
    return b"".join((MAGIC, bytes([VERSION]), *_tags(context), derive_key(key, "check", length=_CHECK)))


def _tags(context: PacketContext) -> tuple[bytes, bytes]:
    release = hashlib.sha256(f"release/{context.release_id}".encode()).digest()[:_TAG]
    image = hashlib.sha256(f"image/{context.release_id}/{context.image_id}".encode()).digest()[:_TAG]
    return release, image


def _sealing_key(key: bytes) -> bytes:
    return derive_key(key, "packet")


def _associated(context: PacketContext) -> list[bytes]:
    return [MAGIC + bytes([VERSION]), *(part.encode() for part in context)]


def _mark_digest(mark: Mark, placement: Placement) -> bytes:
    digest = hashlib.sha256(f"{mark.colour.shape}/{mark.peak}/{tuple(map(int, placement))}/".encode())
    digest.update(mark.colour.astype("<i8").tobytes() + mark.cap.tobytes())
    return digest.digest()[:_MARK_DIGEST]
