"""A marked copy as its owner sees it: a release or an edition, its manifest and its opened vault."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medlocker.keys.documents import VaultDocument
from medlocker.keys.edition_document import EditionDocument, read_edition
from medlocker.keys.issuing import check_match
from medlocker.keys.vault import read_vault
from medlocker.release import ReleaseManifest, load_manifest
from medlocker.sealing import Identity

VAULT_NAME = "vault.age"


@dataclass(frozen=True, eq=False)
class MarkedCopy:
    """A release or an edition.

    Attributes:
        folder: of the marked images.
        owner_dir: the owner's folder of this copy.
        manifest: of the copy.
        vault: opened.
        edition: what the edition is; None for a release.
    """

    folder: Path
    owner_dir: Path
    manifest: ReleaseManifest
    vault: VaultDocument
    edition: EditionDocument | None

    @property
    def release_id(self) -> str:
        """Of the release: the copy itself, or the one the edition was made from."""
        return self.edition.release_id if self.edition else self.manifest.release_id

    @property
    def edition_id(self) -> str | None:
        """Of the edition; None for a release."""
        return self.manifest.release_id if self.edition else None


def open_copy(folder: Path, owner_dir: Path, identity: Identity) -> MarkedCopy:
    """Open a release or edition as its owner.

    Args:
        folder: of the marked images.
        owner_dir: the owner's folder of it.
        identity: the owner's.

    Raises:
        ReleaseError: manifest or vault is missing, damaged, or of another copy.
        WrongKeyError: the vault is sealed to someone else.
    """
    vault = read_vault(owner_dir / VAULT_NAME, identity)
    manifest = load_manifest(folder)
    check_match(vault, manifest)
    return MarkedCopy(folder, owner_dir, manifest, vault, read_edition(owner_dir))
