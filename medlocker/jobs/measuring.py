"""Look at a finished release: does it unlock, and what do networks read?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from medlocker.blending import Placement, pixel_sha256
from medlocker.classifiers import Classifier
from medlocker.datasets import Dataset
from medlocker.errors import AlteredImageError, MedLockerError, ReleaseError
from medlocker.fitness import Ensemble
from medlocker.imageio import read_image
from medlocker.jobs.progress import Progress
from medlocker.keys import Identity, VaultDocument, decode_logo, read_vault, restore_image, vault_key
from medlocker.metrics import Method
from medlocker.planning import plan_image
from medlocker.protecting import ProtectSettings, load_unchanged
from medlocker.transfer import MeasuredImage, Readings, measure
from medlocker.workspace import FinishedImage, Workspace


def unlock_check(workspace: Workspace, owner: Identity, progress: Progress) -> tuple[int, int]:
    """Restore every image of a release in memory from the saved files and the sealed vault.

    Returns:
        (restored bit for bit, tried).

    Raises:
        ReleaseError: an image does not come back; names the first and counts the rest.
    """
    key = vault_key(read_vault(workspace.vault_path, owner))
    failures: list[str] = []
    with progress.stage("Checking that every image unlocks", len(key.images)) as advance:
        for image in key.images:
            try:
                restore_image(workspace.release, key, image)
            except MedLockerError as error:
                failures.append(str(error))
            advance(1)
    if failures:
        raise ReleaseError(
            f"{workspace.release}: {len(failures)} of {len(key.images)} images do not unlock", why=failures[0]
        )
    return len(key.images), len(key.images)


def measure_release(
    workspace: Workspace,
    owner: Identity,
    dataset: Dataset,
    ensemble: Ensemble,
    targets: Sequence[Classifier],
    settings: ProtectSettings,
    baselines: Sequence[Method],
    progress: Progress,
) -> Readings:
    """Read originals, the decoded saved files and the baselines with every network.

    Args:
        workspace: of a finished release.
        owner: opens its vault.
        dataset: the originals.
        ensemble: the sources.
        targets: networks that were never queried.
        settings: those of the release.
        baselines: placements to compare with.
        progress: shows it.

    Returns:
        The readings.
    """
    vault = read_vault(workspace.vault_path, owner)
    passes = 2 if "random_best" in baselines else 1
    with progress.stage("Measuring transfer", passes * len(vault.images)) as advance:
        return measure(
            measured_images(workspace, vault, dataset, settings),
            ensemble,
            targets,
            methods=baselines,
            seed=settings.seed,
            batch_size=settings.batch_size,
            on_progress=advance,
        )


def measured_images(
    workspace: Workspace, vault: VaultDocument, dataset: Dataset, settings: ProtectSettings
) -> Callable[[], Iterator[MeasuredImage]]:
    """A fresh iteration over the images of a release each time it is called.

    Args:
        workspace: of a finished release.
        vault: its placements.
        dataset: the originals.
        settings: those of the release.
    """
    logo = decode_logo(vault)
    placed = {image.id: image for image in vault.images}

    def iterate() -> Iterator[MeasuredImage]:
        for record in dataset.records:
            finished = workspace.load(record.id)
            if not isinstance(finished, FinishedImage) or record.id not in placed:
                continue
            original = load_unchanged(record).pixels
            marked = read_image(workspace.release / finished.public.file).pixels
            if pixel_sha256(marked) != finished.public.marked_sha256:
                raise AlteredImageError(f"{finished.public.file}: not the image that was released")
            plan = plan_image(record, original, logo, settings.mark)
            if plan is None:
                raise ReleaseError(f"{record.id}: was released, but no placement is feasible now")
            image = placed[record.id]
            yield MeasuredImage(
                record.id,
                original,
                marked,
                finished.label,
                plan.mark,
                plan.space,
                Placement(image.alpha, image.x, image.y),
                finished.public.queries,
            )

    return iterate
