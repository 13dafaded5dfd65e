"""The card of a bundle that is an ensemble: what it is made of and where each of its networks comes from."""

from __future__ import annotations

import dataclasses

import sightline
from sightline.bundles.card import card, trained
from sightline.configuration.recipes import parse_recipe
from sightline.records import InputSpec

MEMBERS = [
    {"network": "lenet5", "vote": 1.0, "test": {"accuracy": 0.98}},
    {"network": "mlp", "vote": 2.0, "test": {"accuracy": 0.95}},
    {"network": "lenet5", "vote": 0.0, "test": {"accuracy": 0.5}},
]


def _card(settings, members) -> str:
    recipe = parse_recipe(settings)
    ensemble = None if members is None else {"kind": recipe.ensemble.kind, "members": members, "out_of_bag": None}
    dataset, spec = sightline.load("mnist"), InputSpec(28, 28, "grey")
    return card(dataset, spec, trained(dataset, recipe, num_train=9), evaluation=None, ensemble=ensemble)


def test_members_with_a_vote_are_counted_by_network_and_judged_alone() -> None:
    text = _card({"ensemble.kind": "deep", "model.name": "lenet5"}, MEMBERS)
    assert "It is an ensemble (deep: 1 of lenet5, 1 of mlp); their answers are averaged." in text
    assert "Alone, they are right on 0.9500 to 0.9800 of the test images." in text


def test_a_soup_is_told_to_be_one_network() -> None:
    members = [member | {"test": None} for member in MEMBERS]
    text = _card({"ensemble.kind": "soup", "model.name": "lenet5"}, members)
    assert "their weights are averaged into one network.\n" in text
    assert "Alone" not in text


def test_each_network_is_named_with_its_source_and_the_licence_of_its_weights() -> None:
    networks = {
        "ensemble.kind": "deep",
        "ensemble.networks": "efficientnet-lite0,mobilenet-v2,efficientnet-lite0",
    }
    text = _card(networks | {"model.name": "efficientnet-lite0"}, MEMBERS)
    assert text.startswith("# mnist: efficientnet-lite0, mobilenet-v2\n")
    assert text.count("licence of the weights: ") == 2
    assert "mobilenet-v2: The network starts from weights trained on ImageNet" in text
    text = _card({"model.name": "lenet5"}, None)
    assert "The network starts from random weights; architecture: LeCun" in text
    assert "ensemble" not in text


def test_names_of_strangers_are_no_markup_of_the_card() -> None:
    dataset = sightline.load("mnist")
    names = ("a|b", "<img src=x>", "\x1b[31m", *dataset.class_names[3:])
    dataset = dataclasses.replace(dataset, name="my *data*", class_names=names)
    origin = trained(dataset, parse_recipe({"model.name": "lenet5"}), num_train=9)
    text = card(dataset, InputSpec(28, 28, "grey"), origin, evaluation=None, ensemble=None)
    assert "a\\|b, &lt;img src=x>, \\\\x1b\\[31m, 3" in text
    assert text.startswith("# my \\*data\\*: ")
    assert "<img" not in text
    assert "my *data*" not in text
