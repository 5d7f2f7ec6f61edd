"""What a finished cell leaves on disk: every class every network read, and how visible the marks are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from medlocker.errors import ReleaseError
from medlocker.imageio import write_atomic
from medlocker.jobs.measuring import Measured
from medlocker.protecting import Protection
from medlocker.transfer import Readings
from medlocker.visibility import Visibility

SEEN = ("ssim", "ssim_mark", "ssim_lesions", "mark_area", "lesion_covered", "lesion_boxes_covered")
"""Figures of visibility that are kept. Opacities and places are not: they belong to the key."""


class SeenImage(BaseModel):
    """How visible one mark is; None where there is nothing to measure on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ssim: float | None
    ssim_mark: float | None
    ssim_lesions: float | None
    mark_area: float | None
    lesion_covered: float | None
    lesion_boxes_covered: float | None

    @classmethod
    def of(cls, visible: Visibility) -> SeenImage:
        """Without what belongs to the key."""
        values = {name: float(getattr(visible, name)) for name in SEEN}
        return cls(**{name: None if math.isnan(value) else value for name, value in values.items()})


class CellReadings(BaseModel):
    """A finished cell.

    Attributes:
        readings: what every network read.
        class_names: of the data set.
        seen: one an image, in the order of `readings.ids`.
        queries: candidates the search asked about, one an image.
        infeasible: images left out because no position was feasible.
        shrunk: images with a smaller logo than asked for.
        seconds: spent on locking, in the run that finished the cell; resumed images cost none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["medlocker.cell/1"] = "medlocker.cell/1"
    readings: Readings
    class_names: tuple[str, ...]
    seen: tuple[SeenImage, ...]
    queries: tuple[int, ...]
    infeasible: tuple[str, ...]
    shrunk: tuple[str, ...]
    seconds: float

    @classmethod
    def of(cls, measured: Measured, protection: Protection, class_names: Sequence[str], seconds: float) -> CellReadings:
        """From a measured release."""
        return cls(
            readings=measured.readings,
            class_names=tuple(class_names),
            seen=tuple(SeenImage.of(visible) for visible in measured.visible),
            queries=tuple(image.public.queries for image in protection.images),
            infeasible=protection.infeasible,
            shrunk=tuple(image.public.id for image in protection.shrunk),
            seconds=seconds,
        )

    def save(self, path: Path) -> None:
        """Write it; the file is whole or not there."""
        write_atomic(path, (self.model_dump_json(indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> CellReadings | None:
        """Read it; None where the cell is not finished.

        Raises:
            ReleaseError: the file is damaged.
        """
        if not path.is_file():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ReleaseError(f"{path}: damaged", why=error.errors()[0]["msg"], fix="delete it") from error
