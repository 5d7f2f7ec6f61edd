"""Read leaked files against a release: which image each is, and which of its placements it shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from medlocker.blending import Mark, Pixels, Placement, lock
from medlocker.errors import ImageReadError, ReleaseError
from medlocker.imageio import IMAGE_SUFFIXES, read_image
from medlocker.keys import VaultImage
from medlocker.tracing.accusing import Evidence
from medlocker.tracing.matching import LARGEST_ERROR, SHORTLIST, Identified, ImageIndex, build_index, identify
from medlocker.tracing.reading import read_symbols
from medlocker.tracing.registration import register

LeakStatus = Literal["read", "one_placement", "no_mark", "foreign", "unreadable"]
"""`read`: shows a known mark. `one_placement`: shows it, but every copy has it there. `no_mark`: an image of the
release without a known mark. `foreign`: none of its images. `unreadable`: no image at all."""


class LeakedFile(BaseModel):
    """What one leaked file says.

    Attributes:
        file: path below what was examined.
        status: what was found.
        image: id of the image it was made from; None for `foreign` and `unreadable`.
        found_by: whether its name or its content told that image.
        exact: whether it is, pixel for pixel, a marked copy of that image.
        shares: of each usable placement of the image; all 0 where none was recognised.
        own: whether it shows the placement that the copy it was compared with has.
        message: why it says nothing; empty where it does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    status: LeakStatus
    image: str | None = None
    found_by: Literal["name", "content"] | None = None
    exact: bool = False
    shares: tuple[float, ...] = ()
    own: bool = False
    message: str = ""

    @property
    def evidence(self) -> Evidence | None:
        """For `accuse`; None where there is nothing to say."""
        if self.image is None or self.status not in ("read", "no_mark"):
            return None
        return Evidence(self.image, self.shares)


class OriginalImages(Protocol):
    """Where originals come from."""

    def pixels(self, image_id: str) -> Pixels:
        """One original."""
        ...

    def mark(self, image_id: str) -> Mark:
        """The logo, scaled for it."""
        ...


