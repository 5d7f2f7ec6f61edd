"""Results as rows of plain values, for tables in runs, terminals and files. None holds a placement."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medlocker.jobs.measuring import Measured
from medlocker.metrics import AttackSuccess, GradeSuccess, Proportion
from medlocker.protecting import Protection
from medlocker.transfer import Comparison
from medlocker.visibility import Visibility

Row = dict[str, object]


def _share(proportion: Proportion) -> Row:
    low, high = proportion.interval
    return {"asr": proportion.rate, "low": low, "high": high, "k": proportion.k, "n": proportion.n}


def asr_rows(table: Sequence[AttackSuccess]) -> list[Row]:
    """One row a cell, empty cells left out."""
    return [
        {
            "network": c.network,
            "role": c.role,
            "method": c.method,
            "basis": c.basis,
            "condition": c.condition,
            **_share(c.proportion),
        }
        for c in table
        if c.proportion.n
    ]


def grade_rows(table: Sequence[GradeSuccess]) -> list[Row]:
    """One row a network and class."""
    return [{"network": g.network, "class": g.grade, **_share(g.proportion)} for g in table if g.proportion.n]


def comparison_rows(table: Sequence[Comparison]) -> list[Row]:
    """One row a network and baseline."""
    return [
        {
            "network": c.network,
            "baseline": c.baseline,
            "n": c.searched.n,
            "asr_searched": c.searched.rate,
            "asr_baseline": c.other.rate,
            "mcnemar_p": c.p_value,
        }
        for c in table
        if c.searched.n
    ]


def class_name(class_names: Sequence[str], label: int) -> str:
    """A class's name; its number where the data set gives none (sources may know more classes than the data)."""
    return class_names[label] if label < len(class_names) else str(label)


def visibility_cells(visible: Visibility) -> Row:
    """How visible a mark is, without its α; None where there is nothing to measure on."""
    names = ("ssim", "ssim_mark", "mark_area", "lesion_covered")
    values = {name: float(getattr(visible, name)) for name in names}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def image_rows(protection: Protection, measured: Measured, class_names: Sequence[str]) -> list[Row]:
    """One row an image: what it was, what the sources made of it, how visible its mark is, what networks read now."""
    readings, visible = measured.readings, {v.id: v for v in measured.visible}
    position = {image_id: i for i, image_id in enumerate(readings.ids)}
    rows: list[Row] = []
    for image in protection.images:
        public, at = image.public, position[image.public.id]
        rows.append(
            {
                "id": public.id,
                "class": class_name(class_names, image.label),
                "outcome": public.outcome,
                "logo_scale": image.vault.logo_scale,
                "clean_confidence": public.clean_confidence,
                "final_confidence": public.final_confidence,
                "queries": public.queries,
                **visibility_cells(visible[public.id]),
                "file_bytes": public.file_bytes,
                "packet_bytes": public.packet_bytes,
                **{
                    f"{n.name} {what}": class_name(class_names, readings.predictions[n.name][key][at])
                    for n in readings.networks
                    for what, key in (("clean", "clean"), ("marked", "searched"))
                },
            }
        )
    return rows
