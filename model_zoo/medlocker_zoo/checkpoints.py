"""A training run's state between epochs, kept on disk so that an interrupted run continues as if nothing happened."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch

from medlocker.errors import ModelError
from medlocker_zoo.storage import replaced_atomically

FILE_NAME = "checkpoint.pt"


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch gave.

    Attributes:
        epoch: 0-based.
        train_loss: mean over its steps, of augmented images.
        validation_loss: mean cross-entropy.
        accuracy: on the validation images.
        kappa: quadratic weighted, on the validation images.
        seconds: wall time.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    accuracy: float
    kappa: float
    seconds: float

    @property
    def score(self) -> float:
        """The validation kappa, by which the best epoch is chosen; one that is not defined counts as −1."""
        return -1.0 if math.isnan(self.kappa) else self.kappa


class Scored(Protocol):
    """What a run keeps of an epoch: a frozen dataclass with at least these two."""

    @property
    def epoch(self) -> int: ...
    @property
    def score(self) -> float: ...


R = TypeVar("R", bound=Scored)


@dataclass
class RunState(Generic[R]):
    """A run between two epochs.

    Attributes:
        network: being trained.
        optimiser: of the network.
        best: weights of the epoch with the highest score so far.
        history: one record per finished epoch.
    """

    network: torch.nn.Module
    optimiser: torch.optim.Optimizer
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[R] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """The first epoch with the highest score."""
        return max(self.history, key=lambda record: (record.score, -record.epoch)).epoch

    def finish_epoch(self, record: R) -> None:
        """Add an epoch's record, and keep its weights if it is the best so far."""
        self.history.append(record)
        if self.best_epoch == record.epoch:
            self.best = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}

    def exhausted(self, epochs: int, patience: int | None) -> bool:
        """Whether training ends here: all epochs done, or `patience` epochs without a better one."""
        if not self.history:
            return False
        last = self.history[-1].epoch
        return last + 1 >= epochs or (patience is not None and last - self.best_epoch >= patience)


def save_checkpoint(folder: Path, state: RunState[R], settings: Mapping[str, object]) -> None:
    """Write the state; a checkpoint that is already there is replaced only when the new one is complete."""
    document = {
        "settings": json.dumps(settings, sort_keys=True),
        "network": state.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "best": state.best,
        "history": [asdict(record) for record in state.history],  # type: ignore[call-overload]
    }
    with replaced_atomically(folder / FILE_NAME) as draft:
        torch.save(document, draft)


def load_checkpoint(
    folder: Path, state: RunState[R], settings: Mapping[str, object], record_type: Callable[..., R]
) -> bool:
    """Continue from a checkpoint.

    Args:
        folder: where checkpoints are kept.
        state: of a run that has not begun; changed.
        settings: of this run.
        record_type: makes an epoch's record from its fields.

    Returns:
        Whether there was a checkpoint.

    Raises:
        ModelError: the checkpoint cannot be read, or belongs to other settings.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return False
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
        earlier = json.loads(document["settings"])
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"{path}: not a readable checkpoint", why=str(error), fix="delete it to start again"
        ) from error
    changed = [key for key in sorted(settings.keys() | earlier.keys()) if settings.get(key) != earlier.get(key)]
    if changed:
        raise ModelError(
            f"{path}: belongs to a run with another {', '.join(changed)}",
            fix="repeat the earlier command to continue that run, or choose another checkpoint folder",
        )
    state.network.load_state_dict(document["network"])
    state.optimiser.load_state_dict(document["optimiser"])
    state.best = document["best"]
    state.history = [record_type(**record) for record in document["history"]]
    return True
