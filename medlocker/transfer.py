"""Measure what a release does to networks: attack success on sources and on targets that were never queried.

Every reading is made on stored pixels: the originals, the decoded saved files, and baselines blended the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field

from medlocker.blending import Mark, Pixels, Placement, colour_channels, footprint, lock, with_colour_patch
from medlocker.classifiers import Classifier
from medlocker.fitness import Ensemble
from medlocker.metrics import AttackSuccess, Basis, Condition, GradeSuccess, Method, Proportion, attack_success, mcnemar
from medlocker.preprocessing import network_input
from medlocker.querying import QueryEngine, SearchJob, image_generator
from medlocker.rendering import PreparedImage
from medlocker.search import RandomPlacement, SearchSpace

Role = Literal["source", "target"]
ENSEMBLE_NAME = "ensemble"
BASELINES: tuple[Method, ...] = ("random_single", "random_best", "box")


@dataclass(frozen=True, eq=False)
class MeasuredImage:
    """One image as measurement needs it.

    Attributes:
        id: the record's id.
        original: stored pixels before marking.
        marked: stored pixels decoded from the saved file.
        label: the class to leave.
        mark: the mark that was blended in.
        space: placements that were feasible.
        placement: the placement that was chosen.
        queries: candidates the search asked about.
    """

    id: str
    original: Pixels
    marked: Pixels
    label: int
    mark: Mark
    space: SearchSpace
    placement: Placement
    queries: int


@dataclass(frozen=True)
class Mixture:
    """Networks that are also measured as one, by the weighted mean of their probabilities (Eq. 8).

    Attributes:
        name: unique among the networks.
        members: names of sources or targets; with a source among them, it was queried in part.
        weights: summing to 1; None for equal ones.
    """

    name: str
    members: tuple[str, ...]
    weights: tuple[float, ...] | None = None


class Network(BaseModel):
    """A network that read the images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    role: Role
    runtime: str
    fingerprint: str


class Readings(BaseModel):
    """Every class every network read, image by image; what all tables are made from.

    Attributes:
        ids: the images, in order.
        labels: the class to leave, per image.
        networks: sources first.
        methods: how marks were placed.
        predictions: network → `clean` or a method → predicted class per image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["medlocker.readings/1"] = "medlocker.readings/1"
    ids: tuple[str, ...]
    labels: tuple[int, ...]
    networks: tuple[Network, ...]
    methods: tuple[Method, ...]
    predictions: dict[str, dict[str, tuple[int, ...]]]
    source_network: Annotated[str, Field(min_length=1)]

    def of(self, network: str, what: str) -> npt.NDArray[np.int64]:
        """(n,) predicted classes."""
        return np.array(self.predictions[network][what], dtype=np.int64)

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """(n,) classes to leave."""
        return np.array(self.labels, dtype=np.int64)


class PartReadings(BaseModel):
    """Readings of some images.

    Attributes:
        number: of the part; `joined` puts parts in order.
        ids: the images, in order.
        labels: the class to leave, per image.
        networks: those that read, sources first.
        predictions: network → `clean` or a method → predicted class per image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    ids: tuple[str, ...]
    labels: tuple[int, ...]
    networks: tuple[Network, ...]
    predictions: dict[str, dict[str, tuple[int, ...]]]


