"""Look at a finished release: does it unlock, and what do networks read?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from medlocker.blending import Placement, pixel_sha256
from medlocker.classifiers import Classifier
from medlocker.datasets import Dataset, Record
from medlocker.errors import AlteredImageError, MedLockerError, ReleaseError
from medlocker.fitness import Ensemble
from medlocker.imageio import read_image
from medlocker.jobs.progress import Progress
from medlocker.keys import Identity, VaultDocument, decode_logo, read_vault, restore_image, vault_key
from medlocker.metrics import Method
from medlocker.planning import plan_image, read_lesions
from medlocker.protecting import ProtectSettings, load_unchanged
from medlocker.regions import lesion_boxes
from medlocker.transfer import MeasuredImage, Readings, measure
from medlocker.visibility import Visibility, visibility
from medlocker.workspace import FinishedImage, Workspace


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured on a release.

    Attributes:
        readings: what every network read.
        visible: how visible each image's mark is, in the order of `readings.ids`.
    """

    readings: Readings
    visible: tuple[Visibility, ...]


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
) -> Measured:
    """Read originals, the decoded saved files and the baselines with every network; see how visible the marks are.

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
        Readings and visibility.
    """
    vault = read_vault(workspace.vault_path, owner)
    passes = 2 if "random_best" in baselines else 1
    watch = _Watch(measured_images(workspace, vault, dataset, settings), dataset, settings)
    with progress.stage("Measuring transfer", passes * len(vault.images)) as advance:
        readings = measure(
            watch,
            ensemble,
            targets,
            methods=baselines,
            seed=settings.seed,
            batch_size=settings.batch_size,
            on_progress=advance,
        )
    return Measured(readings, tuple(watch.seen[image_id] for image_id in readings.ids))


def measure_visibility(
    workspace: Workspace, owner: Identity, dataset: Dataset, settings: ProtectSettings, progress: Progress
) -> tuple[Visibility, ...]:
    """How visible the marks of a finished release are, without any network.

    Returns:
        One entry an image, in manifest order.
    """
    vault = read_vault(workspace.vault_path, owner)
    watch = _Watch(measured_images(workspace, vault, dataset, settings), dataset, settings)
    with progress.stage("Measuring visibility", len(vault.images)) as advance:
        for _ in watch():
            advance(1)
    return tuple(watch.seen.values())


class _Watch:
    """Passes images on and notes how visible each one's mark is, once."""

    def __init__(
        self, images: Callable[[], Iterator[MeasuredImage]], dataset: Dataset, settings: ProtectSettings
    ) -> None:
        self.seen: dict[str, Visibility] = {}
        self._images, self._settings = images, settings
        self._records = {record.id: record for record in dataset.records}

    def __call__(self) -> Iterator[MeasuredImage]:
        for image in self._images():
            if image.id not in self.seen:
                self.seen[image.id] = image_visibility(image, self._records[image.id], self._settings)
            yield image


def image_visibility(image: MeasuredImage, record: Record, settings: ProtectSettings) -> Visibility:
    """How visible one image's mark is, with its lesions where the data set has masks."""
    lesions = read_lesions(record, (image.original.shape[0], image.original.shape[1]), settings.mark)
    boxes = lesion_boxes(lesions, settings.mark.regions)
    return visibility(image.id, image.original, image.marked, image.mark, image.placement, lesions, boxes)


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
