"""From a record and the settings to what the search may do on that image: its mark and its feasible placements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from medlocker.blending import AlphaRule, Logo, Mark, Pixels, prepare_mark
from medlocker.datasets import Record, read_mask
from medlocker.errors import InfeasiblePlacementError
from medlocker.placement import PlacementMode, WhenInfeasible, resolve_feasible
from medlocker.regions import Box, RegionSettings, lesion_boxes, structure_boxes
from medlocker.search import SearchSpace


class MarkSettings(BaseModel):
    """How a mark may look and where it may lie.

    Attributes:
        logo_scale: the paper's sl.
        alpha_range: smallest and largest α, 0–255 (READINGS 5).
        rule: how per-pixel opacity follows from α.
        placement: anywhere, off the lesions or on them.
        when_infeasible: what happens to an image on which no position is feasible.
        regions: how lesion masks become boxes.
        protect: mask types that no placement mode may cover, e.g. the optic disc `OD`; they are no lesions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    logo_scale: Annotated[float, Field(ge=1, le=64)] = 4.0
    alpha_range: tuple[Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]] = (100, 255)
    rule: AlphaRule = "alpha_channel"
    placement: PlacementMode = "anywhere"
    when_infeasible: WhenInfeasible = "stop"
    regions: RegionSettings = RegionSettings()
    protect: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> MarkSettings:
        if self.alpha_range[0] > self.alpha_range[1]:
            raise ValueError(f"alpha range {self.alpha_range}: the smallest α comes first")
        return self


@dataclass(frozen=True, eq=False)
class Plan:
    """One image's mark and its feasible placements.

    Attributes:
        mark: the logo scaled for this image.
        logo_scale: the scale really used (larger than asked for where the mark was shrunk).
        space: feasible individuals.
    """

    mark: Mark
    logo_scale: float
    space: SearchSpace


def plan_image(record: Record, pixels: Pixels, logo: Logo, settings: MarkSettings) -> Plan | None:
    """Work out where a mark may lie on one image.

    Source: STEP 2–5, READINGS 16–20.

    Args:
        record: names the image and its lesion masks.
        pixels: the stored image.
        logo: the logo.
        settings: scale, opacity range and placement mode.

    Returns:
        The plan; None where nothing is feasible and `when_infeasible` is `skip`.

    Raises:
        InfeasiblePlacementError: nothing is feasible and `when_infeasible` is `stop`, or shrinking did not help.
        DatasetError: a mask cannot be read or has another frame.
    """
    size = (pixels.shape[1], pixels.shape[0])
    lesions, protected = _boxes(record, pixels.shape[:2], settings)
    try:
        resolved = resolve_feasible(
            size, logo.size, settings.logo_scale, settings.placement, lesions, protected, settings.when_infeasible
        )
    except InfeasiblePlacementError as error:
        raise InfeasiblePlacementError(
            f"{record.path}: {error.what}",
            why=error.why,
            fix="--when-infeasible shrink makes the logo smaller there, --when-infeasible skip leaves the image out",
        ) from error
    if resolved is None:
        return None
    mark = prepare_mark(logo, pixels.shape, pixels.dtype, logo_scale=resolved.logo_scale, rule=settings.rule)
    return Plan(mark, resolved.logo_scale, SearchSpace(resolved.feasible, settings.alpha_range, size))


def _boxes(record: Record, shape: tuple[int, ...], settings: MarkSettings) -> tuple[tuple[Box, ...], tuple[Box, ...]]:
    """Boxes of the lesions, and of what else must stay free; none for `anywhere` without protected types."""
    frame = (shape[0], shape[1])
    others = [read_mask(path, frame) for kind, path in sorted(record.lesion_masks.items()) if kind in settings.protect]
    lesions = [] if settings.placement == "anywhere" else read_lesions(record, frame, settings)
    return lesion_boxes(lesions, settings.regions), structure_boxes(others)


def read_lesions(record: Record, shape: tuple[int, int], settings: MarkSettings) -> list[npt.NDArray[np.bool_]]:
    """The masks that count as lesions: all but anatomy and what `protect` names.

    Args:
        record: names the masks.
        shape: (H, W) px of the image.
        settings: its `protect`.

    Returns:
        (H, W) bool masks, by type; empty where the data set has none for this image.

    Raises:
        DatasetError: a mask cannot be read or has another frame.
    """
    kinds = sorted(record.lesion_masks.keys() - ANATOMY - set(settings.protect))
    return [read_mask(record.lesion_masks[kind], shape) for kind in kinds]


ANATOMY = frozenset({"OD", "MAC"})
"""Mask types that are anatomy, not lesions: optic disc and macula. Only `protect` keeps them free."""
