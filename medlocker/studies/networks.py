"""The networks of a study, each loaded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medlocker.classifiers import Classifier
from medlocker.errors import ModelError
from medlocker.jobs.networks import JobNetworks, NetworkLoader
from medlocker.segmenting import Segmenter
from medlocker.studies.plan import StudyPlan
from medlocker.tracking import ModelOrigin
from medlocker.transfer import Mixture


@dataclass(eq=False)
class StudyNetworks:
    """Networks by the names of the plan.

    Attributes:
        plan: names, weights files and ensembles.
        folder: that weights files count from.
        loader: turns references into networks.
    """

    plan: StudyPlan
    folder: Path
    loader: NetworkLoader
    _sources: dict[str, Classifier] = field(default_factory=dict, init=False)
    _targets: dict[str, Classifier] = field(default_factory=dict, init=False)
    _segmenter: Segmenter | None = field(default=None, init=False)

    @property
    def origins(self) -> Sequence[ModelOrigin]:
        """As `NetworkLoader`."""
        return self.loader.origins

    def _reference(self, name: str) -> str:
        """A file below the folder where there is one, else what the plan says: a zoo name or an MLflow URI."""
        text = self.plan.networks[name]
        return str(self.folder / text) if (self.folder / text).is_file() else text

    def reader(self, name: str) -> Classifier:
        """One network, by PyTorch, under the plan's name.

        Raises:
            ModelError: it cannot be loaded.
        """
        if name not in self._sources:
            (network,) = self.loader.sources([self._reference(name)])
            self._sources[name] = renamed(network, name)
        return self._sources[name]

    def sources(self, references: Sequence[str]) -> Sequence[Classifier]:
        """Networks by the plan's names, by PyTorch; as `NetworkLoader`."""
        return [self.reader(name) for name in references]

    def targets(self, references: Sequence[str]) -> Sequence[Classifier]:
        """Networks by the plan's names, by ONNX Runtime; as `NetworkLoader`."""
        return [self._target(name) for name in references]

    def job(self, source: str, names: Sequence[str]) -> JobNetworks:
        """The networks of one cell.

        Args:
            source: network or ensemble that is queried; its members are read anyway.
            names: networks and ensembles to measure; an ensemble's members are measured with it.
        """
        members = self.plan.members(source)
        wanted = dict.fromkeys(member for name in names for member in self.plan.members(name))
        mixtures = [
            Mixture(name, self.plan.members(name), self.plan.weights(name))
            for name in names
            if name in self.plan.ensembles
        ]
        targets = [name for name in wanted if name not in members]
        return JobNetworks(self, members, self.plan.weights(source), targets, mixtures)

    def _target(self, name: str) -> Classifier:
        if name not in self._targets:
            (network,) = self.loader.targets([self._reference(name)])
            self._targets[name] = renamed(network, name)
        return self._targets[name]

    def segmenter(self, reference: str) -> Segmenter:
        """The network that draws masks; as `NetworkLoader`.

        Raises:
            ModelError: it cannot be loaded.
        """
        if self._segmenter is None:
            path = self.folder / reference
            self._segmenter = self.loader.segmenter(str(path) if path.is_file() else reference)
        return self._segmenter


def renamed(network: Classifier, name: str) -> Classifier:
    """The network under the plan's name, which tables use.

    Raises:
        ModelError: its name cannot be set.
    """
    if network.name != name:
        try:
            network.name = name  # type: ignore[misc]
        except AttributeError as error:
            raise ModelError(f"{network.name} cannot be called {name}") from error
    return network
