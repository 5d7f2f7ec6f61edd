"""A trace in words: what was found, what it proves, and what it does not."""

from __future__ import annotations

from collections.abc import Iterator

from medlocker.jobs.tracing import TraceReport
from medlocker.tracing.leaks import LeakedFile, LeakStatus

SHOWN = 20
"""Files that said nothing, named one by one."""

_SAID: dict[LeakStatus, str] = {
    "read": "show a mark that tells recipients apart",
    "one_placement": "show a mark that every copy has in the same place",
    "no_mark": "are images of the release without a known mark",
    "foreign": "are no images of the release",
    "unreadable": "cannot be read as images",
}


def trace_text(report: TraceReport) -> str:
    """The whole report, outcome first."""
    return "\n".join([*_verdict(report), "", *_evidence(report), "", *_meaning(report)])


def _verdict(report: TraceReport) -> Iterator[str]:
    for one in report.accused:
        yield (
            f"{one.recipient}: their edition {one.edition_id} was used for this leak "
            f"({_probability(one.p_false)}; {one.matches} of {report.images} images show its mark)"
        )
    itself = report.release_itself
    if itself.named:
        holders = ", ".join(itself.holders) or "nobody by key"
        yield (
            f"The release itself was leaked, not an edition: {itself.matches} of {itself.images} images show its own "
            f"mark (by chance at most {itself.p_editions:.2g}). It cannot be told who leaked it; keys to it hold: "
            f"{holders}."
        )
    if not report.accused and not itself.named:
        yield "Nobody is named."
        yield from _closest(report)


def _closest(report: TraceReport) -> Iterator[str]:
    if not report.suspects:
        yield "No edition of this release was ever made (medlocker edition make), so that no recipient can be named."
    elif report.images:
        best = report.suspects[0]
        yield (
            f"The closest, {best.recipient} ({best.matches} of {report.images} images), scores no higher than somebody "
            f"innocent might: {_probability(best.p_false)}."
        )


def _evidence(report: TraceReport) -> Iterator[str]:
    yield f"Examined: {len(report.files)} files, SHA-256 {report.evidence_sha256}"
    counts = report.counts
    for status, words in _SAID.items():
        if counts.get(status):
            yield f"  {counts[status]} {words}"
    exact, named = sum(one.exact for one in report.files), sum(one.found_by == "content" for one in report.files)
    if exact:
        yield f"  {exact} are a marked copy pixel for pixel"
    if named:
        yield f"  {named} were recognised without their names"
    silent = [one for one in report.files if one.message]
    yield from (_silent(one) for one in silent[:SHOWN])
    if len(silent) > SHOWN:
        yield f"  … and {len(silent) - SHOWN} more; --json names all"


def _silent(one: LeakedFile) -> str:
    return f"  {one.file}: {one.message}"


def _meaning(report: TraceReport) -> Iterator[str]:
    if report.accused:
        yield (
            f"That anyone innocent among the {len(report.suspects)} editions is accused by such a leak has probability "
            f"{report.epsilon:g} at most (allowed with --epsilon), whatever was done to the copies."
        )
        yield (
            "It names a copy, not a person: a copy that was stolen names whom it was stolen from. And you could have "
            "made this copy yourself, so that towards others the ledger's records count, not this score alone."
        )
    else:
        yield "Nobody named is no acquittal: too few images, a mark removed, or a copy that the ledger does not know."
    needed = report.capacity.images_needed
    words = ", ".join(
        f"{'more than all' if n is None else n} for {'one recipient' if c == 1 else f'a coalition of {c}'}"
        for c, n in needed.items()
    )
    yield f"Images that name somebody in this release, about: {words}. This leak has {report.images} that speak."
    if report.tree_size:
        yield f"Recorded in the ledger as event {report.tree_size - 1}."


def _probability(value: float) -> str:
    return f"false with probability at most {value:.2g}"
