"""Past runs: find them in the tracking store, read what they logged, choose among them."""

from __future__ import annotations

import io
import math
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from mlflow import MlflowClient
from mlflow.entities import Experiment, Run
from PIL import Image
from pydantic import ValidationError

from medlocker.errors import SettingsError, TrackingError
from medlocker.transfer import Readings
from medlocker_mlflow.comparing import RunFacts
from medlocker_mlflow.names import ORIGIN_TAG, SETTING_PREFIX
from medlocker_mlflow.store import connect, quieten, store_errors

READINGS = "release/readings.json"
PICTURES = "pictures/samples"
_OWN_TAGS = "medlocker."
_CONDITION = re.compile(r"\s*(?P<name>[^<>=!]+?)\s*(?P<sign><=|>=|!=|=|<|>)\s*(?P<value>.*?)\s*", re.DOTALL)


@dataclass(frozen=True)
class Condition:
    """Something a run must satisfy.

    Attributes:
        name: `verb`, `status`, `name` or `experiment`, a metric, a setting without `cfg/`, or a tag `medlocker.…`.
        sign: `=`, `!=`, `<`, `<=`, `>` or `>=`.
        value: compared as a number where both sides are numbers.
    """

    name: str
    sign: str
    value: str


def parse_condition(text: str) -> Condition:
    """`search.name=random`, `visible/ssim_mean>=0.98` and the like.

    Raises:
        SettingsError: it is no comparison.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise SettingsError(
            f"--where {text}: not a condition", fix="write NAME=VALUE, e.g. search.name=random or cost/seconds<60"
        )
    return Condition(found["name"], found["sign"], found["value"])


def named_value(run: RunFacts, name: str) -> str | float | None:
    """What a run says under a name of `Condition`; None where it says nothing."""
    own = {"verb": run.verb, "status": run.status, "name": run.name, "experiment": run.experiment}
    for place in (own, run.metrics, run.settings, run.tags):
        if name in place:
            value: str | float = place[name]
            return value
    return None


def satisfies(run: RunFacts, condition: Condition) -> bool:
    """Whether a run has the value and it compares as asked.

    Raises:
        SettingsError: `<` or `>` meets something that is no number.
    """
    value = named_value(run, condition.name)
    if value is None:
        return False
    left, right = _number(value), _number(condition.value)
    if condition.sign in ("=", "!="):
        same = left == right if left is not None and right is not None else str(value) == condition.value
        return same == (condition.sign == "=")
    if left is None or right is None:
        raise SettingsError(
            f"--where {condition.name}{condition.sign}{condition.value}: not two numbers",
            why=f"the run {run.name} has {value!r}",
            fix="use = or !=",
        )
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[condition.sign]


def _number(value: str | float) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


class History:
    """The runs of a tracking store.

    Args:
        tracking_uri: the store; None for MLFLOW_TRACKING_URI or MLflow's default.

    Raises:
        TrackingError: the store does not answer.
    """

    def __init__(self, tracking_uri: str | None) -> None:
        quieten()
        self._client: MlflowClient = connect(tracking_uri)
        with store_errors("the experiments could not be read"):
            self._experiments = {e.experiment_id: e for e in _pages_of_experiments(self._client)}

    def runs(self, experiment: str | None, conditions: Sequence[Condition] = ()) -> list[RunFacts]:
        """Runs that satisfy every condition, newest first, without their readings.

        Args:
            experiment: its name; None for all.
            conditions: what they must satisfy.

        Raises:
            SettingsError: a condition names what no run has.
            TrackingError: there is no such experiment, or the store does not answer.
        """
        found = [self._facts(run) for run in self._search(self._ids(experiment))]
        for condition in conditions:
            if found and all(named_value(run, condition.name) is None for run in found):
                raise SettingsError(
                    f"--where {condition.name}: no run has a setting, metric or tag of that name",
                    fix="medlocker runs list --json shows the names that runs have",
                )
        return [run for run in found if all(satisfies(run, condition) for condition in conditions)]

    def run(self, reference: str) -> RunFacts:
        """One run, with its readings.

        Args:
            reference: its id, the unique beginning of its id, or its unique name.

        Raises:
            SettingsError: no run, or several, fit.
            TrackingError: the store does not answer, or its readings cannot be read.
        """
        fitting = [
            run
            for run in self._search(list(self._experiments))
            if run.info.run_name == reference
            or (len(reference) >= 4 and any(i.startswith(reference) for i in _ids(run)))
        ]
        if len(fitting) != 1:
            several = ", ".join(run.info.run_id[:8] for run in fitting[:5])
            raise SettingsError(
                f"{reference}: {'no' if not fitting else len(fitting)} runs of that name or id",
                why=f"they are {several}" if fitting else None,
                fix="give an id that medlocker runs list --all-experiments shows",
            )
        return self.with_readings(self._facts(fitting[0]))

    def with_readings(self, run: RunFacts) -> RunFacts:
        """The run with what its networks read, where it logged that.

        Raises:
            TrackingError: the artifact cannot be fetched or is not valid.
        """
        with store_errors(f"the readings of {run.name} could not be fetched"), tempfile.TemporaryDirectory() as folder:
            if READINGS not in {item.path for item in self._client.list_artifacts(run.run_id, "release")}:
                return run
            content = Path(self._client.download_artifacts(run.run_id, READINGS, folder)).read_bytes()
        try:
            return replace(run, readings=Readings.model_validate_json(content))
        except ValidationError as error:
            raise TrackingError(
                f"the run {run.name} has readings that cannot be read",
                why=error.errors(include_input=False)[0]["msg"],
                fix="update MedLocker, or measure the release again with medlocker transfer",
            ) from error

    def picture_names(self, run: RunFacts) -> list[str]:
        """Artifact paths of the run's comparison pictures, by name."""
        with store_errors(f"the pictures of {run.name} could not be listed"):
            return sorted(i.path for i in self._client.list_artifacts(run.run_id, PICTURES) if i.path.endswith(".png"))

    def picture(self, run: RunFacts, path: str) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 pixels of a logged picture."""
        with store_errors(f"{path} of {run.name} could not be fetched"), tempfile.TemporaryDirectory() as folder:
            content = Path(self._client.download_artifacts(run.run_id, path, folder)).read_bytes()
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), dtype=np.uint8)

    def _ids(self, experiment: str | None) -> list[str]:
        ids = [i for i, e in self._experiments.items() if experiment in (None, e.name)]
        if not ids:
            raise TrackingError(
                f"there is no experiment {experiment}",
                why=f"there are {', '.join(e.name for e in self._experiments.values())}",
                fix="name one with --experiment, or use --all-experiments",
            )
        return ids

    def _search(self, experiment_ids: list[str]) -> Iterator[Run]:
        token: str | None = None
        with store_errors("the runs could not be read"):
            while True:
                page = self._client.search_runs(experiment_ids, page_token=token)
                yield from page
                token = page.token
                if not token:
                    return

    def _facts(self, run: Run) -> RunFacts:
        info, data = run.info, run.data
        return RunFacts(
            info.run_id,
            info.run_name or info.run_id[:8],
            self._experiments[info.experiment_id].name,
            data.tags.get("medlocker.verb", ""),
            info.status,
            datetime.fromtimestamp(info.start_time / 1000, UTC),
            {n.removeprefix(SETTING_PREFIX): v for n, v in data.params.items() if n.startswith(SETTING_PREFIX)},
            dict(data.metrics),
            {name: value for name, value in data.tags.items() if name.startswith(_OWN_TAGS)},
        )


def _ids(run: Run) -> tuple[str, ...]:
    """The run's id, and the one it had before it was merged from an offline folder."""
    return tuple(filter(None, (run.info.run_id, run.data.tags.get(ORIGIN_TAG))))


def _pages_of_experiments(client: MlflowClient) -> Iterator[Experiment]:
    token: str | None = None
    while True:
        page = client.search_experiments(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def best_first(runs: Sequence[RunFacts], metric: str, *, lowest: bool = False) -> list[RunFacts]:
    """Runs that have a metric, the best first; NaN counts as not measured.

    Args:
        runs: to choose from.
        metric: its full name.
        lowest: whether less is better.

    Raises:
        SettingsError: no run has it; names those there are.
    """
    measured = [run for run in runs if not math.isnan(run.metrics.get(metric, math.nan))]
    if not measured:
        known = sorted({name for run in runs for name in run.headline_metrics})
        raise SettingsError(
            f"--metric {metric}: none of {len(runs)} runs has it",
            why=f"they have {', '.join(known)}" if known else None,
            fix="name one of those, or look at another experiment with --experiment",
        )
    return sorted(measured, key=lambda run: run.metrics[metric], reverse=not lowest)
