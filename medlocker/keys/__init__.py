"""Identities, the owner's vault, recipients' keys; unlocking and verifying releases."""

from medlocker.keys.documents import (
    Alternative,
    KeyDocument,
    KeyImage,
    VaultDocument,
    VaultImage,
    decode_logo,
    encode_logo,
)
from medlocker.keys.identity import load_identity, new_identity, parse_recipient
from medlocker.keys.issuing import issue_key, vault_key
from medlocker.keys.unlocking import UnlockedImage, UnlockReport, restore_image, unlock_release
from medlocker.keys.vault import open_record, read_key, read_vault, seal_key, seal_record, write_vault
from medlocker.keys.verifying import VerifiedImage, VerifyReport, verify_release
from medlocker.release import load_manifest
from medlocker.sealing import Identity

__all__ = [
    "Alternative",
    "Identity",
    "KeyDocument",
    "KeyImage",
    "UnlockReport",
    "UnlockedImage",
    "VaultDocument",
    "VaultImage",
    "VerifiedImage",
    "VerifyReport",
    "decode_logo",
    "encode_logo",
    "issue_key",
    "load_identity",
    "load_manifest",
    "new_identity",
    "open_record",
    "parse_recipient",
    "read_key",
    "read_vault",
    "restore_image",
    "seal_key",
    "seal_record",
    "unlock_release",
    "vault_key",
    "verify_release",
    "write_vault",
]
