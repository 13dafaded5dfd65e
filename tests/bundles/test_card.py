"""The card of a bundle that is an ensemble: what it is made of and where each of its networks comes from."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import sightline
from sightline.bundles.card import card, trained
from sightline.configuration.recipes import parse_recipe
from sightline.evaluation.measuring.scoring import score
from sightline.records import InputSpec, Predictions

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
    assert "\n\n# mnist: efficientnet-lite0, mobilenet-v2\n" in text
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
    assert "\n\n# my \\*data\\*: " in text
    assert "<img" not in text
    assert "my *data*" not in text


def test_a_hub_of_models_reads_its_figures_from_it(tiny_run: sightline.Run) -> None:
    cards = pytest.importorskip("huggingface_hub", reason="pip install '.[oracles]'")
    text = (tiny_run.bundle.path / "card.md").read_text(encoding="utf-8")
    found = {result.metric_type: result for result in cards.ModelCard(text).data.eval_results}
    assert tiny_run.evaluation is not None
    assert found["accuracy"].metric_value == tiny_run.evaluation.accuracy
    assert found["accuracy"].task_type == "image-classification"
    assert found["cross_entropy"].dataset_split == "test"


def test_what_a_hub_reads_of_it_is_a_line_of_json_a_key_whatever_names_say() -> None:
    dataset = dataclasses.replace(sightline.load("mnist"), name="a: b\n---\n- c\u2028 'd' \"e\"")
    recipe = parse_recipe({"model.name": "lenet5"})
    evaluation = score(
        Predictions.of(["1", "2"], np.eye(2, dtype=np.float32), class_names=("x", "y"), labels=np.array([0, 1]))
    )
    origin = trained(dataset, recipe, num_train=9)
    text = card(dataset, InputSpec(28, 28, "grey"), origin, evaluation=evaluation, ensemble=None)
    first, *lines, last, nothing, heading = text.split("\n")[:8]
    assert (first, last, nothing, heading[0]) == ("---", "---", "", "#")
    told = {line.partition(": ")[0]: json.loads(line.partition(": ")[2]) for line in lines}
    (result,) = told["model-index"][0]["results"]
    assert result["dataset"]["name"] == dataset.name
    assert {"type": "accuracy", "name": "accuracy", "value": 1.0} in result["metrics"]
