"""Open a data set: list it, select from it, decode what was selected, and account for every file left out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from medlocker.blending import pixel_sha256
from medlocker.datasets.base import Dataset, Problem, Record
from medlocker.datasets.detection import list_entries
from medlocker.datasets.labels import class_index, class_names
from medlocker.datasets.selection import select
from medlocker.datasets.spec import DatasetSpec, Entry
from medlocker.errors import (
    DatasetError,
    EmptyImageError,
    ImageReadError,
    MissingImageError,
    UnsupportedImageError,
)
from medlocker.imageio import read_image

_SHOWN_PROBLEMS = 10


def open_dataset(
    spec: DatasetSpec,
    *,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
    cache: Path | None = None,
) -> Dataset:
    """Open a data set.

    Selection (`where`, then `per_class`, then `limit`) happens before pixels are decoded; each selected file is then
    decoded once and hashed. Of files with equal pixels the first in id order is kept.

    Args:
        spec: where it is and which part of it is wanted.
        progress: called with (files done, files selected) after each file.
        workers: threads that decode; the result does not depend on their number.
        cache: folder for images that come out of an archive; None for the folder of the archive.

    Returns:
        The data set; its `problems` are the files left out under `on_error="skip"`.

    Raises:
        DatasetError: layout or columns unclear, nothing selected, nothing usable, or, under `on_error="stop"`, any
            selected file that cannot be used; the message lists them.
    """
    listing = list_entries(spec, cache)
    names = class_names(entry.label or "" for entry in listing.entries)
    selected = select(listing, spec, names)
    outcomes = _check_all(selected, names, listing.labelled, progress, workers)
    records, problems = _without_repeats(outcomes)
    if problems and (spec.on_error == "stop" or not records):
        raise _unusable(problems, len(selected))
    name = spec.root.resolve().stem if spec.root.is_file() else spec.root.resolve().name
    return Dataset(name, listing.root, listing.layout, records, names if listing.labelled else (), problems)


def _check_all(
    entries: Sequence[Entry],
    names: tuple[str, ...],
    labelled: bool,
    progress: Callable[[int, int], None] | None,
    workers: int,
) -> list[Record | Problem]:
    seen: dict[str, Entry] = {}
    outcomes: list[Record | Problem] = []
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        checks = pool.map(lambda entry: _check(entry, names, labelled), entries)
        for done, (entry, outcome) in enumerate(zip(entries, checks, strict=True), start=1):
            first = seen.setdefault(entry.id, entry)
            outcomes.append(outcome if first is entry else _same_id(entry, first))
            if progress is not None:
                progress(done, len(entries))
    return outcomes


def _same_id(entry: Entry, first: Entry) -> Problem:
    if entry.path != first.path:
        return Problem(entry.path, "duplicate", f"it would get the same id as {first.path}: {entry.id}")
    conflict = "" if entry.label == first.label else f", with the labels {first.label} and {entry.label}"
    return Problem(entry.path, "duplicate", f"it is listed twice{conflict}")


def _check(entry: Entry, names: tuple[str, ...], labelled: bool) -> Record | Problem:
    if entry.problem is not None:
        return entry.problem
    label = class_index(entry.label or "", names) if labelled else None
    if labelled and not entry.label:
        where = "its row gives no label" if entry.in_table else "no row of the CSV file and no class folder names it"
        return Problem(entry.path, "unlabelled", where)
    if labelled and label is None:
        return Problem(entry.path, "bad_label", f"{entry.label} is not one of the classes, {names[0]} to {names[-1]}")
    try:
        if entry.materialise is not None:
            entry.materialise()
        digest = pixel_sha256(read_image(entry.path).pixels)
    except ImageReadError as error:
        return _read_problem(entry.path, error)
    return Record(entry.id, entry.path, entry.relative_path, label, digest, entry.lesion_masks)


def _read_problem(path: Path, error: ImageReadError) -> Problem:
    what = error.what.removeprefix(f"{path}: ")
    detail = f"{what} ({error.why})" if error.why else what
    if isinstance(error, MissingImageError):
        return Problem(path, "missing", detail)
    if isinstance(error, EmptyImageError):
        return Problem(path, "empty", detail)
    return Problem(path, "unsupported" if isinstance(error, UnsupportedImageError) else "unreadable", detail)


def _without_repeats(outcomes: Iterable[Record | Problem]) -> tuple[tuple[Record, ...], tuple[Problem, ...]]:
    first: dict[str, Record] = {}
    problems = []
    for outcome in outcomes:
        if isinstance(outcome, Problem):
            problems.append(outcome)
            continue
        kept = first.setdefault(outcome.pixel_sha256, outcome)
        if kept is not outcome:
            problems.append(_repeat(outcome, kept))
    return tuple(first.values()), tuple(problems)


def _repeat(record: Record, kept: Record) -> Problem:
    conflict = "" if record.label == kept.label else ", which has another label"
    return Problem(record.path, "duplicate", f"its pixels are those of {kept.path}{conflict}")


def _unusable(problems: Sequence[Problem], total: int) -> DatasetError:
    lines = [f"\n  {problem.path}: {problem.reason}: {problem.detail}" for problem in problems[:_SHOWN_PROBLEMS]]
    if len(problems) > _SHOWN_PROBLEMS:
        lines.append(f"\n  and {len(problems) - _SHOWN_PROBLEMS} more")
    fix = "Repair or remove them, or leave them out with --on-error skip"
    if len(problems) == total:
        fix = "Repair them; there is nothing else to read"
    return DatasetError(f"{len(problems)} of {total} selected files cannot be used", why="".join(lines), fix="\n" + fix)


def dataset_digest(dataset: Dataset) -> str:
    """Digest of a data set's content: ids, labels with their names, and pixel hashes.

    Args:
        dataset: an opened data set.

    Returns:
        64 hexadecimal digits; independent of paths, file formats and the order on disk.
    """
    rows = sorted((record.id, record.label, record.pixel_sha256) for record in dataset.records)
    text = json.dumps(["medlocker.dataset/1", dataset.class_names, rows], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
