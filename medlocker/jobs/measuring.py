"""Look at a finished release: does it unlock, and what do networks read?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from medlocker.blending import Logo, Placement
from medlocker.datasets import Dataset
from medlocker.errors import ReleaseError
from medlocker.executors import Executor, InProcess
from medlocker.jobs.networks import JobNetworks
from medlocker.jobs.progress import Progress
from medlocker.jobs.reading import (
    MeasuredPart,
    Measuring,
    Part,
    RandomSearching,
    ReleasedRecord,
    ReleaseReader,
    released,
)
from medlocker.keys import Identity, read_vault, vault_key
from medlocker.keys.unlocking import Restoring, key_secret
from medlocker.metrics import Method
from medlocker.protecting import ProtectSettings
from medlocker.transfer import Readings, joined, part_size
from medlocker.visibility import Visibility
from medlocker.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured on a release.

    Attributes:
        readings: what every network read.
        visible: how visible each image's mark is, in the order of `readings.ids`.
    """

    readings: Readings
    visible: tuple[Visibility, ...]


def unlock_check(
    workspace: Workspace, owner: Identity, progress: Progress, executor: Executor | None = None
) -> tuple[int, int]:
    """Restore every image of a release in memory from the saved files and the sealed vault.

    Args:
        workspace: of a finished release.
        owner: opens its vault.
        progress: shows it.
        executor: has the images worked on; None for this thread.

    Returns:
        (restored bit for bit, tried).

    Raises:
        ReleaseError: an image does not come back; names the first and counts the rest.
    """
    key = vault_key(read_vault(workspace.vault_path, owner))
    failures: list[str] = []
    recipe = Restoring(key, workspace.release)
    with progress.stage("Checking that every image unlocks", len(key.images)) as advance:
        for wrong in (executor or InProcess()).run(recipe, key_secret(key), range(len(key.images))):
            failures += [wrong] if wrong else []
            advance(1)
    if failures:
        raise ReleaseError(
            f"{workspace.release}: {len(failures)} of {len(key.images)} images do not unlock", why=min(failures)
        )
    return len(key.images), len(key.images)


def measure_release(
    workspace: Workspace,
    dataset: Dataset,
    logo: Logo,
    networks: JobNetworks,
    settings: ProtectSettings,
    baselines: Sequence[Method],
    progress: Progress,
    executor: Executor | None = None,
) -> Measured:
    """Read originals, the decoded saved files and the baselines with every network; see how visible the marks are.

    Args:
        workspace: of a finished release.
        dataset: the originals.
        logo: the mark.
        networks: sources, and targets that were never queried.
        settings: those of the release.
        baselines: placements to compare with.
        progress: shows it.
        executor: has the images worked on; None for this process alone.

    Returns:
        Readings and visibility.
    """
    executor, methods = executor or InProcess(), tuple(baselines)
    images = list(released(workspace, dataset.records))
    best: dict[str, Placement] = {}
    if "random_best" in methods:
        searching = RandomSearching(networks, workspace, logo, settings)
        with progress.stage("Searching at random, to compare", len(images)) as advance:
            for image_id, placement in executor.run(searching, workspace.secret, images):
                best[image_id] = placement
                advance(1)
    measuring = Measuring(networks, workspace, logo, settings, methods=methods)
    measured: list[MeasuredPart] = []
    with progress.stage("Measuring transfer", len(images)) as advance:
        parts = _parts(images, best, part_size(settings.batch_size, methods))
        for part in executor.run(measuring, workspace.secret, parts):
            measured.append(part)
            advance(len(part.visible))
    readings = joined(
        [part.readings for part in measured], networks.ensemble(), networks.targets(), methods, networks.mixtures
    )
    visible = {seen.id: seen for part in measured for seen in part.visible}
    return Measured(readings, tuple(visible[image_id] for image_id in readings.ids))


def _parts(images: Sequence[ReleasedRecord], best: Mapping[str, Placement], size: int) -> Iterator[Part]:
    for number, start in enumerate(range(0, len(images), size)):
        chosen = tuple(images[start : start + size])
        yield Part(number, chosen, {i.record.id: best[i.record.id] for i in chosen if best})


def measure_visibility(
    workspace: Workspace, dataset: Dataset, logo: Logo, settings: ProtectSettings, progress: Progress
) -> tuple[Visibility, ...]:
    """How visible the marks of a finished release are, without any network.

    Returns:
        One entry an image, in manifest order.
    """
    reader, seen = ReleaseReader(workspace, logo, settings), []
    images = list(released(workspace, dataset.records))
    with progress.stage("Measuring visibility", len(images)) as advance:
        for image in images:
            seen.append(reader.visibility(reader.image(image), image.record))
            advance(1)
    return tuple(seen)
