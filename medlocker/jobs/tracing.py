"""Examine a leaked copy: whose edition is it, and how sure is that?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from medlocker.audit import Accusation, Event, SignedTreeHead, TraceReported, who
from medlocker.audit.events import EditionMade
from medlocker.copying import Originals
from medlocker.errors import SettingsError
from medlocker.jobs.editions import edition_index, editions_of
from medlocker.jobs.progress import Progress
from medlocker.keys.copies import MarkedCopy
from medlocker.keys.recording import OwnerLedger
from medlocker.tracing.accusing import DEFAULT_COALITION, accuse, merge_evidence
from medlocker.tracing.capacity import EPSILON, Capacity, release_capacity
from medlocker.tracing.codes import TracingCode
from medlocker.tracing.editions import edition_alphabets, tracing_code
from medlocker.tracing.leaks import LeakedFile, LeakReader, evidence_digest, leaked_files
from medlocker.tracing.presence import chance_bound

MOST_RECORDED = 1000


class Suspect(BaseModel):
    """One edition, and how far the leak speaks against whom it was made for.

    Attributes:
        recipient: whose edition.
        edition_id: which.
        score: log-likelihood ratio, nats.
        p_false: at least the probability that anyone innocent among all recipients scores this high.
        matches: images that show this edition's mark.
        accused: whether `p_false` is at most the allowed probability.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipient: str
    edition_id: str
    score: float
    p_false: float
    matches: int
    accused: bool


class ReleaseItself(BaseModel):
    """Whether the release was leaked rather than an edition of it.

    Attributes:
        matches: images that show the release's own mark.
        images: that were read and could have shown another.
        p_editions: at least the probability that up to three editions, mixed at will, show it as often.
        named: whether that is at most the allowed probability.
        holders: recipients of keys to the release itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    matches: int
    images: int
    p_editions: float
    named: bool
    holders: tuple[str, ...]


class TraceReport(BaseModel):
    """What a leak says.

    Attributes:
        release_id: of the release.
        evidence_sha256: of what was examined.
        epsilon: allowed probability of accusing anyone falsely.
        files: one per leaked file.
        images: different images of the release that say something.
        suspects: one per edition, highest score first.
        release_itself: whether the release was leaked.
        capacity: of the release's editions.
        tree_size: of the ledger once this report was recorded; None where it was not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    evidence_sha256: str
    epsilon: float
    files: tuple[LeakedFile, ...]
    images: int
    suspects: tuple[Suspect, ...]
    release_itself: ReleaseItself
    capacity: Capacity
    tree_size: int | None = None

    @property
    def accused(self) -> tuple[Suspect, ...]:
        """The editions that are accused."""
        return tuple(one for one in self.suspects if one.accused)

    @property
    def recognised(self) -> int:
        """Files that are images of the release."""
        return sum(one.image is not None for one in self.files)

    @property
    def counts(self) -> dict[str, int]:
        """Files by status."""
        return dict(Counter(one.status for one in self.files))


@dataclass(frozen=True)
class TraceRequest:
    """What a user asked `trace` for.

    Attributes:
        path: an image, or a folder of them.
        epsilon: allowed probability of accusing anyone falsely.
        coalition: number of conspirators that the score is made for.
        originals: folder with the originals, where the release cannot give them.
    """

    path: Path
    epsilon: float = EPSILON
    coalition: int = DEFAULT_COALITION
    originals: Path | None = None


def run_trace(release: MarkedCopy, request: TraceRequest, ledger: OwnerLedger, progress: Progress) -> TraceReport:
    """Read a leak, name whose copy it is, and put the outcome on record.

    Args:
        release: that editions were made from.
        request: what to examine.
        ledger: of the release; says which editions there are.
        progress: shows it.

    Raises:
        SettingsError: an edition was named, or a number is not valid.
        ReleaseError: there is no image, or an original cannot be restored.
        LedgerError: the ledger is at fault or cannot be written.
    """
    if release.edition is not None:
        raise SettingsError(f"--release {release.folder}: is an edition", fix="name the release it was made from")
    if not 0 < request.epsilon < 1:
        raise SettingsError(f"--epsilon {request.epsilon}: must lie between 0 and 1")
    files, events = leaked_files(request.path), ledger.events()
    digest = evidence_digest(files)
    code = tracing_code(release.vault, release.vault.secret)
    read = _read(release, request, files, progress)
    report = _report(release, request, events, code, read, digest)
    return report.model_copy(update={"tree_size": _record(ledger, report).head.size})


