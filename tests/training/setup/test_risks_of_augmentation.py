from __future__ import annotations

import numpy as np
import pytest

import sightline
from sightline.configuration.recipes import override, parse_recipe
from sightline.configuration.schema import strengths_of
from sightline.errors import InvalidValue
from sightline.system.progress import reporting
from sightline.training.setup.preparation import prepare
from sightline.training.setup.resolution import label_risk, settle


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
    assert "classes look like letters or digits (a, c, e" in risk(named("a", "c", "e", "g"), flip="horizontal")
    assert risk(named("0", "1", "other"), flip="horizontal")
    assert risk(named("cat", "dog"), flip="horizontal") == ""
    assert risk(named("a", "cat", "dog"), flip="horizontal") == ""
    assert risk(named("b", "d"), flip="none", policy="photos", rotation_degrees=10) == ""


def test_training_and_the_preview_print_the_warning(capsys) -> None:
    recipe = parse_recipe({"augmentation.policy": "light", "data.group_near_duplicates": False})
    with reporting("plain"):
        prepare(named("a", "e"), recipe)
    assert "warning: augmentation may change the label: flips" in capsys.readouterr().err


SIDES = parse_recipe(
    {"augmentation.policy": "photos", "data.group_near_duplicates": False, "ensemble.test_views": "auto"}
)


def test_a_policy_does_not_mirror_what_class_names_call_left_and_right(capsys) -> None:
    with reporting("plain"):
        recipe = prepare(named("turn_left", "turn_right"), SIDES).recipe
    assert (recipe.augmentation.flip, recipe.ensemble.test_views) == ("none", "shifts")
    told = capsys.readouterr().err
    assert "note: images are not mirrored (augmentation.flip=none)" in told
    assert "'turn_left' and 'turn_right' are told apart by a side" in told
    assert "--set augmentation.flip=horizontal" in told


def test_mirroring_that_was_asked_for_stays_and_is_warned_of(capsys) -> None:
    asked = override(SIDES, ["augmentation.flip=horizontal"])
    with reporting("plain"):
        recipe = prepare(named("turn_left", "turn_right"), asked).recipe
    assert (recipe.augmentation.flip, recipe.ensemble.test_views) == ("horizontal", "mirror")
    told = capsys.readouterr().err
    assert "warning: augmentation may change the label: flips on 'arrays', whose classes 'turn_left'" in told
    assert "set augmentation.flip=none" in told


def test_turning_images_upside_down_is_warned_of_where_classes_are_told_apart_by_a_side() -> None:
    assert "rotations by up to 180 degrees" in risk(named("up", "down"), rotation_degrees=180)
    assert "rotations by up to 90 degrees" in risk(named("left", "right"), rotation_degrees=90)
    assert risk(named("up", "down"), flip="horizontal") == ""
    assert "flips" in risk(named("up", "down"), flip="both")


@pytest.mark.parametrize("flip", [None, "horizontal"])
def test_a_policy_does_not_mirror_images_of_one_class_that_are_mirror_images_of_another(flip, capsys) -> None:
    random, labels = np.random.default_rng(0), np.arange(120) % 2
    images = random.integers(0, 60, (120, 24, 24, 3), dtype=np.uint8)
    images[:, 4:20, 4:8] = 250
    for row in np.flatnonzero(labels):
        images[row] = images[row, :, ::-1]
    dataset = sightline.load({"x_train": images, "y_train": labels}, class_names=["one", "two"])
    asked = SIDES if flip is None else override(SIDES, [f"augmentation.flip={flip}"])
    with reporting("plain"):
        recipe = prepare(dataset, asked).recipe
    told = capsys.readouterr().err
    assert "images of 'one' look like mirrored images of 'two'" in told
    if flip is None:
        assert (recipe.augmentation.flip, recipe.ensemble.test_views) == ("none", "shifts")
        assert "note: images are not mirrored (augmentation.flip=none)" in told
    else:
        assert (recipe.augmentation.flip, recipe.ensemble.test_views) == ("horizontal", "mirror")
        assert "warning: augmentation may change the label: flips" in told


def test_colour_asked_for_on_grey_images_is_refused_and_that_of_a_policy_is_not() -> None:
    grey = sightline.load("mnist")
    for key in ("saturation", "hue"):
        with pytest.raises(InvalidValue, match=f"augmentation.{key} changes colours, and 'mnist' is fed .* in grey"):
            settle(parse_recipe({f"augmentation.{key}": 0.2}), dataset=grey)
        settle(parse_recipe({f"augmentation.{key}": 0.2, "data.color_mode": "rgb"}), dataset=grey)
        settle(parse_recipe({f"augmentation.{key}": 0}), dataset=grey)
    assert "hue" in strengths_of(
        settle(parse_recipe({"augmentation.policy": "strong"}), dataset=grey).recipe.augmentation
    )
