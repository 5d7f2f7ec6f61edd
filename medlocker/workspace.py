"""The owner's folder beside a release: what an unfinished job needs to go on, and what the owner keeps afterwards.

It never holds a placement or the release secret in the clear: both are sealed, the secret to the owner's public key and
each image's record under a key derived from that secret.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from medlocker.errors import ReleaseError, ResumeMismatchError
from medlocker.imageio import new_writer, write_atomic
from medlocker.keys import Identity, VaultImage, open_record, seal_record
from medlocker.keys.copies import VAULT_NAME
from medlocker.release import MANIFEST_NAME, ReleaseImage
from medlocker.sealing import open_with, seal_to

JOB_NAME = "job.json"
SECRET_NAME = "secret.age"
OWNER_SUFFIX = ".owner"
RECORDS_NAME = "records"
SECRET_BYTES = 32


class JobDocument(BaseModel):
    """What was asked for; nothing secret.

    Attributes:
        schema_version: of this document.
        release_id: 32 hexadecimal digits, random.
        created_at: UTC.
        owner: the owner's public key.
        settings: everything that decides the release, flat names to values; a resumed job must agree.
        context: where data and models were found, for later commands; may differ on resume.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["medlocker.job/1"] = "medlocker.job/1"
    release_id: str
    created_at: datetime
    owner: str
    settings: dict[str, Any]
    context: dict[str, Any]


class SavedImage(BaseModel):
    """What is known of one image once it is saved: the owner's part and the public part.

    Attributes:
        vault: parameters and hashes; sealed wherever it is stored.
        public: its line in the release manifest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    vault: VaultImage
    public: ReleaseImage


class FinishedImage(SavedImage):
    """The same of an image that was searched, and what the search saw.

    Attributes:
        label: the class to leave.
        curve: lowest confidence after the first population and after each generation.
        clean_prediction: class the sources gave the clean image.
    """

    label: int
    clean_prediction: int
    curve: tuple[float, ...]


_Saved = TypeVar("_Saved", bound=SavedImage)


class InfeasibleImage(BaseModel):
    """An image that was left out because no placement was feasible."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    infeasible: Literal[True] = True


