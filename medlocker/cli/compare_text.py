"""What a folder is to a copy, in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medlocker.jobs.comparing import ComparisonReport, FileVerdict

SHOWN = 20
"""Files named one by one."""

_SAID: dict[FileVerdict, str] = {
    "identical": "are images of it pixel for pixel",
    "same_mark": "were altered and show its mark",
    "other_mark": "show another copy's mark",
    "says_nothing": "are its images and do not tell copies apart",
    "foreign": "are none of its images",
    "unreadable": "cannot be read as images",
    "differs": "are not identical",
}


def comparison_text(report: ComparisonReport, against: Path) -> str:
    """The whole report, outcome first."""
    return "\n".join([_outcome(report, against), *_details(report)])


def _outcome(report: ComparisonReport, against: Path) -> str:
    name = f"edition {report.copy_id} of {report.recipient}" if report.recipient else f"{against} ({report.copy_id})"
    sure = (
        "" if report.p_other is None else f"; another copy would look so with probability at most {report.p_other:.2g}"
    )
    if report.verdict == "identical":
        return f"These are images of {name}, pixel for pixel{sure}."
    if report.verdict == "lossy":
        return f"These are altered images of {name}, told by their marks{sure}."
    if report.verdict == "other":
        return f"This is not {name}, or not it alone. medlocker trace tells whose copy it is."
    more = (
        "" if report.p_other is not None else " Altered copies are told by their marks: repeat as the owner, --owner."
    )
    return f"It is not shown that these are images of {name}{sure}.{more}"


def _details(report: ComparisonReport) -> Iterator[str]:
    for verdict, words in _SAID.items():
        if number := report.counts.get(verdict):
            yield f"  {number} of {len(report.files)} files {words}"
    yield f"  {report.present} of the copy's {report.images} images are here"
    told = [one for one in report.files if one.message]
    yield from (f"  {one.file}: {one.message}" for one in told[:SHOWN])
    if len(told) > SHOWN:
        yield f"  … and {len(told) - SHOWN} more; --json names all"
