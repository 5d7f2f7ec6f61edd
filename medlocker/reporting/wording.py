"""The sentences and names a report uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from medlocker.metrics import AttackSuccess, Proportion
from medlocker.release import Outcome, ReleaseManifest
from medlocker.reporting.data import ReportData

OUTCOMES: dict[Outcome, str] = {
    "fooled": "Now misread",
    "not_fooled": "Still read correctly",
    "clean_misread": "Misread before marking",
    "infeasible": "No position found",
}
METHODS = {
    "searched": "the search",
    "random_best": "best of equally many random positions",
    "random_single": "one random position",
    "box": "plain box in the searched position",
}
COUNTED = {
    ("per_model", "unconditional"): "all this network read correctly",
    ("common", "unconditional"): "all that every network read correctly",
    ("per_model", "source_fooled"): "those of this network's that fooled the sources",
    ("common", "source_fooled"): "those common to all networks that fooled the sources",
}


def fooled(manifest: ReleaseManifest) -> Proportion:
    """Misread after marking, among the images the sources read correctly before."""
    outcomes = [image.outcome for image in manifest.images]
    k = outcomes.count("fooled")
    return Proportion(k, k + outcomes.count("not_fooled"))


def outcome_sentences(data: ReportData) -> list[str]:
    """What happened, the most important first."""
    sentences = [_source_sentence(data), *map(_target_sentence, headline_targets(data.attack_success))]
    if data.unlock_check:
        restored, tried = data.unlock_check
        complete = f"All {tried} originals were restored bit for bit."
        sentences.append(complete if restored == tried else f"Only {restored} of {tried} originals could be restored.")
    return sentences


def _source_sentence(data: ReportData) -> str:
    share = fooled(data.manifest)
    names = listed(source.name for source in data.manifest.sources)
    if not share.n:
        return f"{counted(len(data.manifest.images), 'image')} marked; {names} read none of them correctly before."
    low, high = share.interval
    share_text = f"{share.k} of {counted(share.n, 'image')} ({share.rate:.0%}, 95% interval {low:.0%} to {high:.0%})"
    if not data.labelled:
        return f"{share_text} are read as another class by {names} after marking. The data set has no labels."
    return f"{share_text} that {names} read correctly are misread after marking."


def _target_sentence(cell: AttackSuccess) -> str:
    share = cell.proportion
    return f"{cell.network}, which the search never asked, misreads {share.k} of {share.n} ({share.rate:.0%})."


def headline_targets(cells: Sequence[AttackSuccess]) -> list[AttackSuccess]:
    """The headline reading of each target: searched marks, all images it read correctly."""
    return [cell for cell in cells if cell.role == "target" and cell.method == "searched" and is_headline(cell)]


def is_headline(cell: AttackSuccess) -> bool:
    """Whether a cell counts all images its own network read correctly (READINGS 14)."""
    return cell.proportion.n > 0 and (cell.basis, cell.condition) == ("per_model", "unconditional")


def listed(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    items = list(names)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "the sources"


def counted(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def setting(value: object) -> str:
    """A setting's value as a person would write it."""
    if value is None or value == "":
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {setting(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(setting(item) for item in value) or "none"
    return str(value)
