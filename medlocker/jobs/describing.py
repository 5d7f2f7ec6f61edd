"""A finished release in words, outcome first: the description of its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medlocker.datasets import Dataset
from medlocker.metrics import AttackSuccess, Proportion
from medlocker.protecting import Protection


def describe(
    dataset: Dataset,
    protection: Protection,
    table: Sequence[AttackSuccess],
    restored: tuple[int, int],
    metrics: Mapping[str, float],
    models: Sequence[str] = (),
) -> str:
    """The run in words, outcome first.

    Args:
        dataset: the originals.
        protection: the release.
        table: attack success.
        restored: (restored bit for bit, tried).
        metrics: as logged.
        models: lines that say which model version a network is.

    Returns:
        Markdown.
    """
    lines = [_outcome(dataset, protection, restored), "", *_transfer(table), *_visible(metrics), *_cost(metrics)]
    if protection.infeasible:
        lines.append(f"- {len(protection.infeasible)} images were left out: no placement was feasible.")
    if protection.shrunk:
        largest = max(image.vault.logo_scale for image in protection.shrunk)
        lines.append(
            f"- {len(protection.shrunk)} images carry a smaller logo for want of room (scale up to {largest:g})."
        )
    lines += [f"- {line}" for line in models]
    lines.append(f"\nRelease {protection.manifest.release_id}. Intervals are 95 %; those of rates are Wilson's.")
    return "\n".join(lines)


def _outcome(dataset: Dataset, protection: Protection, restored: tuple[int, int]) -> str:
    images = [i.public for i in protection.images]
    right = [i for i in images if i.outcome != "clean_misread"]
    source = Proportion(sum(i.outcome == "fooled" for i in right), len(right))
    return (
        f"**{len(images)} images of {dataset.name} locked.** The sources "
        f"({', '.join(s.name for s in protection.manifest.sources)}) now misread {source} of those they read correctly "
        f"before; {restored[0]} of {restored[1]} images unlock bit for bit."
    )


def _transfer(table: Sequence[AttackSuccess]) -> list[str]:
    return [
        f"- Transfer to {c.network}, never queried: {c.proportion}"
        for c in table
        if (c.role, c.method, c.basis, c.condition) == ("target", "searched", "per_model", "unconditional")
    ]


def _visible(metrics: Mapping[str, float]) -> list[str]:
    parts = []
    if "visible/mark_area" in metrics:
        parts.append(f"the mark lies on {metrics['visible/mark_area']:.1%} of an image")
    if "visible/ssim_mean" in metrics:
        parts.append(f"structural similarity is {_mean(metrics, 'visible/ssim_mean')}")
    if "visible/lesion_covered" in metrics:
        parts.append(
            f"{metrics['visible/lesion_covered']:.1%} of the lesion pixels are covered "
            f"(worst image {metrics['visible/lesion_covered_max']:.1%})"
        )
    return [f"- Visible cost: {'; '.join(parts)}."] if parts else []


def _mean(metrics: Mapping[str, float], name: str) -> str:
    interval = f" ({metrics[name + '/lo']:.3f}–{metrics[name + '/hi']:.3f})" if f"{name}/lo" in metrics else ""
    return f"{metrics[name]:.3f}{interval}"


def _cost(metrics: Mapping[str, float]) -> list[str]:
    parts = []
    if "cost/queries_mean" in metrics:
        parts.append(f"{metrics['cost/queries_mean']:,.0f} queries an image")
    if "cost/seconds_per_image" in metrics:
        parts.append(f"{metrics['cost/seconds_per_image']:.2g} s an image")
    return [f"- Cost: {', '.join(parts)}."] if parts else []