def part_size(batch_size: int, methods: Sequence[Method]) -> int:
    """Images read at once, so that all their variants fit one batch."""
    return max(1, batch_size // (2 + len(methods)))


def read_part(
    number: int,
    images: Sequence[MeasuredImage],
    ensemble: Ensemble,
    targets: Sequence[Classifier],
    methods: Sequence[Method],
    seed: int,
    best: Mapping[str, Placement],
    mixtures: Sequence[Mixture] = (),
) -> PartReadings:
    """Read originals, marked images and baselines with every network.

    Args:
        number: of the part.
        images: at least one.
        ensemble: the sources.
        targets: networks that were never queried.
        methods: baselines to measure beside `searched`.
        seed: of the baselines' randomness.
        best: image → its best random placement, from `best_random`; needed for `random_best` alone.
        mixtures: of sources and targets, measured as targets.

    Returns:
        Predicted classes.
    """
    classes: dict[str, dict[str, tuple[int, ...]]] = {}
    variants = [_variants(image, ("searched", *methods), seed, best) for image in images]
    for what in ("clean", "searched", *methods):
        read = _read([v[what] for v in variants], [*ensemble.members, *targets], [*_whole(ensemble), *mixtures])
        for name, predicted in read.items():
            classes.setdefault(name, {})[what] = tuple(predicted)
    return PartReadings(
        number=number,
        ids=tuple(i.id for i in images),
        labels=tuple(i.label for i in images),
        networks=networks_of(ensemble, targets, mixtures),
        predictions=classes,
    )


def joined(
    parts: Iterable[PartReadings],
    ensemble: Ensemble,
    targets: Sequence[Classifier],
    methods: Sequence[Method],
    mixtures: Sequence[Mixture] = (),
) -> Readings:
    """All parts as one, from which `success_table` and `grade_table` are made.

    Args:
        parts: in any order; read by the same networks.
        ensemble: the sources.
        targets: as in `read_part`.
        methods: as in `read_part`.
        mixtures: as in `read_part`.
    """
    ordered = sorted(parts, key=lambda part: part.number)
    wanted: tuple[Method, ...] = ("searched", *methods)
    networks = ordered[0].networks if ordered else networks_of(ensemble, targets, mixtures)
    return Readings(
        ids=tuple(i for part in ordered for i in part.ids),
        labels=tuple(label for part in ordered for label in part.labels),
        networks=networks,
        methods=wanted,
        predictions={
            n.name: {w: tuple(c for part in ordered for c in part.predictions[n.name][w]) for w in ("clean", *wanted)}
            for n in networks
        },
        source_network=_source_name(ensemble),
    )


def _source_name(ensemble: Ensemble) -> str:
    return ensemble.members[0].name if len(ensemble.members) == 1 else ENSEMBLE_NAME


def _whole(ensemble: Ensemble) -> list[Mixture]:
    """The ensemble as one network; none where it has one member."""
    if len(ensemble.members) == 1:
        return []
    return [Mixture(ENSEMBLE_NAME, tuple(m.name for m in ensemble.members), tuple(ensemble.weights))]


def networks_of(
    ensemble: Ensemble, targets: Sequence[Classifier], mixtures: Sequence[Mixture] = ()
) -> tuple[Network, ...]:
    """What readings say of the networks, the ensemble as a whole first where it is more than one."""

    def network(c: Classifier, role: Role) -> Network:
        return Network(name=c.name, role=role, runtime=c.runtime, fingerprint=c.fingerprint)

    def mixed(m: Mixture, role: Role, runtime: str) -> Network:
        return Network(name=m.name, role=role, runtime=runtime, fingerprint="+".join(m.members))

    return (
        *(mixed(m, "source", ensemble.members[0].runtime) for m in _whole(ensemble)),
        *(network(m, "source") for m in ensemble.members),
        *(network(t, "target") for t in targets),
        *(mixed(m, "target", "mixture") for m in mixtures),
    )


def _read(pixels: Sequence[Pixels], readers: Sequence[Classifier], mixtures: Sequence[Mixture]) -> dict[str, list[int]]:
    """Predicted classes of some images by every network, and by mixtures of them."""
    inputs: dict[object, torch.Tensor] = {}
    probabilities: dict[str, torch.Tensor] = {}
    for reader in readers:
        key = reader.preprocessing
        if key not in inputs:
            inputs[key] = torch.stack([network_input(p, key) for p in pixels])
        probabilities[reader.name] = reader.probabilities(inputs[key].to(reader.device)).cpu()
    for mixture in mixtures:
        weights = mixture.weights or (1 / len(mixture.members),) * len(mixture.members)
        parts = [b * probabilities[name] for name, b in zip(mixture.members, weights, strict=True)]
        probabilities[mixture.name] = torch.stack(parts).sum(0)
    return {name: p.argmax(1).tolist() for name, p in probabilities.items()}


def _variants(
    image: MeasuredImage, methods: Sequence[Method], seed: int, best: Mapping[str, Placement]
) -> dict[str, Pixels]:
    made: dict[str, Pixels] = {"clean": image.original}
    for method in methods:
        if method == "searched":
            made[method] = image.marked
        elif method == "random_single":
            drawn = image.space.sample(image_generator(seed, image.id, "random_single"), 1)[0]
            made[method] = lock(image.original, image.mark, Placement(*drawn.tolist()))
        elif method == "random_best":
            made[method] = lock(image.original, image.mark, best[image.id])
        else:
            made[method] = mean_colour_box(image.original, image.mark, image.placement)
    return made


def mean_colour_box(pixels: Pixels, mark: Mark, placement: Placement) -> Pixels:
    """The image with its own mean colour over the mark's footprint: occlusion and nothing else.

    Args:
        pixels: the original image.
        mark: gives the footprint's size.
        placement: gives its place; α plays no part.

    Returns:
        A copy with an opaque box.
    """
    rows, columns = footprint(mark, placement, pixels.shape)
    mean = colour_channels(pixels).reshape(-1, mark.colour.shape[2]).mean(0).round().astype(np.int64)
    shape = colour_channels(pixels[rows, columns]).shape
    return with_colour_patch(pixels, mark, placement, np.broadcast_to(mean, shape).copy())


def best_random(
    images: Iterable[MeasuredImage], ensemble: Ensemble, seed: int, batch_size: int
) -> Iterator[tuple[str, Placement]]:
    """For each image, the best of as many random placements as its search asked about.

    Args:
        images: drawn only as there is room for them.
        ensemble: the sources.
        seed: of the run.
        batch_size: rows of one forward pass.

    Yields:
        (image id, placement), in the order in which they are found.
    """

    def jobs() -> Iterator[SearchJob]:
        for image in images:
            prepared = PreparedImage(image.original, image.mark, ensemble.preprocessings, ensemble.device)
            rng = image_generator(seed, image.id, "random_best")
            yield SearchJob(image.id, prepared, image.space, image.label, rng, RandomPlacement(image.queries))

    for result in QueryEngine(ensemble, batch_size=batch_size, keep=1).run(jobs()):
        yield result.id, result.best.placement


def success_table(readings: Readings) -> tuple[AttackSuccess, ...]:
    """Attack success of every method on every network, on both bases and under both conditions.

    Source: ASR as in Tables 1 and 2; bases READINGS 13, conditions READINGS 14.

    Returns:
        Cells ordered by network, method, basis, condition; the conditional ones for targets only.
    """
    truth = readings.truth
    masks: dict[tuple[Basis, Condition], npt.NDArray[np.bool_]] = {
        (basis, condition): restriction(readings, basis, condition)
        for condition in get_args(Condition)
        for basis in get_args(Basis)
    }
    return tuple(
        AttackSuccess(
            network.name,
            network.role,
            method,
            basis,
            condition,
            attack_success(truth, readings.of(network.name, "clean"), readings.of(network.name, method), mask),
        )
        for network in readings.networks
        for method in readings.methods
        for (basis, condition), mask in masks.items()
        if condition == "unconditional" or network.role == "target"
    )


def restriction(readings: Readings, basis: Basis, condition: Condition) -> npt.NDArray[np.bool_]:
    """Which images count for a table, besides being read correctly by the network itself when clean.

    Source: READINGS 13 and 14.

    Returns:
        (n,) bool.
    """
    truth = readings.truth
    kept = np.ones(len(truth), dtype=bool)
    if basis == "common":
        kept &= np.logical_and.reduce([readings.of(n.name, "clean") == truth for n in readings.networks])
    if condition == "source_fooled":
        source = readings.source_network
        kept &= (readings.of(source, "clean") == truth) & (readings.of(source, "searched") != truth)
    return kept


def grade_table(readings: Readings, class_names: Sequence[str]) -> tuple[GradeSuccess, ...]:
    """Attack success of the searched marks, network by network and class by class."""
    truth = readings.truth
    return tuple(
        GradeSuccess(
            network.name,
            class_names[grade] if grade < len(class_names) else str(grade),
            attack_success(
                truth, readings.of(network.name, "clean"), readings.of(network.name, "searched"), truth == grade
            ),
        )
        for network in readings.networks
        for grade in sorted(set(truth.tolist()))
    )


@dataclass(frozen=True)
class Comparison:
    """The searched marks against a baseline on one network, on the same images.

    Attributes:
        network: its name.
        baseline: the other method.
        searched: success of the search.
        other: success of the baseline.
        p_value: exact McNemar test, two-sided.
    """

    network: str
    baseline: Method
    searched: Proportion
    other: Proportion
    p_value: float


def comparisons(readings: Readings) -> tuple[Comparison, ...]:
    """Paired comparison of the search with every baseline, on the images each network reads correctly when clean."""
    truth = readings.truth
    rows = []
    for network in readings.networks:
        right = readings.of(network.name, "clean") == truth
        searched = (readings.of(network.name, "searched") != truth)[right]
        for method in readings.methods[1:]:
            other = (readings.of(network.name, method) != truth)[right]
            rows.append(
                Comparison(
                    network.name,
                    method,
                    Proportion(int(searched.sum()), len(searched)),
                    Proportion(int(other.sum()), len(other)),
                    mcnemar(searched.tolist(), other.tolist()),
                )
            )
    return tuple(rows)