class LeakReader:
    """Reads leaked files against one copy of a release.

    Args:
        images: of the copy's vault; their placements are its own.
        alphabets: image id → usable placements, as `edition_alphabets` gives them.
        originals: of the images.
    """

    def __init__(
        self, images: Sequence[VaultImage], alphabets: Mapping[str, tuple[Placement, ...]], originals: OriginalImages
    ) -> None:
        self._images, self._alphabets, self._originals = {i.id: i for i in images}, alphabets, originals
        self._named: dict[str, list[str]] = {}
        for image in images:
            whole = PurePosixPath(image.file).with_suffix("")
            for name in {whole.as_posix().casefold(), whole.name.casefold()}:
                self._named.setdefault(name, []).append(image.id)

    def read(self, path: Path, file: str) -> LeakedFile:
        """Read one file.

        Args:
            path: where it lies.
            file: its name in the report.

        Raises:
            ReleaseError: an original of the release cannot be restored.
        """
        try:
            leaked = read_image(path).pixels
        except ImageReadError as error:
            return LeakedFile(file=file, status="unreadable", message=error.why or error.what)
        return (
            self._exact(leaked, file)
            or self._by_name(leaked, file)
            or self._by_content(leaked, file)
            or LeakedFile(file=file, status="foreign", message="it resembles no image of this release")
        )

    def _candidates(self, image_id: str) -> tuple[Placement, ...]:
        """The usable placements, and the copy's own where it is none of them."""
        usable, own = self._alphabets[image_id], self._images[image_id].placement
        return usable if own in usable else (*usable, own)

    def _likely_by_name(self, file: str) -> list[str]:
        whole = PurePosixPath(file).with_suffix("")
        found = [*self._named.get(whole.as_posix().casefold(), ()), *self._named.get(whole.name.casefold(), ())]
        return list(dict.fromkeys(found))[:SHORTLIST]

    def _exact(self, leaked: Pixels, file: str) -> LeakedFile | None:
        """A copy that was not altered is told by its pixels alone."""
        for image_id in self._likely_by_name(file):
            if found := self._same(leaked, file, image_id, "name"):
                return found
        return None

    def _same(
        self, leaked: Pixels, file: str, image_id: str, found_by: Literal["name", "content"]
    ) -> LeakedFile | None:
        image = self._images[image_id]
        if leaked.shape != image.shape or leaked.dtype.name != image.dtype:
            return None
        original, mark = self._originals.pixels(image_id), self._originals.mark(image_id)
        for number, placement in enumerate(self._candidates(image_id)):
            if (lock(original, mark, placement) == leaked).all():
                shares = tuple(float(n == number) for n in range(len(self._candidates(image_id))))
                return self._told(file, image_id, found_by, shares, exact=True)
        return None

    def _by_name(self, leaked: Pixels, file: str) -> LeakedFile | None:
        found = [Identified(one, register(leaked, self._originals.pixels(one))) for one in self._likely_by_name(file)]
        best = min(found, key=lambda one: one.registration.error, default=None)
        if best is None or best.registration.error > LARGEST_ERROR:
            return None
        return self._shown(leaked, file, best, "name")

    def _by_content(self, leaked: Pixels, file: str) -> LeakedFile | None:
        for image_id in self._index.likely(leaked):
            if found := self._same(leaked, file, image_id, "content"):
                return found
        best = identify(leaked, self._index, self._originals.pixels)
        return None if best is None else self._shown(leaked, file, best, "content")

    @cached_property
    def _index(self) -> ImageIndex:
        return build_index((image_id, self._originals.pixels(image_id)) for image_id in self._images)

    def _shown(self, leaked: Pixels, file: str, found: Identified, found_by: Literal["name", "content"]) -> LeakedFile:
        image_id = found.image_id
        original, mark = self._originals.pixels(image_id), self._originals.mark(image_id)
        reading = read_symbols(leaked, original, mark, self._candidates(image_id), found.registration)
        return self._told(file, image_id, found_by, reading.shares, exact=False)

    def _told(
        self,
        file: str,
        image_id: str,
        found_by: Literal["name", "content"],
        shares: tuple[float, ...],
        *,
        exact: bool,
    ) -> LeakedFile:
        usable, candidates = len(self._alphabets[image_id]), self._candidates(image_id)
        status: LeakStatus = "read" if any(shares) else "no_mark"
        message = "" if any(shares) else "no known mark is on it: cut out, painted over or too damaged"
        if status == "read" and len(candidates) == 1:
            status, message = "one_placement", "every copy has its mark in the same place there"
        strongest = max(range(len(shares)), key=lambda n: shares[n])
        return LeakedFile(
            file=file,
            status=status,
            image=image_id,
            found_by=found_by,
            exact=exact,
            shares=shares[:usable],
            own=any(shares) and candidates[strongest] == self._images[image_id].placement,
            message=message,
        )


def leaked_files(path: Path) -> tuple[tuple[Path, str], ...]:
    """The image files at a path: itself, or all below a folder; (where, name in the report), in order of name.

    Raises:
        ReleaseError: there is none.
    """
    found = [(path, path.name)] if path.is_file() else list(_below(path))
    if not found:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        why = f"looked for {known}" if path.exists() else "no such file or folder"
        raise ReleaseError(f"{path}: no image to examine", why=why, fix="name an image or a folder of images")
    return tuple(sorted(found, key=lambda one: one[1]))


def _below(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            yield path, path.relative_to(folder).as_posix()


def evidence_digest(files: Sequence[tuple[Path, str]]) -> str:
    """SHA-256 of what was examined: names and contents, as a ledger records it.

    Raises:
        ReleaseError: a file cannot be read.
    """
    whole = hashlib.sha256()
    for path, name in files:
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ReleaseError(f"{path}: cannot be read", why=error.strerror) from error
        whole.update(f"{content}  {name}\n".encode())
    return whole.hexdigest()
