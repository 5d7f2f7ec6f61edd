"""Which of the listed images are wanted, decided before any pixel is decoded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from medlocker.datasets.labels import class_index
from medlocker.datasets.spec import DatasetSpec, Entry, Listing
from medlocker.errors import DatasetError, SettingsError


def select(listing: Listing, spec: DatasetSpec, names: tuple[str, ...]) -> list[Entry]:
    """Apply `where`, then `per_class`, then `limit`.

    Images beside the listed ones that no row names are part of the selection only where it is the whole data set.

    Args:
        listing: what the layout found.
        spec: the user's request.
        names: class names.

    Returns:
        The selected entries, sorted by id.

    Raises:
        DatasetError: nothing is selected.
        SettingsError: `where` without a CSV file, or `per_class` without labels.
    """
    if not listing.entries:
        raise DatasetError(f"{spec.root}: no images found", fix="give --data the folder of the images")
    entries = sorted(listing.entries, key=lambda entry: (entry.id, entry.relative_path.as_posix()))
    if spec.where or spec.per_class or spec.limit:
        entries = [entry for entry in entries if entry.in_table]
    if spec.where:
        entries = _matching(entries, spec.where, listing)
    if spec.per_class is not None:
        if not listing.labelled:
            raise SettingsError("images cannot be drawn per class", why=f"{spec.root} has no labels")
        entries = _sample(entries, spec.per_class, spec.seed, names)
    return entries[: spec.limit]


def _matching(entries: Sequence[Entry], where: Iterable[tuple[str, str]], listing: Listing) -> list[Entry]:
    if not listing.has_columns:
        raise SettingsError("images cannot be selected by column", why=f"{listing.root} has no CSV file")
    kept = list(entries)
    for column, value in where:
        known = sorted({entry.columns[column] for entry in entries if column in entry.columns})
        if not known:
            columns = ", ".join(dict.fromkeys(name for entry in entries for name in entry.columns))
            raise DatasetError(f"no column {column}", why=f"the columns are {columns}")
        kept = [entry for entry in kept if entry.columns.get(column) == value]
        if not kept:
            raise DatasetError(
                f"no row where {column} is {value}", why=f"{column} has the values {', '.join(known[:10])}"
            )
    return kept


def _sample(entries: Sequence[Entry], per_class: int, seed: int, names: tuple[str, ...]) -> list[Entry]:
    """Draw from each class; entries whose label cannot be used stay, to be reported."""
    groups: dict[int | None, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[class_index(entry.label or "", names)].append(entry)
    drawn = groups.pop(None, [])
    for label, members in groups.items():
        # One generator a class: a class's draw does not depend on the size of the others.
        order = np.random.default_rng((seed, label or 0)).permutation(len(members))
        drawn += [members[index] for index in order[:per_class]]
    return sorted(drawn, key=lambda entry: (entry.id, entry.relative_path.as_posix()))
