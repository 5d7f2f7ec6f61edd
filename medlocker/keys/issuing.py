"""Make key documents from the owner's vault."""

from __future__ import annotations

from datetime import UTC, datetime

from medlocker.errors import ReleaseError
from medlocker.keys.documents import KeyDocument, KeyImage, VaultDocument, VaultImage
from medlocker.recovery import derive_image_key
from medlocker.release import ReleaseManifest
from medlocker.sealing import check_recipient


def issue_key(
    vault: VaultDocument,
    manifest: ReleaseManifest,
    *,
    to: str,
    recipient: str,
    version: int = 1,
    now: datetime | None = None,
) -> KeyDocument:
    """Make a key for every image of a release.

    Args:
        vault: the owner's, opened.
        manifest: of the release that the key is for.
        to: the recipient's name.
        recipient: the recipient's public key, `age1…`.
        version: of this recipient's key.
        now: issue time, with a time zone; None for the present.

    Returns:
        The key; it is secret until `write_key` seals it.

    Raises:
        ReleaseError: vault and release do not belong together.
        IdentityError: `recipient` is not a public key.
    """
    _check_match(vault, manifest)
    return _key_document(vault, to, check_recipient(recipient), version, now or datetime.now(UTC))


def vault_key(vault: VaultDocument) -> KeyDocument:
    """The owner's own key, for use in memory."""
    return _key_document(vault, "owner", "", 1, vault.created_at)


def _key_document(vault: VaultDocument, to: str, recipient: str, version: int, issued_at: datetime) -> KeyDocument:
    return KeyDocument(
        release_id=vault.release_id,
        key_version=version,
        recipient_name=to,
        recipient=recipient,
        issued_at=issued_at.replace(microsecond=0),
        rule=vault.rule,
        logo=vault.logo,
        logo_sha256=vault.logo_sha256,
        images=tuple(_key_image(vault, image) for image in vault.images),
    )


def _key_image(vault: VaultDocument, image: VaultImage) -> KeyImage:
    return KeyImage(
        **image.model_dump(exclude={"shape", "dtype", "alternatives"}),
        packet_key=derive_image_key(vault.secret, vault.release_id, image.id),
    )


def _check_match(vault: VaultDocument, manifest: ReleaseManifest) -> None:
    if vault.release_id != manifest.release_id:
        raise ReleaseError(
            f"the vault is of release {vault.release_id}, the folder holds {manifest.release_id}",
            fix="name the vault that was made with this release",
        )
    kept = {image.id: image.marked_sha256 for image in vault.images}
    released = {image.id: image.marked_sha256 for image in manifest.images}
    if kept != released:
        differing = sorted({*kept.items()} ^ {*released.items()})[0][0]
        raise ReleaseError(
            f"{differing}: vault and manifest disagree on this image", why="one of them was altered or is incomplete"
        )
