import pytest
import torch
from pydantic import ValidationError

from medlocker.errors import ModelError
from medlocker_zoo.registry import Architecture, Card, build_network, get_card, list_networks

PAPER = {
    "resnet18",
    "vgg16",
    "inception_v3",
    "mobilenetv3_large_100",
    "resnet50",
    "densenet121",
    "vit_small_patch16_224",
}
LARGE = PAPER | {"convnext_atto", "vit_tiny_patch16_224", "resnet10t", "mobilenetv2_100_padsame"}
SMALL = sorted(set(list_networks()) - LARGE)


def forward(name: str) -> torch.Tensor:
    card = get_card(name)
    network = build_network(card.architecture, 5).eval()
    side = card.preprocessing.input_size
    with torch.inference_mode():
        return network(torch.zeros(1, 3, side, side))


def test_the_seven_networks_of_the_paper_are_marked() -> None:
    assert {name for name in list_networks() if get_card(name).in_paper} == PAPER


def test_inception_takes_its_own_input_size() -> None:
    assert get_card("inception_v3").preprocessing.input_size == 299


@pytest.mark.parametrize("name", SMALL)
def test_a_small_network_takes_its_declared_input(name: str) -> None:
    assert forward(name).shape == (1, 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LARGE))
def test_a_large_network_takes_its_declared_input(name: str) -> None:
    assert forward(name).shape == (1, 5)


@pytest.mark.parametrize("name", list_networks())
def test_a_card_says_what_is_our_own_choice(name: str) -> None:
    assert "our choice" in get_card(name).note


def test_wildcards_select_by_name() -> None:
    assert list_networks("demo_*") == ["demo_darknet", "demo_efficientnet", "demo_resnet"]
    assert list_networks("nothing*") == []


def test_demo_networks_are_of_different_families() -> None:
    assert len({get_card(name).family for name in list_networks("demo_*")}) == 3


def test_an_unknown_name_lists_those_that_exist() -> None:
    with pytest.raises(ModelError, match="resnet18"):
        get_card("resnet1")


def test_an_unknown_field_in_a_card_is_refused() -> None:
    document = get_card("resnet18").model_dump()
    with pytest.raises(ValidationError, match="extra"):
        Card.model_validate(document | {"learning_rat": 1.0})


@pytest.mark.parametrize("name", ["hf-hub:someone/something", "resnet18.a1_in1k", "../resnet18"])
def test_a_name_that_reaches_outside_timm_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Architecture(timm_name=name)


def test_an_architecture_this_timm_does_not_know_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="no_such_net"):
        build_network(Architecture(timm_name="no_such_net"), 5)
