"""One marked image as a file: blend, seal what restores it, encode, check as a stranger would, write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medlocker.blending import Mark, Pixels, Placement, lock, pixel_sha256
from medlocker.errors import ReleaseError
from medlocker.imageio import StoredImage, decode_image, embed_packet, encode_image, has_room_for_packet, write_atomic
from medlocker.recovery import PACKET_SUFFIX, PacketContext, derive_image_key, make_packet


@dataclass(frozen=True)
class Destination:
    """The copy that an image is marked for.

    Attributes:
        release_id: of the release or edition.
        secret: of the same.
    """

    release_id: str
    secret: bytes


@dataclass(frozen=True, eq=False)
class MarkedFile:
    """A marked image, encoded and not yet written.

    Attributes:
        name: path below the folder of the copy.
        pixels: as decoded from `encoded`.
        sha256: `pixel_sha256` of the pixels.
        encoded: the image's file, with the packet where it has room for it.
        packet: restores the original.
    """

    name: PurePosixPath
    pixels: Pixels
    sha256: str
    encoded: bytes
    packet: bytes

    @property
    def embedded(self) -> bool:
        """Whether the packet travels inside the image's file."""
        return has_room_for_packet(self.name.suffix)

    def write(self, folder: Path, *, writer: str = "") -> None:
        """Write the file, and its packet beside it where it has no room for it.

        Args:
            folder: of the copy.
            writer: as in `write_atomic`.

        Raises:
            ReleaseError: a file cannot be written.
        """
        path = folder / self.name
        if not self.embedded:
            write_atomic(path.with_name(path.name + PACKET_SUFFIX), self.packet, writer=writer)
        write_atomic(path, self.encoded, writer=writer)


def make_marked(
    original: StoredImage, mark: Mark, placement: Placement, name: PurePosixPath, image_id: str, to: Destination
) -> MarkedFile:
    """Mark one image.

    Args:
        original: with the metadata that its copy takes over.
        mark: of the image's geometry.
        placement: α, x, y.
        name: of the file, PNG or TIFF.
        image_id: the record's id.
        to: the copy it is for.

    Returns:
        The file; the same bytes for the same input.

    Raises:
        ReleaseError: the encoded file does not hold the marked pixels.
    """
    marked = lock(original.pixels, mark, placement)
    sha256 = pixel_sha256(marked)
    key = derive_image_key(to.secret, to.release_id, image_id)
    packet = make_packet(original.pixels, marked, mark, placement, key, PacketContext(to.release_id, image_id, sha256))
    encoded = encode_image(StoredImage(marked, original.metadata), name.suffix)
    if has_room_for_packet(name.suffix):
        encoded = embed_packet(encoded, packet)
    saved = decode_image(encoded, image_id).pixels
    if pixel_sha256(saved) != sha256:
        raise ReleaseError(f"{image_id}: the encoded file does not hold the marked pixels")
    return MarkedFile(name, saved, sha256, encoded, packet)
