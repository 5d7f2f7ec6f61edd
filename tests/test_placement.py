"""Placement modes by hand, sampling, reflection, and what happens where nothing fits."""

import numpy as np
import pytest
from scipy import stats

from medlocker.errors import InfeasiblePlacementError, SettingsError
from medlocker.placement import covered_lesion_fraction, feasible_positions, resolve_feasible, shrink_schedule
from medlocker.regions import Box


def positions(*pairs: tuple[int, int]) -> np.ndarray:
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def listed(feasible: object, width: int, height: int) -> set[tuple[int, int]]:
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).reshape(-1, 2)
    return {(int(x), int(y)) for x, y in grid[feasible.contains(grid)]}  # type: ignore[attr-defined]


def test_anywhere_is_one_rectangle_at_any_size() -> None:
    feasible = feasible_positions((4288, 2848), (536, 712), "anywhere", [Box(0, 0, 4288, 2848)])
    assert feasible.bounds == (3752, 2136)
    assert feasible.count == 3753 * 2137
    assert feasible.rectangles.tolist() == [[0, 0, 3753, 2137]]


def test_a_mark_as_large_as_the_image_has_one_position() -> None:
    feasible = feasible_positions((7, 5), (7, 5), "anywhere")
    assert feasible.count == 1
    assert feasible.reflect(positions((-3, 9), (4, 4))).tolist() == [[0, 0], [0, 0]]


def test_avoiding_one_box_by_hand() -> None:
    # Mark 2 x 1 on 6 x 1 px, lesion at column 3: columns 2 and 3 would cover it, 0, 1 and 4 do not.
    feasible = feasible_positions((6, 1), (2, 1), "avoid_lesions", [Box(3, 0, 1, 1)])
    assert listed(feasible, 6, 1) == {(0, 0), (1, 0), (4, 0)}
    assert feasible.count == 3


def test_the_mark_may_touch_a_box_on_all_four_sides() -> None:
    feasible = feasible_positions((20, 20), (3, 2), "avoid_lesions", [Box(8, 9, 4, 5)])
    touching = positions((5, 10), (12, 10), (9, 7), (9, 14))
    assert feasible.contains(touching).all()
    assert not feasible.contains(touching + np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])).any()
    # (bx − M', bx + bw) × (by − N', by + bh), open: 6 x 6 corners.
    assert feasible.count == 18 * 19 - (3 + 4 - 1) * (2 + 5 - 1)


def test_a_healthy_eye_is_marked_anywhere() -> None:
    healthy = feasible_positions((30, 20), (5, 4), "avoid_lesions")
    np.testing.assert_array_equal(healthy.rectangles, feasible_positions((30, 20), (5, 4), "anywhere").rectangles)


def test_inside_a_box_the_whole_footprint_is_inside() -> None:
    feasible = feasible_positions((20, 20), (3, 2), "inside_lesions", [Box(5, 6, 4, 3)])
    assert listed(feasible, 20, 20) == {(x, y) for x in (5, 6) for y in (6, 7)}


def test_in_a_box_of_the_marks_own_size_there_is_one_place() -> None:
    assert listed(feasible_positions((20, 20), (4, 3), "inside_lesions", [Box(5, 6, 4, 3)]), 20, 20) == {(5, 6)}


def test_where_the_mark_does_not_fit_its_centre_is_inside() -> None:
    # 5 x 4 px mark, 2 x 9 px box: too wide, so the centre pixel (x + 2, y + 2) lies in the box though the height fits.
    feasible = feasible_positions((20, 20), (5, 4), "inside_lesions", [Box(10, 3, 2, 9)])
    assert listed(feasible, 20, 20) == {(x - 2, y - 2) for x in (10, 11) for y in range(3, 12)}


def test_each_box_is_judged_for_itself() -> None:
    feasible = feasible_positions((20, 8), (3, 3), "inside_lesions", [Box(0, 0, 3, 3), Box(15, 4, 1, 1)])
    assert listed(feasible, 20, 8) == {(0, 0), (14, 3)}


def test_protected_boxes_are_kept_clear_in_every_mode() -> None:
    disc, lesion = [Box(2, 0, 1, 1)], [Box(0, 0, 2, 1)]
    assert listed(feasible_positions((6, 1), (1, 1), "anywhere", (), disc), 6, 1) == {(x, 0) for x in (0, 1, 3, 4, 5)}
    assert listed(feasible_positions((6, 1), (1, 1), "avoid_lesions", lesion, disc), 6, 1) == {
        (x, 0) for x in (3, 4, 5)
    }
    assert listed(feasible_positions((6, 1), (1, 1), "inside_lesions", [Box(1, 0, 3, 1)], disc), 6, 1) == {
        (1, 0),
        (3, 0),
    }


def test_no_lesion_to_be_inside_of() -> None:
    with pytest.raises(InfeasiblePlacementError, match="no lesion box"):
        feasible_positions((20, 20), (3, 3), "inside_lesions")


def test_no_room_is_said_with_the_counts() -> None:
    with pytest.raises(InfeasiblePlacementError, match="1 lesion and 1 protected boxes leave no room"):
        feasible_positions((6, 1), (3, 1), "avoid_lesions", [Box(1, 0, 1, 1)], [Box(4, 0, 1, 1)])
    with pytest.raises(InfeasiblePlacementError, match="larger than the image"):
        feasible_positions((6, 1), (7, 1), "anywhere")


@pytest.mark.parametrize(
    ("mark", "box"), [((0, 1), Box(0, 0, 1, 1)), ((1, 1), Box(0, 0, 0, 1)), ((1, 1), Box(0, 0, 1, -1))]
)
def test_empty_marks_and_boxes_are_refused(mark: tuple[int, int], box: Box) -> None:
    with pytest.raises(SettingsError, match="no pixels"):
        feasible_positions((6, 6), mark, "avoid_lesions", [box])


