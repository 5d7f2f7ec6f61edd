"""Coverage, Gaussian process and the search made of them, where the right answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlocker.errors import SettingsError
from medlocker.placement import feasible_positions
from medlocker.regions import Box
from medlocker.search import RandomPlacement, SearchSettings, SearchSpace, SurrogateSearch, build_search
from medlocker.search.coverage import spread, squared_distances
from medlocker.search.gaussian_process import GaussianProcess, matern

LENGTHS = np.array([1.0, 1.0])


def space(size=(224, 224), mark=(56, 56), mode="anywhere", boxes=(), alpha=(100, 255)):
    return SearchSpace(feasible_positions(size, mark, mode, boxes), alpha, size)


def drive(search, where, fitness, seed=0):
    rng, state, asked = np.random.default_rng(seed), search.init(), []
    while not state.finished:
        rows = search.ask(state, where, rng)
        asked.append(rows)
        state = search.tell(state, rows, fitness(rows), rng)
    return asked


def basins(seed, width=12.0):
    """A landscape of six narrow basins of different depth, deeper the stronger the mark."""
    rng = np.random.default_rng(seed)
    centres, depths = rng.uniform(0, 168, (6, 2)), rng.uniform(1, 8, 6)

    def fitness(rows):
        near = np.exp(-squared_distances(rows[:, 1:], centres) / (2 * width**2))
        return 1 / (1 + np.exp((depths * near).sum(1) * rows[:, 0] / 255 - 4))

    return fitness


def test_spread_leaves_no_feasible_place_far_away():
    """64 places on 169 x 169 positions: a square grid leaves none farther than 15 px, so 20 is asked for."""
    where = space().positions
    places = spread(where, 64, np.random.default_rng(0))
    everywhere = np.stack(np.meshgrid(np.arange(169), np.arange(169)), -1).reshape(-1, 2)
    assert len(places) == 64
    assert np.sqrt(squared_distances(everywhere, places).min(1)).max() < 20


def test_spread_fills_a_set_in_two_parts_by_their_size():
    """A box in the way leaves a wide strip on the left and a narrow one on the right, three quarters to one quarter."""
    where = space((400, 100), (20, 20), "avoid_lesions", [Box(249, 0, 62, 100)]).positions
    places = spread(where, 40, np.random.default_rng(0))
    assert where.contains(places).all()
    assert abs((places[:, 0] < 249).mean() - 3 * 230 / (3 * 230 + 3 * 70)) < 0.1


@pytest.mark.parametrize("size", [(56, 56), (57, 56), (58, 57)])
def test_spread_of_a_tiny_set_is_the_whole_set(size):
    where = space(size).positions
    places = spread(where, 50, np.random.default_rng(0))
    assert len(places) == where.count == len(np.unique(places, axis=0))


def test_a_process_repeats_what_it_was_told_and_knows_nothing_far_away():
    points, answers = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]]), np.array([1.0, -2.0, 0.5])
    process = GaussianProcess.fit(points, answers, LENGTHS, 1e-9)
    mean, spread_, _ = process.predict(np.concatenate([points, [[100.0, 100.0]]]))
    assert mean[:3] == pytest.approx(answers, abs=1e-6)
    assert spread_[:3].max() < 1e-6
    assert mean[3] == pytest.approx(process.mean)
    assert spread_[3] == pytest.approx(1.0)


def test_a_process_agrees_with_the_textbook_formula():
    """Rasmussen and Williams, Gaussian Processes for Machine Learning, Eq. 2.25 and 2.26, by plain inversion."""
    rng = np.random.default_rng(3)
    points, answers, new = rng.normal(size=(9, 2)), rng.normal(size=9), rng.normal(size=(4, 2))
    process = GaussianProcess.fit(points, answers, LENGTHS, 0.01)
    inverse = np.linalg.inv(matern(points, points) + 0.01 * np.eye(9))
    level = np.ones(9) @ inverse @ answers / (np.ones(9) @ inverse @ np.ones(9))
    across = matern(new, points)
    mean, spread_, _ = process.predict(new)
    assert process.mean == pytest.approx(level)
    assert mean == pytest.approx(level + across @ inverse @ (answers - level))
    assert spread_ == pytest.approx(1 - np.einsum("ij,jk,ik->i", across, inverse, across))


def test_the_kernel_is_one_at_home_and_falls():
    values = matern(np.zeros((1, 2)), np.array([[0.0, 0.0], [0.5, 0.0], [1.0, 0.0], [5.0, 0.0]]))[0]
    assert values[0] == 1
    assert (np.diff(values) < 0).all()
    assert values[2] == pytest.approx((1 + 5**0.5 + 5 / 3) * np.exp(-(5**0.5)))


def test_the_length_scale_that_made_the_answers_is_recognised():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 10, (80, 2))
    answers = np.linalg.cholesky(matern(points / 2, points / 2) + 1e-8 * np.eye(80)) @ rng.normal(size=80)
    choices = [np.full(2, length) for length in (0.2, 0.7, 2.0, 8.0)]
    assert GaussianProcess.most_likely(points, answers, choices, 1e-6).lengths.tolist() == [2.0, 2.0]


def test_a_batch_does_not_crowd_in_one_place():
    """All points look alike, so after the first pick its neighbours are the least worth asking about."""
    process = GaussianProcess.fit(np.array([[50.0, 50.0]]), np.array([0.0]), LENGTHS, 1e-6)
    clusters = np.repeat(np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]), 5, axis=0)
    points = clusters + np.random.default_rng(0).normal(0, 0.01, clusters.shape)
    chosen = process.choose(points, 3, 2.0, 1e-6)
    assert sorted(index // 5 for index in chosen) == [0, 1, 2]


def test_without_caution_the_lowest_mean_is_chosen():
    points, answers = np.arange(8.0)[:, None] * np.ones(2), np.array([3.0, 1, 4, 1.5, 9, 2, 6, 5])
    process = GaussianProcess.fit(points, answers, np.full(2, 0.1), 1e-9)
    assert process.choose(points, 3, 0.0, 1e-9) == [1, 3, 5]


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_only_good_place_to_the_pixel(seed):
    target = np.array([255, 120, 37])

    def fitness(rows):
        return 1 - 0.9 * np.exp(-(((rows - target) / [200, 30, 30]) ** 2).sum(1))

    asked = np.concatenate(drive(SurrogateSearch(), space(), fitness, seed))
    assert np.abs(asked[fitness(asked).argmin()] - target).max() <= 2


def test_200_of_its_queries_beat_650_random_ones_on_landscapes_of_several_basins():
    def lowest(search, number):
        where, fitness = space(), basins(number)
        return min(fitness(rows).min() for rows in drive(search, where, fitness, number))

    ours = np.array([lowest(SurrogateSearch(), number) for number in range(12)])
    random = np.array([lowest(RandomPlacement(650), number) for number in range(12)])
    assert (ours <= random).mean() >= 0.8
    assert np.log(ours).mean() < np.log(random).mean()


def test_several_basins_are_visited_so_that_editions_have_a_choice():
    asked = np.concatenate(drive(SurrogateSearch(), space(), basins(1)))
    good = asked[basins(1)(asked) < 0.5]
    apart = squared_distances(good[:, 1:], good[:, 1:]) > 28**2
    assert apart.any(1).mean() > 0.9


@given(st.integers(1, 260), st.integers(0, 50))
@settings(max_examples=8, deadline=None)
def test_it_asks_for_exactly_its_budget_and_nothing_twice_where_there_is_room(budget, seed):
    asked = np.concatenate(drive(SurrogateSearch(budget), space(), basins(seed), seed))
    assert len(asked) == budget
    assert len(np.unique(asked, axis=0)) == budget


@pytest.mark.parametrize("mode", ["avoid_lesions", "inside_lesions"])
@pytest.mark.parametrize("seed", range(3))
def test_it_never_leaves_a_feasible_set_of_odd_shape(mode, seed):
    where = space((160, 120), (30, 20), mode, [Box(50, 10, 20, 90), Box(90, 60, 60, 25)])
    asked = np.concatenate(drive(SurrogateSearch(), where, basins(seed), seed))
    assert where.positions.contains(asked[:, 1:]).all()
    assert asked[:, 0].min() >= 100
    assert asked[:, 0].max() <= 255


@pytest.mark.parametrize("alpha", [(255, 255), (200, 202)])
def test_it_ends_where_there_are_fewer_placements_than_queries(alpha):
    asked = np.concatenate(drive(SurrogateSearch(), space((57, 56), alpha=alpha), basins(0)))
    assert len(np.unique(asked, axis=0)) == 2 * (alpha[1] - alpha[0] + 1)


def test_equal_answers_everywhere_do_not_stop_it():
    asked = np.concatenate(drive(SurrogateSearch(), space(), lambda rows: np.ones(len(rows))))
    assert len(np.unique(asked, axis=0)) == 200


def test_the_same_generator_asks_the_same():
    first, second = (np.concatenate(drive(SurrogateSearch(), space(), basins(2), 5)) for _ in range(2))
    assert (first == second).all()
    assert (first != np.concatenate(drive(SurrogateSearch(), space(), basins(2), 6))).any()


def test_telling_does_not_change_the_state_told():
    search, rng = SurrogateSearch(30), np.random.default_rng(0)
    state = search.init()
    later = search.tell(state, search.ask(state, space(), rng), np.full(12, 0.5), rng)
    assert (state.remaining, len(state.asked)) == (30, 0)
    assert later.remaining == 18


@pytest.mark.parametrize("options", [{"budget": 0}, {"batch": 0}, {"coverage": 0.0}, {"coverage": 1.5}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(SettingsError):
        SurrogateSearch(**options)


@pytest.mark.parametrize(("budget", "queries"), [(None, 200), (37, 37)])
def test_it_is_built_by_name_with_the_budget_asked_for(budget, queries):
    assert build_search(SearchSettings(name="surrogate", budget=budget)).max_queries == queries


def test_a_budget_that_nothing_would_read_is_refused():
    with pytest.raises(ValueError, match="basin_hopping takes no budget"):
        SearchSettings(name="basin_hopping", budget=100)
