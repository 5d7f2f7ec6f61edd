"""The public face of a release: `release.json`, which travels with the marked images and holds nothing secret."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MANIFEST_NAME = "release.json"
SCHEMA = "medlocker.release/1"

Hex256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Outcome = Literal["fooled", "not_fooled", "clean_misread", "infeasible"]
"""`fooled`: read correctly before, wrongly after. `not_fooled`: still read correctly. `clean_misread`: the source was
already wrong on the clean image, so it counts in no attack success rate. `infeasible`: no position satisfied the
placement constraints; the image is not in the release."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReleaseImage(_Model):
    """One marked image of a release.

    Attributes:
        id: the record's id.
        file: posix path below the release folder.
        marked_sha256: digest of the marked pixels.
        packet: where the recovery packet is: inside the PNG, in `<file>.mlrp`, or nowhere (infeasible image).
        packet_bytes: size of the recovery packet.
        file_bytes: size of the image file, packet included.
        outcome: what the sources made of it.
        clean_confidence: the sources' mean probability of the class to leave, before marking.
        final_confidence: the same after marking, measured on the decoded saved file.
        queries: marked candidates the sources were asked about.
    """

    id: str
    file: str
    marked_sha256: Hex256
    packet: Literal["embedded", "sidecar"]
    packet_bytes: Annotated[int, Field(ge=0)]
    file_bytes: Annotated[int, Field(ge=0)]
    outcome: Outcome
    clean_confidence: Annotated[float, Field(ge=0, le=1)]
    final_confidence: Annotated[float, Field(ge=0, le=1)]
    queries: Annotated[int, Field(ge=0)]


class SourceModel(_Model):
    """A network the search queried."""

    name: str
    fingerprint: str
    weight: Annotated[float, Field(gt=0, le=1)]


class ReleaseManifest(_Model):
    """Everything a release says about itself."""

    schema_version: Literal["medlocker.release/1"] = SCHEMA
    release_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    created_at: datetime
    medlocker_version: str
    dataset: str
    dataset_digest: str
    placement: str
    search: str
    logo_scale: float
    alpha_range: tuple[int, int]
    sources: tuple[SourceModel, ...]
    images: tuple[ReleaseImage, ...]
    infeasible: tuple[str, ...] = ()
