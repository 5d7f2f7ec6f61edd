"""The owner's vault and the recipients' keys as documents; each is only ever stored sealed."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, Self

import numpy as np
from PIL import Image, PngImagePlugin
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from medlocker.blending import MAX_LOGO_SIDE, AlphaRule, Logo, Placement
from medlocker.errors import LogoError
from medlocker.release import Hex256, RelativeFile, ReleaseId, check_distinct

VAULT_SCHEMA: Final = "medlocker.vault/1"
KEY_SCHEMA: Final = "medlocker.key/2"
KEY_TYPE = "application/vnd.medlocker.key+json"


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is out of range") from None


UtcTime = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class _Document(BaseModel):
    """Secrets stay out of validation messages."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, ser_json_bytes="base64", val_json_bytes="base64"
    )


class Alternative(_Document):
    """Another placement that the search kept.

    Attributes:
        alpha: 0–255.
        x: px, left edge.
        y: px, top edge.
        confidence: the sources' mean probability of the class to leave.
        fooled: whether the sources read another class.
    """

    alpha: Annotated[int, Field(ge=0, le=255)]
    x: Annotated[int, Field(ge=0)]
    y: Annotated[int, Field(ge=0)]
    confidence: Annotated[float, Field(ge=0, le=1)]
    fooled: bool


class _PlacedImage(_Document):
    id: Annotated[str, Field(min_length=1, max_length=4096)]
    file: RelativeFile
    logo_scale: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    alpha: Annotated[int, Field(ge=0, le=255)]
    x: Annotated[int, Field(ge=0)]
    y: Annotated[int, Field(ge=0)]
    original_sha256: Hex256
    marked_sha256: Hex256

    @property
    def placement(self) -> Placement:
        """α, x, y as blended."""
        return Placement(self.alpha, self.x, self.y)


class VaultImage(_PlacedImage):
    """What the owner keeps of one image.

    Attributes:
        id: the record's id.
        file: posix path below the release folder.
        logo_scale: the paper's sl.
        alpha: 0–255, as blended.
        x: px, left edge.
        y: px, top edge.
        original_sha256: `pixel_sha256` before marking.
        marked_sha256: the same after.
        shape: of the pixels.
        dtype: of the pixels.
        alternatives: other placements, best first.
    """

    shape: tuple[int, int] | tuple[int, int, int]
    dtype: Literal["uint8", "uint16"]
    alternatives: tuple[Alternative, ...] = ()


class VaultDocument(_Document):
    """All that the owner needs to issue keys and to make editions.

    Attributes:
        release_id: of the release.
        created_at: UTC.
        secret: 32 bytes, from which every image's key is derived; kept out of `repr`.
        logo: PNG, RGBA, as `encode_logo` makes it.
        logo_sha256: `Logo.sha256`.
        rule: how opacity follows from α.
        images: one per released image.
    """

    schema_version: Literal["medlocker.vault/1"] = VAULT_SCHEMA
    release_id: ReleaseId
    created_at: UtcTime
    secret: Annotated[bytes, Field(min_length=32, max_length=32, repr=False)]
    logo: Annotated[bytes, Field(repr=False)]
    logo_sha256: Hex256
    rule: AlphaRule
    images: tuple[VaultImage, ...]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        check_distinct(self.images)
        return self


class KeyImage(_PlacedImage):
    """What a recipient needs for one image: as `VaultImage`, and the key of its recovery packet.

    Attributes:
        shape: of the pixels; with it the paper's full list of opacities follows from logo, rule and α.
        dtype: of the pixels.
        packet_key: 32 bytes, opens this image's packet and no other; kept out of `repr`.
    """

    shape: tuple[int, int] | tuple[int, int, int]
    dtype: Literal["uint8", "uint16"]
    packet_key: Annotated[bytes, Field(min_length=32, max_length=32, repr=False)]


class KeyDocument(_Document):
    """What unlocks a release or an edition, or some of its images, for one recipient. Signed by the owner.

    Attributes:
        key_id: names this version; says nothing about the recipient, so that it can stand in a public list.
        release_id: of the copy that it unlocks, be it a release or an edition.
        edition_of: the release that an edition was made from; None for a key to a release.
        key_version: 1 for the first key of this recipient to this copy, then counted up.
        recipient_name: as the owner calls the recipient.
        recipient: public key that the file is sealed to.
        issued_at: UTC.
        expires_at: UTC; None for never.
        scope: whether it opens every image of the copy, or some.
        owner_key: public signing key of the owner when it was issued, `ssh-ed25519 …`.
        rule: how opacity follows from α.
        logo: PNG, RGBA.
        logo_sha256: `Logo.sha256`.
        images: one per image that the key unlocks.
    """

    schema_version: Literal["medlocker.key/2"] = KEY_SCHEMA
    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    release_id: ReleaseId
    edition_of: ReleaseId | None = None
    key_version: Annotated[int, Field(ge=1)]
    recipient_name: Annotated[str, Field(min_length=1, max_length=200)]
    recipient: str
    issued_at: UtcTime
    expires_at: UtcTime | None = None
    scope: Literal["all", "subset"] = "all"
    owner_key: str
    rule: AlphaRule
    logo: Annotated[bytes, Field(repr=False)]
    logo_sha256: Hex256
    images: tuple[KeyImage, ...]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        check_distinct(self.images)
        return self


def encode_logo(logo: Logo) -> bytes:
    """A logo as RGBA PNG, colours under transparency included."""
    buffer = io.BytesIO()
    Image.fromarray(logo.rgba).save(buffer, "PNG", optimize=False)
    return buffer.getvalue()


def decode_logo(document: VaultDocument | KeyDocument) -> Logo:
    """The logo of a vault or key.

    Raises:
        LogoError: it is damaged, too large, or not the one its digest names.
    """
    try:
        with PngImagePlugin.PngImageFile(io.BytesIO(document.logo)) as image:
            if max(image.size) > MAX_LOGO_SIDE or image.mode != "RGBA":
                raise LogoError(f"the logo in the document is {image.width} x {image.height} px, {image.mode}")
            logo = Logo(np.array(image, dtype=np.uint8))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise LogoError("the logo in the document cannot be read", why=str(error)) from error
    if logo.sha256 != document.logo_sha256:
        raise LogoError("the logo in the document is not the one its digest names")
    return logo
