"""The engine on a linear network whose best placement is known."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from fakes import LinearClassifier, SmallMemory, bright_corner

from medlocker.blending import Logo, Placement, lock, prepare_mark
from medlocker.errors import OutOfMemoryError
from medlocker.fitness import Ensemble
from medlocker.placement import feasible_positions
from medlocker.querying import QueryEngine, Scored, SearchJob, distinct, image_generator
from medlocker.rendering import PreparedImage
from medlocker.search import SearchSettings, SearchSpace, build_search


def job(image_id, ensemble, name="basin_hopping", shape=(32, 32, 3), level=200, seed=0):
    pixels = np.full(shape, level, dtype=np.uint8)
    mark = prepare_mark(Logo(np.tile(np.uint8([0, 0, 0, 255]), (8, 8, 1))), shape, np.uint8, logo_scale=4)
    positions = feasible_positions((shape[1], shape[0]), mark.size, "anywhere")
    space = SearchSpace(positions, (100, 255), (shape[1], shape[0]))
    image = PreparedImage(pixels, mark, ensemble.preprocessings, torch.device("cpu"))
    return SearchJob(
        image_id, image, space, 0, image_generator(seed, image_id), build_search(SearchSettings(name=name))
    )


def results(batch_size, ids=("a", "b", "c", "d"), name="basin_hopping", **options):
    ensemble = Ensemble([LinearClassifier(bright_corner())])
    engine = QueryEngine(ensemble, batch_size=batch_size, **options)
    found = {r.id: r for r in engine.run(job(i, ensemble, name, level=180 + 10 * n) for n, i in enumerate(ids))}
    return found, ensemble.members[0]


def test_another_objective_is_minimised_and_the_mean_still_decides_success():
    """Two members read opposite corners; under `worst_member` the curve ends at the larger of their probabilities."""
    other = bright_corner().flip(1, 2) * 0.7
    ensemble = Ensemble([LinearClassifier(bright_corner(), 9.0), LinearClassifier(other, 9.0, name="b")])
    engine = QueryEngine(ensemble, objective="worst_member")
    (result,) = engine.run([job("a", ensemble)])
    marked = lock(np.full((32, 32, 3), 200, dtype=np.uint8), job("a", ensemble).image.mark, result.best.placement)
    each = [Ensemble([member]).read(marked)[0].item() for member in ensemble.members]
    assert result.curve[-1] == pytest.approx(max(each), abs=1e-6)
    assert result.best.confidence == pytest.approx(sum(each) / 2, abs=1e-6)
    assert result.best.fooled == (sum(each) / 2 < 0.5)


def test_a_dark_logo_goes_onto_the_bright_corner():
    """The network adds up the upper left quarter, so the best a black 8 x 8 mark can do is cover it: (0, 0)."""
    found, _ = results(64)
    assert all(max(r.best.placement[1:]) <= 1 for r in found.values())


def test_the_surrogate_finds_the_best_placement_itself():
    found, _ = results(64, name="surrogate")
    assert {r.best.placement for r in found.values()} == {(255, 0, 0)}
    assert all(r.queries == 200 for r in found.values())


def test_confidence_is_the_networks_own_on_the_marked_image():
    ensemble = Ensemble([LinearClassifier(bright_corner())])
    (result,) = QueryEngine(ensemble, batch_size=64).run([job("a", ensemble)])
    started = job("a", ensemble)
    for scored in result.alternatives:
        marked = lock(np.full((32, 32, 3), 200, dtype=np.uint8), started.image.mark, scored.placement)
        probabilities = ensemble.read(marked)
        assert scored.confidence == pytest.approx(probabilities[0].item(), abs=1e-6)
        assert scored.fooled == (probabilities.argmax().item() != 0)


@pytest.mark.parametrize("mix", [True, False])
@pytest.mark.parametrize("name", ["basin_hopping", "random", "surrogate"])
def test_the_result_does_not_depend_on_batch_size_or_order(name, mix):
    reference, _ = results(64, name=name, mix=mix)
    for batch_size, ids in [(7, "abcd"), (300, "abcd"), (64, "abcd")]:
        other, _ = results(batch_size, tuple(ids), name, mix=mix)
        for image_id, r in reference.items():
            assert other[image_id].alternatives == r.alternatives
            assert other[image_id].queries == r.queries
            assert other[image_id].curve == r.curve
    alone, _ = results(64, ("a",), name, mix=mix)
    assert alone["a"].alternatives == reference["a"].alternatives


def test_queries_count_distinct_candidates_and_every_row_is_a_query_or_padding():
    found, network = results(50, mix=True)
    assert all(0 < r.queries <= 650 for r in found.values())
    total = sum(r.queries for r in found.values())
    assert set(network.batches) == {50}
    assert total <= network.rows < total + 50 * 30


def test_no_candidate_is_scored_twice():
    """A 1 x 1 feasible set with three opacities leaves three candidates, however many are asked for."""
    ensemble = Ensemble([LinearClassifier(bright_corner())])
    started = job("a", ensemble)
    tiny = SearchSpace(feasible_positions((8, 8), (8, 8), "anywhere"), (200, 202), (8, 8))
    small = SearchJob("a", started.image, tiny, 0, image_generator(0, "a"), started.search)
    (result,) = QueryEngine(ensemble, batch_size=16).run([small])
    assert result.queries == 3


def test_stop_below_ends_the_search_after_the_first_population():
    whole, _ = results(64, ("a",))
    stopped, _ = results(64, ("a",), stop_below=0.999999)
    assert stopped["a"].queries <= 50 < whole["a"].queries
    assert len(stopped["a"].curve) == 1


def test_the_curve_falls_and_has_one_point_a_generation():
    found, _ = results(64)
    for r in found.values():
        assert len(r.curve) == 4
        assert list(r.curve) == sorted(r.curve, reverse=True)
        assert r.curve[-1] == r.best.confidence


def test_alternatives_are_apart_by_a_quarter_of_the_mark():
    found, _ = results(64, keep=5)
    for r in found.values():
        assert r.alternatives[0] == r.best
        assert len(r.alternatives) == 5
        for i, one in enumerate(r.alternatives):
            for other in r.alternatives[:i]:
                apart = [abs(one.placement[k] - other.placement[k]) for k in (1, 2)]
                assert max(apart) >= 2


def test_distinct_keeps_the_better_of_two_neighbours():
    ranked = [Scored(Placement(200, x, 0), x / 100, True) for x in (0, 1, 2, 3, 9)]
    assert [s.placement.x for s in distinct(ranked, (8, 8), 9)] == [0, 2, 9]


def test_the_generator_depends_on_seed_image_and_purpose_alone():
    def draw(*key):
        return image_generator(*key).integers(2**60)

    assert draw(1, "a") == draw(1, "a")
    assert len({draw(1, "a"), draw(2, "a"), draw(1, "b"), draw(1, "a", "random_single")}) == 4


@pytest.mark.parametrize("mix", [True, False])
def test_where_memory_runs_out_smaller_batches_find_the_same(mix):
    reference, _ = results(64, mix=mix)
    network, notes = SmallMemory(bright_corner()), []
    engine = QueryEngine(Ensemble([network]), batch_size=64, mix=mix, on_note=notes.append)
    jobs = (job(i, Ensemble([network]), level=180 + 10 * n) for n, i in enumerate("abcd"))
    found = {r.id: r for r in engine.run(jobs)}
    assert {i: (r.alternatives, r.queries) for i, r in found.items()} == {
        i: (r.alternatives, r.queries) for i, r in reference.items()
    }
    assert max(network.batches) <= SmallMemory.room
    assert notes
    assert "memory ran out" in notes[0]


def test_where_not_even_one_candidate_fits_the_error_says_so():
    network = SmallMemory(bright_corner())
    network.room = 0
    with pytest.raises(OutOfMemoryError, match="a batch of one"):
        list(QueryEngine(Ensemble([network])).run([job("a", Ensemble([network]))]))


def test_other_errors_of_a_network_are_not_taken_for_want_of_memory():
    class Broken(LinearClassifier):
        def probabilities(self, inputs):
            raise RuntimeError("shapes cannot be multiplied")

    network = Broken(bright_corner())
    with pytest.raises(RuntimeError, match="multiplied"):
        list(QueryEngine(Ensemble([network])).run([job("a", Ensemble([network]))]))


@pytest.mark.parametrize("streams", [1, 3])
def test_the_number_of_streams_changes_nothing(streams):
    reference, _ = results(16, mix=False, streams=2)
    found, network = results(16, mix=False, streams=streams)
    assert {i: (r.alternatives, r.curve) for i, r in found.items()} == {
        i: (r.alternatives, r.curve) for i, r in reference.items()
    }
    assert max(network.batches) <= 16


def test_streams_work_at_the_same_time():
    """Each of two streams waits, in its first forward pass, until the other has begun one."""
    meeting = threading.Barrier(2, timeout=20)

    class Meeting(LinearClassifier):
        def probabilities(self, inputs):
            if len(self.batches) < 2:
                meeting.wait()
            return super().probabilities(inputs)

    network = Meeting(bright_corner())
    (found,) = QueryEngine(Ensemble([network]), streams=2).run([job("a", Ensemble([network]))])
    assert found.queries > 50
