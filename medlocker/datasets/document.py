"""A data set written down, so that a later command finds the same records without listing the folder again."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict

from medlocker.datasets.base import Dataset, Layout, Record


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RecordDocument(_Model):
    """One record; `path` and masks are below the data set's root where they can be."""

    id: str
    path: str
    relative_path: str
    label: int | None
    pixel_sha256: str
    lesion_masks: dict[str, str] = {}


class DatasetDocument(_Model):
    """A data set as plain values."""

    name: str
    root: str
    layout: Layout
    class_names: tuple[str, ...]
    records: tuple[RecordDocument, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> DatasetDocument:
        """Write a data set down; its problems are left out."""
        root = dataset.root.resolve()
        return cls(
            name=dataset.name,
            root=str(root),
            layout=dataset.layout,
            class_names=dataset.class_names,
            records=tuple(
                RecordDocument(
                    id=r.id,
                    path=_below(r.path, root),
                    relative_path=r.relative_path.as_posix(),
                    label=r.label,
                    pixel_sha256=r.pixel_sha256,
                    lesion_masks={kind: _below(path, root) for kind, path in r.lesion_masks.items()},
                )
                for r in dataset.records
            ),
        )

    def dataset(self, root: Path | None = None) -> Dataset:
        """The data set again.

        Args:
            root: where it is now; None for where it was.
        """
        base = Path(self.root) if root is None else root
        records = tuple(
            Record(
                id=r.id,
                path=base / r.path,
                relative_path=PurePosixPath(r.relative_path),
                label=r.label,
                pixel_sha256=r.pixel_sha256,
                lesion_masks={kind: base / path for kind, path in r.lesion_masks.items()},
            )
            for r in self.records
        )
        return Dataset(self.name, base, self.layout, records, self.class_names)


def _below(path: Path, root: Path) -> str:
    absolute = path.resolve()
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(absolute)
