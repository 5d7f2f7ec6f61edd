"""Eq. 8 in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fakes import UNIT, LinearClassifier, bright_corner

from medlocker.errors import ModelError, SettingsError
from medlocker.fitness import OBJECTIVES, Ensemble

PIXELS = np.full((32, 32, 3), 255, dtype=np.uint8)


def constant(bias, name="c"):
    return LinearClassifier(torch.zeros(3, 32, 32), bias=bias, name=name)


def test_the_ensemble_is_the_weighted_mean_of_probabilities():
    weights = (0.25, 0.75)
    ensemble = Ensemble([constant(0.0, "a"), constant(math.log(3), "b")], weights)
    assert ensemble.read(PIXELS).tolist() == pytest.approx([0.25 * 0.5 + 0.75 * 0.25, 0.25 * 0.5 + 0.75 * 0.75])


def test_a_white_corner_is_read_as_class_0():
    network = LinearClassifier(bright_corner(gain=0.01))
    logit = 3 * 8 * 8 * 0.01
    assert Ensemble([network]).read(PIXELS)[0].item() == pytest.approx(1 / (1 + math.exp(-logit)))


def test_members_with_different_inputs_each_get_their_own():
    other = UNIT.model_copy(update={"input_size": 16})
    small = LinearClassifier(torch.zeros(3, 16, 16), preprocessing=other, name="small")
    ensemble = Ensemble([constant(0.0), small])
    assert ensemble.preprocessings == (UNIT, other)
    assert ensemble.read(PIXELS).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("weights", [(0.5, 0.6), (1.0,), (1.5, -0.5)])
def test_weights_must_be_positive_and_sum_to_one(weights):
    with pytest.raises(SettingsError, match="weights"):
        Ensemble([constant(0.0), constant(1.0)], weights)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("mean_probability", 0.25 * 0.5 + 0.75 * 0.1),
        ("log_odds", 1 / (1 + 9**0.75)),  # odds 1 and 1/9, to the powers 1/4 and 3/4
        ("worst_member", 0.5),
    ],
)
def test_objectives_of_two_members_by_hand(objective, expected):
    ensemble = Ensemble([constant(0.0, "a"), constant(math.log(9), "b")], (0.25, 0.75))
    mean, value = ensemble.answers({UNIT: torch.zeros(1, 3, 32, 32)}, objective)[0, :, 0].tolist()
    assert mean == pytest.approx(0.25 * 0.5 + 0.75 * 0.1)
    assert value == pytest.approx(expected)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_of_one_member_every_objective_is_its_probability(objective):
    inputs = {UNIT: torch.zeros(1, 3, 32, 32)}
    mean, value = Ensemble([constant(0.7)]).answers(inputs, objective)[0]
    assert value.tolist() == pytest.approx(mean.tolist())


def test_no_source_and_mismatched_classes_are_refused():
    with pytest.raises(SettingsError, match="--sources"):
        Ensemble([])
    with pytest.raises(ModelError, match="classes"):
        Ensemble([constant(0.0), LinearClassifier(torch.zeros(3, 32, 32), num_classes=5)])
