"""Is this folder that copy: pixel for pixel, or by the marks that survived compression and resizing?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from medlocker.blending import pixel_sha256
from medlocker.copying import Originals
from medlocker.errors import ImageReadError, ReleaseError
from medlocker.imageio import read_image
from medlocker.jobs.progress import Progress
from medlocker.keys import VaultDocument, read_vault
from medlocker.keys.copies import VAULT_NAME, MarkedCopy
from medlocker.keys.recording import ledger_file
from medlocker.release import load_manifest
from medlocker.sealing import Identity
from medlocker.tracing.capacity import EPSILON
from medlocker.tracing.editions import edition_alphabets, tracing_code
from medlocker.tracing.leaks import LeakedFile, LeakReader, leaked_files
from medlocker.tracing.presence import chance_bound

FileVerdict = Literal["identical", "same_mark", "other_mark", "says_nothing", "foreign", "unreadable", "differs"]
"""`identical`: pixel for pixel an image of the copy. `same_mark`: altered, with the copy's mark. `other_mark`: with
another copy's. `says_nothing`: no mark is left, or every copy has it in the same place. `differs`: not identical, and
without the owner nothing more can be said."""
Verdict = Literal["identical", "lossy", "other", "unproved"]
"""`identical`: every file is. `lossy`: some were altered, and the marks are the copy's. `other`: a file has another
copy's mark. `unproved`: too little is left to tell."""


class ComparedFile(BaseModel):
    """What one file is.

    Attributes:
        file: path below what was compared.
        verdict: what it is.
        image: of the copy; None where it is none of its images.
        message: why, where there is something to say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    verdict: FileVerdict
    image: str | None = None
    message: str = ""


class ComparisonReport(BaseModel):
    """What a folder is to a copy.

    Attributes:
        copy_id: of the release or edition.
        recipient: whose edition it is; None for a release, or where the owner did not look.
        verdict: of the whole.
        files: one each.
        images: of the copy.
        present: different images of the copy among the files.
        p_other: at least the probability that a copy drawn for somebody else shows the copy's marks as often; None
            where the owner did not look.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    copy_id: str
    recipient: str | None = None
    verdict: Verdict
    files: tuple[ComparedFile, ...]
    images: int
    present: int
    p_other: float | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Files by verdict."""
        return dict(Counter(one.verdict for one in self.files))


def compare_publicly(path: Path, copy: Path) -> ComparisonReport:
    """Compare with a copy at hand, pixel for pixel, without any secret.

    Args:
        path: an image, or a folder of them; names do not matter.
        copy: folder of a release or edition.

    Raises:
        ReleaseError: the copy has no valid manifest, or there is no image at `path`.
    """
    manifest = load_manifest(copy)
    known = {image.marked_sha256: image.id for image in manifest.images}
    files = tuple(_identical(where, name, known) for where, name in leaked_files(path))
    whole = all(one.verdict == "identical" for one in files)
    return ComparisonReport(
        copy_id=manifest.release_id,
        verdict="identical" if whole else "unproved",
        files=files,
        images=len(manifest.images),
        present=_present(files),
    )


def compare_with_secrets(
    path: Path, copy: MarkedCopy, release: VaultDocument, progress: Progress, *, originals: Path | None = None
) -> ComparisonReport:
    """Compare with a copy by its marks, as its owner.

    Args:
        path: an image, or a folder of them; names do not matter.
        copy: release or edition.
        release: vault of the release that the copy is, or was made from.
        progress: shows it.
        originals: folder with the originals, where the copy is damaged.

    Raises:
        ReleaseError: there is no image at `path`, or an original cannot be restored.
    """
    places = leaked_files(path)
    alphabets = edition_alphabets(release)
    reader = LeakReader(copy.vault.images, alphabets, Originals(copy, originals))
    read = []
    with progress.stage("Comparing marks", len(places)) as advance:
        for where, name in places:
            read.append(reader.read(where, name))
            advance(1)
    files = tuple(map(_compared, read))
    bound = _bound(copy, release, read)
    return ComparisonReport(
        copy_id=copy.vault.release_id,
        recipient=copy.edition.recipient if copy.edition else None,
        verdict=_verdict(files, bound),
        files=files,
        images=len(copy.vault.images),
        present=_present(files),
        p_other=bound,
    )


def release_vault(copy: MarkedCopy, identity: Identity, folder: Path | None = None) -> VaultDocument:
    """The vault of the release that a copy is, or was made from.

    Args:
        copy: release or edition.
        identity: the owner's.
        folder: the owner's folder of the release; None for that which the edition names.

    Raises:
        ReleaseError: it is missing, or of another release.
        WrongKeyError: it is sealed to someone else.
    """
    if copy.edition is None:
        return copy.vault
    path = (folder or ledger_file(copy.owner_dir).parent) / VAULT_NAME
    vault = read_vault(path, identity)
    if vault.release_id != copy.edition.release_id:
        raise ReleaseError(
            f"{path}: of release {vault.release_id}, the edition was made from {copy.edition.release_id}",
            fix="name the owner's folder of that release with --release-owner-dir",
        )
    return vault


def _identical(path: Path, name: str, known: dict[str, str]) -> ComparedFile:
    try:
        image = known.get(pixel_sha256(read_image(path).pixels))
    except ImageReadError as error:
        return ComparedFile(file=name, verdict="unreadable", message=error.why or error.what)
    if image is None:
        return ComparedFile(file=name, verdict="differs", message="its pixels are those of no image of the copy")
    return ComparedFile(file=name, verdict="identical", image=image)


def _compared(one: LeakedFile) -> ComparedFile:
    told: FileVerdict
    if one.status in ("foreign", "unreadable"):
        told = "foreign" if one.status == "foreign" else "unreadable"
    elif one.own and one.exact:
        told = "identical"
    elif one.status == "read":
        told = "same_mark" if one.own else "other_mark"
    else:
        told = "says_nothing"
    message = one.message if told not in ("identical", "same_mark") else ""
    return ComparedFile(file=one.file, verdict=told, image=one.image, message=message)


def _bound(copy: MarkedCopy, release: VaultDocument, read: Sequence[LeakedFile]) -> float:
    """Files of one image count once, for the copy only if all of them show its mark."""
    code, alphabets = tracing_code(release, release.secret), edition_alphabets(release)
    placed = {image.id: image.placement for image in copy.vault.images}
    own: dict[str, bool] = {}
    for one in read:
        if one.image is not None and one.status == "read":
            own[one.image] = one.own and own.get(one.image, True)
    chances = [float(code.biases(i)[alphabets[i].index(placed[i])]) if placed[i] in alphabets[i] else 0.0 for i in own]
    return chance_bound(chances, sum(own.values()))


def _verdict(files: Sequence[ComparedFile], bound: float) -> Verdict:
    kinds = {one.verdict for one in files}
    if "other_mark" in kinds:
        return "other"
    if bound > EPSILON or kinds & {"foreign", "unreadable"}:
        return "unproved"
    return "identical" if kinds == {"identical"} else "lossy"


def _present(files: Sequence[ComparedFile]) -> int:
    return len({one.image for one in files if one.verdict in ("identical", "same_mark")})
