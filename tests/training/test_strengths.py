from __future__ import annotations

import numpy as np
import pytest

import sightline
from sightline.config import parse_recipe
from sightline.errors import InvalidValue
from sightline.progress import reporting
from sightline.training.preparation import prepare
from sightline.training.recipes import resolve
from sightline.training.strengths import label_risk, strengths_of


def named(*class_names: str):
    count = len(class_names)
    arrays = {"x_train": np.zeros((4 * count, 8, 8, 3), np.uint8), "y_train": np.arange(4 * count) % count}
    return sightline.load(arrays, class_names=list(class_names))


def risk(dataset, **settings: object) -> str:
    return label_risk(parse_recipe({"augmentation": settings}).augmentation, dataset)


@pytest.mark.parametrize("settings", [{"flip": "horizontal"}, {"flip": "both"}, {"policy": "strong"}])
def test_flips_of_digits_are_warned_of(settings: dict[str, object]) -> None:
    told = risk(sightline.load("mnist"), **settings)
    assert "flips on 'mnist', handwritten digits" in told
    assert "set augmentation.flip=none" in told


def test_rotations_beyond_45_degrees_are_warned_of_and_others_are_not() -> None:
    mnist = sightline.load("mnist")
    assert "rotations by up to 90 degrees on 'mnist'" in risk(mnist, rotation_degrees=90)
    assert risk(mnist, rotation_degrees=45) == ""
    assert risk(mnist, policy="digits") == ""


def test_class_names_that_are_single_letters_or_digits_are_enough() -> None:
    assert "classes look like letters or digits (b, d, p" in risk(named("b", "d", "p", "q"), flip="horizontal")
    assert risk(named("0", "1", "other"), flip="horizontal")
    assert risk(named("cat", "dog"), flip="horizontal") == ""
    assert risk(named("a", "cat", "dog"), flip="horizontal") == ""
    assert risk(named("b", "d"), flip="none", policy="photos", rotation_degrees=10) == ""


def test_training_and_the_preview_print_the_warning(capsys) -> None:
    recipe = parse_recipe({"augmentation.policy": "light", "data.group_near_duplicates": False})
    with reporting("plain"):
        prepare(named("b", "d"), recipe)
    assert "warning: augmentation may change the label: flips" in capsys.readouterr().err


def test_colour_asked_for_on_grey_images_is_refused_and_that_of_a_policy_is_not() -> None:
    grey = sightline.load("mnist")
    for key in ("saturation", "hue"):
        with pytest.raises(InvalidValue, match=f"augmentation.{key} changes colours, and 'mnist' is fed .* in grey"):
            resolve(parse_recipe({f"augmentation.{key}": 0.2}), grey)
        resolve(parse_recipe({f"augmentation.{key}": 0.2, "data.color_mode": "rgb"}), grey)
        resolve(parse_recipe({f"augmentation.{key}": 0}), grey)
    assert "hue" in strengths_of(resolve(parse_recipe({"augmentation.policy": "strong"}), grey).augmentation)
