"""Fitness of a marked image: what an ensemble of source networks still believes (Eq. 3 and 8)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import torch

from medlocker.blending import Pixels
from medlocker.classifiers import Classifier, Preprocessing, Searchable
from medlocker.errors import ModelError, SettingsError
from medlocker.preprocessing import network_input

Objective = Literal["mean_probability", "log_odds", "worst_member"]
"""What a search minimises over the class to leave: the weighted mean of the members' probabilities (Eq. 8, the
paper's); the probability whose log-odds are the weighted mean of theirs, so that a member already misled adds no less
than one that is sure; or the largest of theirs, so that no member is given up. With one member all are equal."""
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
FARTHEST = 1e-6
"""Probabilities are kept this far from 0 and 1 where their log-odds are taken."""


class Ensemble:
    """Source networks with weights β that sum to 1; its probability is the weighted mean of their softmax outputs.

    Source: Eq. 8, READINGS 15. One network alone is an ensemble of one.

    Args:
        members: source networks, all with the same classes and on one device.
        weights: one β per member, positive, summing to 1; None for equal ones.

    Raises:
        SettingsError: no member, or weights that do not fit.
        ModelError: members differ in their number of classes or their device.
    """

    def __init__(self, members: Sequence[Classifier], weights: Sequence[float] | None = None) -> None:
        if not members:
            raise SettingsError("no source network was named", fix="name one with --sources")
        self.members = tuple(members)
        self.weights = tuple(weights) if weights is not None else (1 / len(members),) * len(members)
        if len(self.weights) != len(members) or min(self.weights) <= 0 or not math.isclose(sum(self.weights), 1.0):
            raise SettingsError(
                f"weights {self.weights} for {len(members)} sources",
                why="there must be one positive weight a source, and they must sum to 1",
            )
        self._check_members()

    def _check_members(self) -> None:
        first = self.members[0]
        for member in self.members[1:]:
            if member.num_classes != first.num_classes:
                raise ModelError(
                    f"source {member.name} has {member.num_classes} classes, {first.name} has {first.num_classes}",
                    fix="use sources trained for the same classes",
                )
            if member.device != first.device:
                raise ModelError(f"source {member.name} is on {member.device}, {first.name} on {first.device}")

    @property
    def num_classes(self) -> int:
        """Classes every member tells apart."""
        return self.members[0].num_classes

    @property
    def device(self) -> torch.device:
        """Where inputs are expected."""
        return self.members[0].device

    @property
    def preprocessings(self) -> tuple[Preprocessing, ...]:
        """The distinct inputs its members need, in a stable order."""
        return tuple(dict.fromkeys(member.preprocessing for member in self.members))

    def probabilities(self, inputs: Mapping[Preprocessing, torch.Tensor]) -> torch.Tensor:
        """Mean class probabilities.

        Source: Eq. 8.

        Args:
            inputs: for each of `preprocessings`, (B, 3, S, S) float32 on `device`.

        Returns:
            (B, K) float32 on `device`.
        """
        return self._mean(self._each(inputs))

    def answers(self, inputs: Mapping[Preprocessing, torch.Tensor], objective: Objective) -> torch.Tensor:
        """What a search is told: mean probabilities, which decide success, and the objective's value for each class.

        Args:
            inputs: as for `probabilities`.
            objective: what the search minimises.

        Returns:
            (B, 2, K) float32 on `device`, all in 0–1.
        """
        each = self._each(inputs)
        return torch.stack([self._mean(each), _POOLING[objective](self, each)], dim=1)

    def _each(self, inputs: Mapping[Preprocessing, torch.Tensor]) -> torch.Tensor:
        """(M, B, K) probabilities of every member."""
        return torch.stack([member.probabilities(inputs[member.preprocessing]) for member in self.members])

    def _mean(self, each: torch.Tensor) -> torch.Tensor:
        beta = torch.tensor(self.weights, dtype=each.dtype, device=each.device)
        return (beta[:, None, None] * each).sum(0)

    def _mean_log_odds(self, each: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self._mean(torch.logit(each, eps=FARTHEST)))

    def _largest(self, each: torch.Tensor) -> torch.Tensor:
        return each.amax(0)

    def searching(self) -> Ensemble:
        """The same ensemble in its members' fast arithmetic."""
        members = [m.searching() if isinstance(m, Searchable) else m for m in self.members]
        return Ensemble(members, self.weights)

    def read(self, pixels: Pixels) -> torch.Tensor:
        """Mean class probabilities of one stored image, (K,) float32 on the CPU."""
        inputs = {p: network_input(pixels, p)[None].to(self.device) for p in self.preprocessings}
        return self.probabilities(inputs)[0].cpu()


_POOLING: Mapping[Objective, Callable[[Ensemble, torch.Tensor], torch.Tensor]] = {
    "mean_probability": Ensemble._mean,
    "log_odds": Ensemble._mean_log_odds,
    "worst_member": Ensemble._largest,
}