def test_sampling_is_uniform_over_the_feasible_positions() -> None:
    feasible = feasible_positions((14, 11), (3, 2), "avoid_lesions", [Box(2, 2, 2, 1), Box(8, 5, 3, 3)])
    drawn = feasible.sample(np.random.default_rng(7), 40_000)
    assert feasible.contains(drawn).all()
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == feasible.count
    assert stats.chisquare(counts).pvalue > 0.01


def test_the_same_seed_draws_the_same_positions_however_the_boxes_are_given() -> None:
    whole = feasible_positions((40, 30), (5, 4), "avoid_lesions", [Box(10, 10, 8, 6)])
    halves = [Box(14, 10, 4, 6), Box(10, 10, 4, 6), Box(12, 12, 2, 2)]
    pieces = feasible_positions((40, 30), (5, 4), "avoid_lesions", halves)
    drawn = [feasible.sample(np.random.default_rng(3), 50) for feasible in (whole, pieces)]
    np.testing.assert_array_equal(*drawn)


def test_nothing_drawn_is_an_empty_array() -> None:
    feasible = feasible_positions((9, 9), (3, 3), "anywhere")
    assert feasible.sample(np.random.default_rng(0), 0).shape == (0, 2)
    assert feasible.reflect(positions()).shape == (0, 2)
    assert feasible.contains(positions()).shape == (0,)


@pytest.mark.parametrize(
    ("proposal", "expected"), [(-1, 1), (-6, 6), (-7, 5), (7, 5), (12, 0), (13, 1), (600, 0), (-601, 1), (3, 3), (6, 6)]
)
def test_reflection_at_both_edges(proposal: int, expected: int) -> None:
    feasible = feasible_positions((8, 1), (2, 1), "anywhere")  # x in 0 … 6, so the pattern repeats after 12
    assert feasible.reflect(positions((proposal, 5))).tolist() == [[expected, 0]]


def test_a_forbidden_position_moves_to_the_nearest_feasible_one() -> None:
    feasible = feasible_positions((9, 9), (1, 1), "avoid_lesions", [Box(2, 3, 5, 3)])
    assert feasible.reflect(positions((3, 5), (2, 4), (3, 4))).tolist() == [[3, 6], [1, 4], [3, 2]]


def test_of_equally_near_positions_the_topmost_then_the_leftmost_is_taken() -> None:
    feasible = feasible_positions((9, 9), (1, 1), "avoid_lesions", [Box(3, 3, 3, 3)])
    assert feasible.reflect(positions((4, 4))).tolist() == [[4, 2]]
    flat = feasible_positions((9, 1), (1, 1), "avoid_lesions", [Box(3, 0, 3, 1)])
    assert flat.reflect(positions((4, 0))).tolist() == [[2, 0]]


def test_shrinking_schedule() -> None:
    assert list(shrink_schedule(4, 8, 1.25)) == [4, 5, 6.25, 7.8125, 8]
    assert list(shrink_schedule(20, 16, 1.25)) == [20]
    with pytest.raises(SettingsError, match="above 1"):
        list(shrink_schedule(4, 8, 1))


def test_resolved_at_the_scale_asked_for() -> None:
    resolved = resolve_feasible((40, 40), (10, 10), 4, "avoid_lesions", [Box(0, 0, 40, 30)])
    assert resolved is not None
    assert (resolved.logo_scale, resolved.mark_size, resolved.shrunk) == (4, (10, 10), False)
    assert resolved.feasible.count == 31


def test_shrinks_to_the_first_scale_that_fits() -> None:
    # 7 rows are free: sl 4 gives 10 px, 5 gives 8 px, 6.25 gives 6 px.
    crowded = [Box(0, 0, 40, 33)]
    resolved = resolve_feasible((40, 40), (10, 10), 4, "avoid_lesions", crowded, when_infeasible="shrink")
    assert resolved is not None
    assert (resolved.logo_scale, resolved.mark_size, resolved.shrunk) == (6.25, (6, 6), True)
    assert resolved.feasible.bounds == (34, 34)


def test_skip_and_stop() -> None:
    crowded = [Box(0, 0, 40, 33)]
    assert resolve_feasible((40, 40), (10, 10), 4, "avoid_lesions", crowded, when_infeasible="skip") is None
    with pytest.raises(InfeasiblePlacementError, match="10 x 10 px mark"):
        resolve_feasible((40, 40), (10, 10), 4, "avoid_lesions", crowded)


def test_shrinking_gives_up_with_an_error_not_a_skip() -> None:
    with pytest.raises(InfeasiblePlacementError, match="2 x 2 px mark"):
        resolve_feasible((40, 40), (10, 10), 4, "avoid_lesions", [Box(0, 0, 40, 40)], when_infeasible="shrink")


def test_covered_share_of_the_lesions() -> None:
    first, second = np.zeros((10, 12), dtype=bool), np.zeros((10, 12), dtype=bool)
    first[2:4, 2:6] = True  # 8 px
    second[3:5, 2:6] = True  # 8 px, 4 of them shared: 12 px in all
    assert covered_lesion_fraction([first, second], Box(2, 2, 2, 2)) == 4 / 12
    assert covered_lesion_fraction([first, second], Box(6, 5, 4, 4)) == 0
    assert covered_lesion_fraction([first, second], Box(0, 0, 12, 10)) == 1
    assert covered_lesion_fraction([np.zeros((4, 4), dtype=bool)], Box(0, 0, 4, 4)) == 0
    assert covered_lesion_fraction([], Box(0, 0, 4, 4)) == 0