class Workspace:
    """One release's folder pair: `release` is given away, `owner_dir` stays.

    Use `start_or_resume` to make one.

    Attributes:
        release: folder of the marked images.
        owner_dir: the owner's folder.
        job: what was asked for.
        secret: of the release.
        writer: tells apart who writes into `release` at the same time, see `write_atomic`.
    """

    def __init__(self, release: Path, owner_dir: Path, job: JobDocument, secret: bytes, writer: str = "") -> None:
        self.release, self.owner_dir, self.job, self.secret = release, owner_dir, job, secret
        self.writer = writer

    @property
    def vault_path(self) -> Path:
        """Where the sealed vault is once the release is complete."""
        return self.owner_dir / VAULT_NAME

    @property
    def complete(self) -> bool:
        """Whether the release was finished."""
        return (self.release / MANIFEST_NAME).exists() and self.vault_path.exists()

    @classmethod
    def start_or_resume(
        cls,
        release: Path,
        owner_dir: Path,
        owner: Identity,
        settings: Mapping[str, Any],
        context: Mapping[str, Any],
    ) -> Workspace:
        """Begin a release, or go on with one that was begun with the same settings.

        Args:
            release: folder of the marked images; made if missing.
            owner_dir: the owner's folder; made if missing.
            owner: seals the secret, and opens it again on resume.
            settings: everything that decides the release.
            context: where things were found.

        Returns:
            The workspace.

        Raises:
            ReleaseError: `release` holds other files, or the owner's folder is damaged.
            ResumeMismatchError: the unfinished release was begun with other settings; names those that differ.
            WrongKeyError: `owner` is not the identity it was begun with.
        """
        if (owner_dir / JOB_NAME).exists():
            return cls._resume(release, owner_dir, owner, settings)
        if release.exists() and (not release.is_dir() or any(release.iterdir())):
            raise ReleaseError(
                f"{release}: already exists and is not an unfinished release of {owner_dir}",
                fix="give --out a new or empty folder, or move the old one away",
            )
        return cls._start(release, owner_dir, owner, settings, context)

    @classmethod
    def _start(
        cls, release: Path, owner_dir: Path, owner: Identity, settings: Mapping[str, Any], context: Mapping[str, Any]
    ) -> Workspace:
        release.mkdir(parents=True, exist_ok=True)
        owner_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        (owner_dir / RECORDS_NAME).mkdir(exist_ok=True)
        job = JobDocument(
            release_id=secrets.token_hex(16),
            created_at=datetime.now(UTC).replace(microsecond=0),
            owner=owner.public_key,
            settings=dict(settings),
            context=dict(context),
        )
        secret = secrets.token_bytes(SECRET_BYTES)
        write_atomic(owner_dir / SECRET_NAME, seal_to([owner.public_key], secret))
        # The job document comes last: while it is missing, nothing has begun.
        write_atomic(owner_dir / JOB_NAME, (job.model_dump_json(indent=2) + "\n").encode())
        return cls(release, owner_dir, job, secret)

    @classmethod
    def _resume(cls, release: Path, owner_dir: Path, owner: Identity, settings: Mapping[str, Any]) -> Workspace:
        job = load_job(owner_dir)
        wanted = JobDocument.model_validate_json(job.model_copy(update={"settings": dict(settings)}).model_dump_json())
        differing = sorted(
            key
            for key in {*job.settings, *wanted.settings}
            if job.settings.get(key, _ABSENT) != wanted.settings.get(key, _ABSENT)
        )
        if differing:
            changes = "; ".join(f"{k} was {job.settings.get(k)!r}, is {wanted.settings.get(k)!r}" for k in differing)
            raise ResumeMismatchError(
                f"{release}: this release was begun with other settings: {changes}",
                fix=f"repeat the first command to go on, or choose another --out (or delete {release} and {owner_dir})",
            )
        release.mkdir(parents=True, exist_ok=True)
        return cls(release, owner_dir, job, open_secret(owner_dir, owner))

    def _record_path(self, image_id: str) -> Path:
        return self.owner_dir / RECORDS_NAME / f"{hashlib.sha256(image_id.encode()).hexdigest()[:40]}.mlrec"

    def save(self, image_id: str, finished: SavedImage | InfeasibleImage) -> None:
        """Seal one image's record; written after the image itself, so that a record vouches for its file."""
        self.save_sealed(image_id, self.sealed(image_id, finished))

    def sealed(self, image_id: str, finished: SavedImage | InfeasibleImage) -> bytes:
        """One image's record as it is stored and sent; the same bytes for the same record."""
        return seal_record(self.secret, self.job.release_id, image_id, finished.model_dump_json().encode())

    def save_sealed(self, image_id: str, sealed: bytes) -> None:
        """Store a record that was sealed elsewhere."""
        write_atomic(self._record_path(image_id), sealed)

    def sealed_record(self, image_id: str) -> bytes | None:
        """One image's record as it is stored; None where there is none."""
        path = self._record_path(image_id)
        return path.read_bytes() if path.exists() else None

    def opened(self, image_id: str, sealed: bytes) -> FinishedImage | InfeasibleImage:
        """A record that was sealed for this release.

        Raises:
            ReleaseError: it is damaged, or of a copy that was made without what the search saw.
        """
        plain = self._plain(image_id, sealed)
        if b'"infeasible":true' in plain:
            return InfeasibleImage.model_validate_json(plain)
        if b'"label":' not in plain:
            raise ReleaseError(
                f"{self.owner_dir}: its record of {image_id} does not say what the search saw",
                why="this copy was made from a release whose own records were gone",
                fix="use the release it was made from",
            )
        return FinishedImage.model_validate_json(plain)

    def load(self, image_id: str) -> FinishedImage | InfeasibleImage | None:
        """One image's record; None where the image is not finished or its file is gone.

        Raises:
            ReleaseError: the record is damaged, or of a copy that was made without what the search saw.
        """
        sealed = self.sealed_record(image_id)
        if sealed is None:
            return None
        record = self.opened(image_id, sealed)
        return self._present(record) if isinstance(record, FinishedImage) else record

    def load_saved(self, image_id: str) -> SavedImage | None:
        """One image's record in a copy that was made without a search; None as `load`.

        Raises:
            ReleaseError: the record is damaged.
        """
        sealed = self.sealed_record(image_id)
        plain = self._plain(image_id, sealed) if sealed is not None else None
        if plain is None or b'"infeasible":true' in plain:
            return None
        return self._present((FinishedImage if b'"label":' in plain else SavedImage).model_validate_json(plain))

    def _plain(self, image_id: str, sealed: bytes) -> bytes:
        return open_record(self.secret, self.job.release_id, image_id, sealed)

    def _present(self, record: _Saved) -> _Saved | None:
        return record if (self.release / record.public.file).exists() else None

    def for_worker(self, secret: bytes) -> Workspace:
        """This workspace elsewhere: it writes under a name of its own, and knows neither owner's folder nor settings.

        Args:
            secret: of the release; empty for one that only travels.
        """
        job = self.job.model_copy(update={"context": {}, "settings": {}})
        return Workspace(self.release.absolute(), Path(), job, secret, writer=new_writer())

    def load_all(self, image_ids: list[str]) -> Iterator[FinishedImage | InfeasibleImage]:
        """The records of a finished job, in the given order.

        Raises:
            ReleaseError: one is missing.
        """
        for image_id in image_ids:
            record = self.load(image_id)
            if record is None:
                raise ReleaseError(f"{self.owner_dir}: no record of image {image_id}", fix="repeat medlocker protect")
            yield record


_ABSENT = object()


def load_job(owner_dir: Path) -> JobDocument:
    """Read the job document of an owner's folder.

    Raises:
        ReleaseError: it is missing or damaged.
    """
    path = owner_dir / JOB_NAME
    try:
        return JobDocument.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ReleaseError(
            f"{path}: no such file", fix="name the owner's folder of the release with --owner-dir"
        ) from error
    except ValidationError as error:
        raise ReleaseError(f"{path}: damaged job document", why=str(error.errors()[0]["msg"])) from error


def open_secret(owner_dir: Path, owner: Identity) -> bytes:
    """The release secret of a begun release.

    Raises:
        ReleaseError: the sealed secret is missing.
        WrongKeyError: `owner` cannot open it.
    """
    path = owner_dir / SECRET_NAME
    if not path.exists():
        raise ReleaseError(f"{path}: no such file", why="without the release secret the release cannot be continued")
    return open_with(owner, path.read_bytes())


def default_owner_dir(release: Path) -> Path:
    """`RELEASE.owner` beside `RELEASE`."""
    return release.with_name(release.name + OWNER_SUFFIX)
