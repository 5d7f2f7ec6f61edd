"""A small release, made without search: four images of different kinds, a vault and a key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from medlocker.blending import Logo, Pixels, Placement, lock, pixel_sha256, prepare_mark
from medlocker.imageio import StoredImage, embed_packet, encode_image, has_room_for_packet, write_atomic
from medlocker.keys import (
    Alternative,
    Identity,
    KeyDocument,
    VaultDocument,
    VaultImage,
    encode_logo,
    issue_key,
    new_identity,
)
from medlocker.keys.owner import Owner, new_owner
from medlocker.recovery import PACKET_SUFFIX, PacketContext, derive_image_key, make_packet
from medlocker.release import MANIFEST_NAME, ReleaseImage, ReleaseManifest

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
FILES = {
    "a": ("a.png", (40, 48, 3), np.uint8),
    "b": ("sub/b.png", (40, 48, 3), np.uint8),
    "grey16": ("grey16.png", (33, 21), np.uint16),
    "scan": ("scan.tif", (20, 30, 3), np.uint8),
}


@dataclass(frozen=True)
class Example:
    """A release and all that belongs to it."""

    folder: Path
    originals: dict[str, Pixels]
    vault: VaultDocument
    manifest: ReleaseManifest
    owner: Owner
    recipient: Identity
    key: KeyDocument

    def file(self, image_id: str) -> Path:
        """Where an image of the release lies."""
        return self.folder / FILES[image_id][0]


def make_example(root: Path, *, seed: int = 0, release_id: str = "ab" * 16) -> Example:
    """Lock four random images."""
    rng = np.random.default_rng(seed)
    logo = Logo(rng.integers(0, 256, (10, 12, 4), dtype=np.uint8))
    secret, folder = rng.bytes(32), root / "release"
    originals = {
        name: rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype) for name, (_, shape, dtype) in FILES.items()
    }
    pairs = [_locked(folder, name, pixels, logo, secret, release_id) for name, pixels in originals.items()]
    manifest = ReleaseManifest(
        release_id=release_id,
        created_at=NOW,
        medlocker_version="0",
        dataset="example",
        dataset_digest="0",
        placement="anywhere",
        search="random",
        logo_scale=2.0,
        alpha_range=(100, 255),
        sources=(),
        images=tuple(public for _, public in pairs),
    )
    write_atomic(folder / MANIFEST_NAME, manifest.model_dump_json().encode())
    vault = VaultDocument(
        release_id=release_id,
        created_at=NOW,
        secret=secret,
        logo=encode_logo(logo),
        logo_sha256=logo.sha256,
        rule="alpha_channel",
        images=tuple(kept for kept, _ in pairs),
    )
    owner, recipient = new_owner(root / "owner.txt"), new_identity(root / "recipient.txt")
    key = issue_key(
        vault, manifest, to="Clinic", recipient=recipient.public_key, owner_key=owner.signing.public, now=NOW
    )
    return Example(folder, originals, vault, manifest, owner, recipient, key)


def _locked(
    folder: Path, name: str, pixels: Pixels, logo: Logo, secret: bytes, release_id: str
) -> tuple[VaultImage, ReleaseImage]:
    file = FILES[name][0]
    mark = prepare_mark(logo, pixels.shape, pixels.dtype, logo_scale=2.0)
    placement = Placement(180, 3, 2)
    marked = lock(pixels, mark, placement)
    sha256 = pixel_sha256(marked)
    packet = make_packet(
        pixels,
        marked,
        mark,
        placement,
        derive_image_key(secret, release_id, name),
        PacketContext(release_id, name, sha256),
    )
    encoded = encode_image(StoredImage(marked), Path(file).suffix)
    embedded = has_room_for_packet(Path(file).suffix)
    if embedded:
        encoded = embed_packet(encoded, packet)
    else:
        write_atomic(folder / (file + PACKET_SUFFIX), packet)
    write_atomic(folder / file, encoded)
    kept = VaultImage(
        id=name,
        file=file,
        shape=pixels.shape,
        dtype=pixels.dtype.name,
        logo_scale=2.0,
        alpha=placement.alpha,
        x=placement.x,
        y=placement.y,
        original_sha256=pixel_sha256(pixels),
        marked_sha256=sha256,
        alternatives=(Alternative(alpha=200, x=0, y=0, confidence=0.25, fooled=True),),
    )
    public = ReleaseImage(
        id=name,
        file=file,
        marked_sha256=sha256,
        packet="embedded" if embedded else "sidecar",
        packet_bytes=len(packet),
        file_bytes=len(encoded),
        outcome="fooled",
        clean_confidence=0.9,
        final_confidence=0.1,
        queries=1,
    )
    return kept, public
