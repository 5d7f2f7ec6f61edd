"""The public face of a release: `release.json`, which travels with the marked images and holds nothing secret."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Final, Literal, Protocol, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from medlocker.errors import ReleaseError

MANIFEST_NAME = "release.json"
SCHEMA: Final = "medlocker.release/1"
MAX_MANIFEST_BYTES = 1 << 30


def check_relative_file(text: str) -> str:
    """A posix path below a folder.

    Raises:
        ValueError: it is empty or absolute, leaves the folder, or means something else on another system.
    """
    path = PurePosixPath(text)
    plain = text and str(path) == text and not path.is_absolute() and ".." not in path.parts
    if not plain or "\\" in text or PureWindowsPath(text).drive or not text.isprintable() or text == ".":
        raise ValueError("file must be a plain relative path below its folder")
    return text


Hex256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ReleaseId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
RelativeFile = Annotated[str, Field(max_length=4096), AfterValidator(check_relative_file)]
Outcome = Literal["fooled", "not_fooled", "clean_misread", "infeasible"]
"""`fooled`: read correctly before, wrongly after. `not_fooled`: still read correctly. `clean_misread`: the source was
already wrong on the clean image, so it counts in no attack success rate. `infeasible`: no position satisfied the
placement constraints; the image is not in the release."""


class _Named(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def file(self) -> str: ...


def check_distinct(images: Iterable[_Named]) -> None:
    """Refuse documents that name an image or a file twice.

    Raises:
        ValueError: they do.
    """
    ids: set[str] = set()
    files: set[str] = set()
    for image in images:
        # Some file systems ignore case: two such files would overwrite one another.
        if image.id in ids or image.file.casefold() in files:
            raise ValueError("an image or a file is named twice")
        ids.add(image.id)
        files.add(image.file.casefold())


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReleaseImage(_Model):
    """One marked image of a release.

    Attributes:
        id: the record's id.
        file: posix path below the release folder.
        marked_sha256: digest of the marked pixels.
        packet: where the recovery packet is: inside the PNG, or in `<file>.mlrp`.
        packet_bytes: size of the recovery packet.
        file_bytes: size of the image file, packet included.
        outcome: what the sources made of it.
        clean_confidence: the sources' mean probability of the class to leave, before marking.
        final_confidence: the same after marking, measured on the decoded saved file.
        queries: marked candidates the sources were asked about.
    """

    id: str
    file: RelativeFile
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
    release_id: ReleaseId
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

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        check_distinct(self.images)
        return self


def load_manifest(release_dir: Path) -> ReleaseManifest:
    """Read the manifest of a release.

    Args:
        release_dir: the folder that holds `release.json`.

    Returns:
        The manifest; its file names stay below the folder.

    Raises:
        ReleaseError: it is missing, too large, not a manifest, or of an unknown schema version.
    """
    path = release_dir / MANIFEST_NAME
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ReleaseError(f"{path}: larger than 1 GiB", why="a manifest of that size is not read")
        content = path.read_bytes()
    except FileNotFoundError:
        raise ReleaseError(
            f"{release_dir}: not a finished release", why=f"it holds no {MANIFEST_NAME}",
            fix="name the folder that medlocker protect wrote, or repeat that command to finish it",
        ) from None  # fmt: skip
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read", why=error.strerror) from error
    return _parse_manifest(content, path)


def _parse_manifest(content: bytes, path: Path) -> ReleaseManifest:
    try:
        loose = json.loads(content)
        version = loose.get("schema_version") if isinstance(loose, dict) else None
        if isinstance(version, str) and version != SCHEMA:
            raise ReleaseError(f"{path}: its schema is {version[:80]}, known is {SCHEMA}", fix="update MedLocker")
        return ReleaseManifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ReleaseError(f"{path}: not a valid manifest", why=f"{where}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise ReleaseError(f"{path}: not a valid manifest", why="it is not JSON", fix="copy it again") from None


def path_inside(folder: Path, file: str) -> Path:
    """Where a file of a manifest or key lies.

    Args:
        folder: of the release, or of the restored images.
        file: relative posix path.

    Raises:
        ReleaseError: the path leaves the folder, be it through a symbolic link.
    """
    path = folder / file
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ReleaseError(f"{file}: leads out of {folder}", fix="do not use this release; ask its owner")
    return path
