"""The feasible set against the definition, tried at every position of small images."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medlocker.errors import InfeasiblePlacementError
from medlocker.placement import FeasibleSet, PlacementMode, feasible_positions
from medlocker.regions import Box

Case = tuple[tuple[int, int], tuple[int, int], PlacementMode, list[Box], list[Box]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    image = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    mark = draw(st.integers(1, image[0])), draw(st.integers(1, image[1]))
    box = st.builds(Box, st.integers(-2, image[0]), st.integers(-2, image[1]), st.integers(1, 9), st.integers(1, 9))
    mode = draw(st.sampled_from(["anywhere", "avoid_lesions", "inside_lesions"]))
    return image, mark, mode, draw(st.lists(box, max_size=5)), draw(st.lists(box, max_size=2))


def painted(image: tuple[int, int], box: Box) -> np.ndarray:
    canvas = np.zeros((image[1], image[0]), dtype=bool)
    canvas[max(box.y, 0) : max(box.y + box.height, 0), max(box.x, 0) : max(box.x + box.width, 0)] = True
    return canvas


def meets(first: Box, second: Box) -> bool:
    columns = set(range(first.x, first.x + first.width)) & set(range(second.x, second.x + second.width))
    rows = set(range(first.y, first.y + first.height)) & set(range(second.y, second.y + second.height))
    return bool(columns and rows)


def lies_inside(footprint: Box, box: Box) -> bool:
    if footprint.width > box.width or footprint.height > box.height:
        centre = Box(footprint.x + footprint.width // 2, footprint.y + footprint.height // 2, 1, 1)
        return meets(centre, box)
    columns = box.x <= footprint.x and footprint.x + footprint.width <= box.x + box.width
    return columns and box.y <= footprint.y and footprint.y + footprint.height <= box.y + box.height


def allowed(case: Case, x: int, y: int) -> bool:
    _, mark, mode, boxes, protected = case
    footprint = Box(x, y, *mark)
    if any(meets(footprint, box) for box in protected):
        return False
    if mode == "avoid_lesions":
        return not any(meets(footprint, box) for box in boxes)
    return mode == "anywhere" or any(lies_inside(footprint, box) for box in boxes)


def every_position(case: Case) -> np.ndarray:
    (width, height), (across, down), *_ = case
    found = [(x, y) for y in range(height - down + 1) for x in range(width - across + 1) if allowed(case, x, y)]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def feasible_or_reject(case: Case) -> FeasibleSet:
    try:
        return feasible_positions(*case)
    except InfeasiblePlacementError:
        assume(False)
        raise


@given(cases())
@settings(max_examples=300, deadline=None)
def test_exactly_the_positions_of_the_definition_are_feasible(case: Case) -> None:
    expected = every_position(case)
    try:
        feasible = feasible_positions(*case)
    except InfeasiblePlacementError:
        assert len(expected) == 0
        return
    tried = np.stack(np.meshgrid(np.arange(-3, 18), np.arange(-3, 18)), axis=2).reshape(-1, 2)
    assert {*map(tuple, tried[feasible.contains(tried)].tolist())} == {*map(tuple, expected.tolist())}
    assert feasible.count == len(expected)


@given(cases(), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_a_sampled_footprint_never_meets_a_forbidden_box(case: Case, seed: int) -> None:
    image, mark, mode, boxes, protected = case
    drawn = feasible_or_reject(case).sample(np.random.default_rng(seed), 30)
    forbidden = np.zeros((image[1], image[0]), dtype=bool)
    for box in [*boxes, *protected] if mode == "avoid_lesions" else protected:
        forbidden |= painted(image, box)
    for x, y in drawn:
        patch = forbidden[y : y + mark[1], x : x + mark[0]]
        assert patch.shape == mark[::-1]
        assert not patch.any()


@given(cases(), st.lists(st.tuples(st.integers(-60, 60), st.integers(-60, 60)), min_size=1, max_size=10))
@settings(max_examples=150, deadline=None)
def test_reflection_ends_at_the_nearest_feasible_position(case: Case, proposals: list[tuple[int, int]]) -> None:
    feasible, members = feasible_or_reject(case), every_position(case).tolist()
    moved = feasible.reflect(np.array(proposals, dtype=np.int64)).tolist()
    for proposal, (x, y) in zip(proposals, moved, strict=True):
        at = [mirrored(value, edge) for value, edge in zip(proposal, feasible.bounds, strict=True)]
        best = min(members, key=lambda m: ((m[0] - at[0]) ** 2 + (m[1] - at[1]) ** 2, m[1], m[0]))
        assert [x, y] == best


def mirrored(value: int, edge: int) -> int:
    """Walk back from the edges one overshoot at a time, as a ball between two walls."""
    while not 0 <= value <= edge:
        value = 0 if edge == 0 else -value if value < 0 else 2 * edge - value
    return value


@given(cases())
@settings(max_examples=100, deadline=None)
def test_feasible_positions_stay_where_they_are(case: Case) -> None:
    feasible, members = feasible_or_reject(case), every_position(case)
    np.testing.assert_array_equal(feasible.reflect(members), members)
