"""Make key documents from the owner's vault."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from medlocker.errors import ReleaseError, SettingsError
from medlocker.keys.documents import KeyDocument, KeyImage, VaultDocument, VaultImage
from medlocker.recovery import derive_image_key
from medlocker.release import ReleaseManifest
from medlocker.sealing import check_recipient, derive_key
from medlocker.signing import PublicKey

KEY_ID_BYTES = 16


def issue_key(
    vault: VaultDocument,
    manifest: ReleaseManifest,
    *,
    to: str,
    recipient: str,
    owner_key: PublicKey,
    version: int = 1,
    expires_at: datetime | None = None,
    images: Collection[str] | None = None,
    edition_of: str | None = None,
    now: datetime | None = None,
) -> KeyDocument:
    """Make a key.

    Args:
        vault: the owner's, opened; of a release or an edition.
        manifest: of the copy that the key is for.
        to: the recipient's name.
        recipient: the recipient's public key, `age1…` or of SSH.
        owner_key: the public half of what will sign it.
        version: of this recipient's key to this copy.
        expires_at: with a time zone; None for never.
        images: ids it opens; None for all.
        edition_of: the release id, where the copy is an edition.
        now: issue time, with a time zone; None for the present.

    Returns:
        The key; it is secret until `seal_key` seals it.

    Raises:
        ReleaseError: vault and copy do not belong together.
        IdentityError: `recipient` is not a public key.
        SettingsError: an image is not in the copy, none is named, or the key would have expired already.
    """
    check_match(vault, manifest)
    issued_at = (now or datetime.now(UTC)).replace(microsecond=0)
    if expires_at is not None and expires_at <= issued_at:
        raise SettingsError(f"--expires {expires_at:%Y-%m-%d %H:%M}: lies in the past", fix="give a later time")
    chosen = _chosen(vault, images)
    return KeyDocument(
        key_id=key_id(vault, to, version),
        release_id=vault.release_id,
        edition_of=edition_of,
        key_version=version,
        recipient_name=to,
        recipient=check_recipient(recipient),
        issued_at=issued_at,
        expires_at=expires_at,
        scope="all" if images is None else "subset",
        owner_key=owner_key.text,
        rule=vault.rule,
        logo=vault.logo,
        logo_sha256=vault.logo_sha256,
        images=tuple(_key_image(vault, image) for image in chosen),
    )


def vault_key(vault: VaultDocument) -> KeyDocument:
    """The owner's own key, for use in memory; it is neither signed nor recorded."""
    return KeyDocument(
        key_id="0" * 2 * KEY_ID_BYTES,
        release_id=vault.release_id,
        key_version=1,
        recipient_name="owner",
        recipient="",
        issued_at=vault.created_at,
        owner_key="",
        rule=vault.rule,
        logo=vault.logo,
        logo_sha256=vault.logo_sha256,
        images=tuple(_key_image(vault, image) for image in vault.images),
    )


def key_id(vault: VaultDocument, to: str, version: int) -> str:
    """The id of a key version: told by the vault's secret alone, so that a public list of ids names nobody."""
    return derive_key(vault.secret, "key id", vault.release_id, to, str(version), length=KEY_ID_BYTES).hex()


def check_match(vault: VaultDocument, manifest: ReleaseManifest) -> None:
    """Refuse a vault and a manifest of different copies.

    Raises:
        ReleaseError: they do not belong together.
    """
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


def _chosen(vault: VaultDocument, images: Collection[str] | None) -> tuple[VaultImage, ...]:
    if images is None:
        return vault.images
    wanted = set(images)
    unknown = sorted(wanted - {image.id for image in vault.images})
    if unknown or not wanted:
        raise SettingsError(
            f"--images: {f'{unknown[0]!r} is not in this release' if unknown else 'names no image'}",
            fix="give image ids as in release.json, or patterns such as 'ward4/*'",
        )
    return tuple(image for image in vault.images if image.id in wanted)


def _key_image(vault: VaultDocument, image: VaultImage) -> KeyImage:
    return KeyImage(
        **image.model_dump(exclude={"alternatives"}),
        packet_key=derive_image_key(vault.secret, vault.release_id, image.id),
    )
