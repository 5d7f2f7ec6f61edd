"""A release made without search whose images have several usable placements; its owner, ledger and originals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from medlocker.blending import Pixels, Placement, load_logo, pixel_sha256, prepare_mark
from medlocker.imageio import StoredImage, write_atomic
from medlocker.keys import Alternative, VaultDocument, VaultImage, encode_logo, new_identity, write_vault
from medlocker.keys.copies import VAULT_NAME, MarkedCopy, open_copy
from medlocker.keys.owner import Owner, new_owner
from medlocker.keys.recipients import Recipient
from medlocker.keys.recording import OwnerLedger, ledger_file
from medlocker.keys.release_signature import sign_release
from medlocker.marking import Destination, make_marked
from medlocker.release import MANIFEST_NAME, ReleaseImage, ReleaseManifest

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
RELEASE_ID = "cd" * 16
SIDE = 96
PLACES = [Placement(160 + 10 * n, x, y) for n, (x, y) in enumerate([(8, 4), (40, 4), (70, 8), (4, 40), (60, 60)])]
"""Five usable placements; the first is the released one."""


@dataclass
class Traced:
    """A release and all that belongs to it."""

    root: Path
    owner: Owner
    originals: dict[str, Pixels]

    @property
    def copy(self) -> MarkedCopy:
        return open_copy(self.root / "rel", self.root / "rel.owner", self.owner.identity)

    @property
    def ledger(self) -> OwnerLedger:
        return OwnerLedger(ledger_file(self.root / "rel.owner"), self.owner, actor="Dr Owner")

    def recipient(self, name: str) -> Recipient:
        path = self.root / f"{name}.txt"
        identity = new_identity(path) if not path.exists() else None
        key = identity.public_key if identity else "age1x"
        return Recipient(name=name, key=key, added_at=NOW)


def make_traced(root: Path, count: int = 16, *, silent: int = 0) -> Traced:
    """Lock smooth random pictures; the last `silent` ones have a single placement."""
    rng, logo, owner = np.random.default_rng(3), load_logo(), new_owner(root / "owner.txt")
    to = Destination(RELEASE_ID, rng.bytes(32))
    originals, kept, public = {}, [], []
    for number in range(count):
        image_id, name = (
            f"p{number:02}.jpg",
            PurePosixPath(f"sub/p{number:02}.png" if number % 3 else f"p{number:02}.png"),
        )
        pixels = picture(rng)
        mark = prepare_mark(logo, pixels.shape, pixels.dtype)
        marked = make_marked(StoredImage(pixels), mark, PLACES[0], name, image_id, to)
        marked.write(root / "rel")
        originals[image_id] = pixels
        places = PLACES[:1] if number >= count - silent else PLACES
        kept.append(
            VaultImage(
                id=image_id,
                file=name.as_posix(),
                logo_scale=4.0,
                **PLACES[0]._asdict(),
                original_sha256=pixel_sha256(pixels),
                marked_sha256=marked.sha256,
                shape=pixels.shape,
                dtype="uint8",
                alternatives=tuple(
                    Alternative(**p._asdict(), confidence=0.1 + n / 100, fooled=True) for n, p in enumerate(places)
                ),
            )
        )
        public.append(
            ReleaseImage(
                id=image_id,
                file=name.as_posix(),
                marked_sha256=marked.sha256,
                packet="embedded",
                packet_bytes=len(marked.packet),
                file_bytes=len(marked.encoded),
                outcome="fooled",
                clean_confidence=0.9,
                final_confidence=0.1,
                queries=7,
            )
        )
    manifest = ReleaseManifest(
        release_id=RELEASE_ID, created_at=NOW, medlocker_version="0", dataset="traced", dataset_digest="0",
        placement="anywhere", search="random", logo_scale=4.0, alpha_range=(100, 255), sources=(), images=tuple(public),
    )  # fmt: skip
    vault = VaultDocument(
        release_id=RELEASE_ID, created_at=NOW, secret=to.secret, logo=encode_logo(logo), logo_sha256=logo.sha256,
        rule="alpha_channel", images=tuple(kept),
    )  # fmt: skip
    write_vault(root / "rel.owner" / VAULT_NAME, vault, owner.identity)
    write_atomic(root / "rel" / MANIFEST_NAME, manifest.model_dump_json().encode())
    traced = Traced(root, owner, originals)
    sign_release(root / "rel", owner)
    traced.ledger.record_release(root / "rel", manifest)
    return traced


def picture(rng: np.random.Generator) -> Pixels:
    """Soft blots with a little grain, (96, 96, 3)."""
    soft = cv2.resize(rng.integers(30, 220, (7, 7, 3)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.clip(soft + rng.normal(0, 3, soft.shape), 0, 255).astype(np.uint8)
