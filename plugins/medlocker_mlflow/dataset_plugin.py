"""What MLflow loads of the data sets when it is imported: their sources, and constructors in `mlflow.data`.

MLflow imports this module in every program of the environment, in the middle of its own import. It therefore imports
nothing heavy, and the constructors name MLflow's base class as what they return (MLflow reads that annotation, so it is
no string and there is no `from __future__ import annotations`).
"""

from pathlib import Path
from typing import Any, Self

from mlflow.data.dataset import Dataset
from mlflow.data.dataset_source import DatasetSource

MANIFEST = "release.json"


class _ConstructedSource(DatasetSource):
    """A source that is made by a constructor of this module and never guessed from a path.

    Plain paths belong to MLflow's own local source; two answers to one path would make MLflow warn.
    """

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        del raw_source
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> Self:
        from medlocker.errors import TrackingError

        raise TrackingError(
            f"{raw_source} is not resolved to a {cls.__name__}",
            fix="use mlflow.data.from_image_folder or mlflow.data.from_medlocker_release",
        )


class ImageFolderSource(_ConstructedSource):
    """A folder (or file) on this machine that images were read from.

    Args:
        path: the folder.
        layout: the layout it was read with.
    """

    def __init__(self, path: str, layout: str) -> None:
        self._path, self._layout = path, layout

    @staticmethod
    def _get_source_type() -> str:
        return "medlocker_images"

    def load(self, **_: Any) -> str:
        """The folder's path; images are never copied.

        Raises:
            FileNotFoundError: the folder is not on this machine.
        """
        if not Path(self._path).exists():
            raise FileNotFoundError(f"{self._path}: not on this machine; the run recorded where the images were read")
        return self._path

    def to_dict(self) -> dict[str, Any]:
        """Path and layout."""
        return {"uri": self._path, "layout": self._layout}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(source_dict["uri"], source_dict["layout"])


class ReleaseSource(_ConstructedSource):
    """A release folder on this machine.

    Args:
        path: the folder that holds `release.json`.
        release_id: of the release that was there; None where it is not known yet.
    """

    def __init__(self, path: str, release_id: str | None = None) -> None:
        self._path, self._release_id = path, release_id

    @staticmethod
    def _get_source_type() -> str:
        return "medlocker_release"

    def load(self, **_: Any) -> str:
        """The folder's path, once it is sure that the same release is there.

        Raises:
            FileNotFoundError: no release is there.
            ReleaseError: its manifest is not valid, or it is another release.
        """
        from medlocker.errors import ReleaseError
        from medlocker.release import load_manifest

        if not (Path(self._path) / MANIFEST).is_file():
            raise FileNotFoundError(f"{self._path}: holds no release; the run recorded where it was")
        found = load_manifest(Path(self._path)).release_id
        if self._release_id not in (None, found):
            raise ReleaseError(f"{self._path}: holds release {found}", why=f"the run is about {self._release_id}")
        return self._path

    def to_dict(self) -> dict[str, Any]:
        """Path and release id."""
        return {"uri": self._path, "release_id": self._release_id}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(source_dict["uri"], source_dict["release_id"])


def from_image_folder(
    path: str | Path, *, name: str | None = None, digest: str | None = None, **options: Any
) -> Dataset:
    """Open a folder of images as an MLflow data set; `mlflow.data.from_image_folder`.

    Args:
        path: the folder, in any layout `medlocker protect --data` reads.
        name: shown in MLflow; None for the folder's name.
        digest: at most 36 characters; None for the data set digest every MedLocker run logs.
        options: further fields of `medlocker.datasets.DatasetSpec`, e.g. `where=(("split", "test"),)`.

    Returns:
        A `medlocker_mlflow.datasets.LoggedImages`: to `mlflow.log_input`, or as `data` of `mlflow.models.evaluate`.

    Raises:
        DatasetError: the folder cannot be read as a data set.
        SettingsError: an option is not valid.
    """
    from medlocker_mlflow.datasets import open_images

    return open_images(Path(path), name, digest, options)


def from_medlocker_release(path: str | Path, *, name: str | None = None, digest: str | None = None) -> Dataset:
    """Describe a release as an MLflow data set; `mlflow.data.from_medlocker_release`.

    Args:
        path: the folder that holds `release.json`.
        name: shown in MLflow; None for `<data set> locked`.
        digest: at most 36 characters; None for one of the marked pixels.

    Returns:
        A `medlocker_mlflow.datasets.LoggedRelease`.

    Raises:
        ReleaseError: no finished release is there.
    """
    from medlocker_mlflow.datasets import LoggedRelease

    return LoggedRelease(Path(path), name, digest)