def _read(
    release: MarkedCopy, request: TraceRequest, files: Sequence[tuple[Path, str]], progress: Progress
) -> tuple[LeakedFile, ...]:
    reader = LeakReader(release.vault.images, edition_alphabets(release.vault), Originals(release, request.originals))
    found = []
    with progress.stage("Reading marks", len(files)) as advance:
        for path, name in files:
            found.append(reader.read(path, name))
            advance(1)
    return tuple(found)


def _report(
    release: MarkedCopy,
    request: TraceRequest,
    events: Sequence[Event],
    code: TracingCode,
    files: tuple[LeakedFile, ...],
    digest: str,
) -> TraceReport:
    editions = editions_of(events, release.release_id)
    return TraceReport(
        release_id=release.release_id,
        evidence_sha256=digest,
        epsilon=request.epsilon,
        files=files,
        images=len({one.image for one in files if one.status == "read"}),
        suspects=_suspects(code, files, editions, request),
        release_itself=_release_itself(release, code, files, events, request.epsilon),
        capacity=release_capacity(code, max(1, len(editions)), epsilon=request.epsilon),
    )


def _suspects(
    code: TracingCode, files: Sequence[LeakedFile], editions: Sequence[EditionMade], request: TraceRequest
) -> tuple[Suspect, ...]:
    if not editions:
        return ()
    evidence = merge_evidence(one for file in files if (one := file.evidence) is not None)
    ids = [one.image_id for one in evidence if any(one.shares)]
    shown = {one.image_id: one.shares for one in evidence}
    by_index = {edition_index(one.edition_id): one for one in editions}
    ranked = accuse(code, evidence, list(by_index), epsilon=request.epsilon, coalition=request.coalition)
    words = dict(zip(by_index, code.words(list(by_index), ids), strict=True))
    return tuple(
        Suspect(
            recipient=by_index[one.recipient].recipient,
            edition_id=by_index[one.recipient].edition_id,
            score=one.score,
            p_false=one.p_false,
            matches=sum(shown[i][symbol] > 0 for i, symbol in zip(ids, words[one.recipient], strict=True)),
            accused=one.accused,
        )
        for one in ranked
    )


def _release_itself(
    release: MarkedCopy, code: TracingCode, files: Sequence[LeakedFile], events: Sequence[Event], epsilon: float
) -> ReleaseItself:
    """Several files of one image count once: as the release's only if all of them show its mark."""
    own: dict[str, bool] = {}
    for file in files:
        if file.image is not None and file.status == "read":
            own[file.image] = file.own and own.get(file.image, True)
    alphabets = edition_alphabets(release.vault)
    placed = {image.id: image.placement for image in release.vault.images}
    chances = [float(code.biases(i)[alphabets[i].index(placed[i])]) if placed[i] in alphabets[i] else 0.0 for i in own]
    bound = chance_bound(chances, sum(own.values()), others=DEFAULT_COALITION)
    held = who(events, now=datetime.now(UTC), release=release.release_id)
    return ReleaseItself(
        matches=sum(own.values()),
        images=len(own),
        p_editions=bound,
        named=bound <= epsilon,
        holders=tuple(sorted({one.recipient for one in held if one.edition_id is None})),
    )


def _record(ledger: OwnerLedger, report: TraceReport) -> SignedTreeHead:
    accused = tuple(
        Accusation(recipient=one.recipient, edition_id=one.edition_id, false_accusation=one.p_false)
        for one in report.accused[:MOST_RECORDED]
    )
    itself = report.release_itself
    return ledger.record(
        TraceReported(
            release_id=report.release_id,
            evidence_sha256=report.evidence_sha256,
            images=len(report.files),
            accused=accused,
            release_itself=itself.p_editions if itself.named else None,
        )
    )
