"""Who turns references into networks for a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from medlocker.classifiers import Classifier
from medlocker.errors import ModelError
from medlocker.fitness import Ensemble
from medlocker.segmenting import Segmenter
from medlocker.tracking import ModelOrigin
from medlocker.transfer import Mixture


class NetworkLoader(Protocol):
    """Turns references (names, files, URIs) into networks; the model zoo's is used by the command line."""

    def sources(self, references: Sequence[str]) -> Sequence[Classifier]:
        """Networks the search may query.

        Raises:
            ModelError: a reference cannot be resolved.
        """
        ...

    @property
    def origins(self) -> Sequence[ModelOrigin]:
        """Which stored model versions the networks loaded so far are; those from nowhere known are left out."""
        ...

    def targets(self, references: Sequence[str]) -> Sequence[Classifier]:
        """Networks that only measure transfer.

        Raises:
            ModelError: a reference cannot be resolved.
        """
        ...

    def segmenter(self, reference: str) -> Segmenter:
        """A network that draws lesion masks.

        Raises:
            ModelError: the reference cannot be resolved.
        """
        ...


@dataclass(eq=False)
class JobNetworks:
    """The networks of a job. In another process they are loaded anew there, and must be the same ones.

    Attributes:
        loader: resolves references.
        source_references: of the networks to query.
        weights: β; None for equal ones.
        target_references: of the networks that measure transfer.
        mixtures: of sources and targets, measured as one network each.
    """

    loader: NetworkLoader
    source_references: Sequence[str]
    weights: Sequence[float] | None = None
    target_references: Sequence[str] = ()
    mixtures: Sequence[Mixture] = ()
    _ensemble: Ensemble | None = field(default=None, init=False)
    _targets: Sequence[Classifier] | None = field(default=None, init=False)
    _known: dict[str, str] = field(default_factory=dict, init=False)

    def ensemble(self) -> Ensemble:
        """The sources.

        Raises:
            ModelError: one cannot be loaded, or is another network here than where the job was started.
        """
        if self._ensemble is None:
            self._ensemble = Ensemble(self._checked(self.loader.sources(self.source_references)), self.weights)
        return self._ensemble

    def targets(self) -> Sequence[Classifier]:
        """The targets; raises as `ensemble`."""
        if self._targets is None:
            self._targets = self._checked(self.loader.targets(self.target_references))
        return self._targets

    def _checked(self, networks: Sequence[Classifier]) -> Sequence[Classifier]:
        for network in networks:
            if self._known.setdefault(network.name, network.fingerprint) != network.fingerprint:
                raise ModelError(
                    f"network {network.name} is another one on this worker than where the job was started",
                    fix="put network files where every node sees the same ones",
                )
        return networks

    def __getstate__(self) -> dict[str, Any]:
        """References and fingerprints travel, networks do not."""
        return {
            **self.__dict__,
            "source_references": [_absolute(r) for r in self.source_references],
            "target_references": [_absolute(r) for r in self.target_references],
            "_ensemble": None,
            "_targets": None,
        }


def _absolute(reference: str) -> str:
    """A worker may run in another folder: a reference that is a file here is named from the root."""
    path = Path(reference)
    return str(path.absolute()) if path.is_file() else reference
