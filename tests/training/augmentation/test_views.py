"""Views of rows that are looked at once: drawn by the recipe's own augmentation, the same for the same row."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from sightline.configuration.names import AUGMENTATION_PARTS
from sightline.configuration.recipes import parse_recipe, recipe
from sightline.configuration.schema import AugmentationRecipe
from sightline.errors import InvalidValue
from sightline.records import InputSpec
from sightline.system.backends import load_keras
from sightline.training.setup.resolution import settle

load_keras()

from sightline.training.augmentation.pipeline import build_augmentation  # noqa: E402
from sightline.training.augmentation.views import BLOCK, augmented_views, row_views  # noqa: E402

IMAGES = np.random.default_rng(0).integers(60, 200, (40, 24, 24, 3), dtype=np.uint8)
ROWS = np.arange(len(IMAGES))
SPEC = InputSpec(24, 24, "rgb")
EVERYTHING = AugmentationRecipe(policy="strong", blur_sigma=2.0, randaugment_magnitude=0.5, shear_degrees=10.0)


def view(number: int = 1) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    change = row_views(EVERYTHING, SPEC, count=number)[-1].change
    assert change is not None
    return change


def test_a_view_of_a_row_is_the_draw_of_the_one_augmentation_from_the_state_of_its_block() -> None:
    augmentation = build_augmentation(EVERYTHING, SPEC, seed=0)
    assert augmentation is not None
    states = [variable for variable in augmentation.variables if "seed" in variable.path]
    for index, state in enumerate(states):
        state.assign(np.array([2000 + index, 1000], np.uint32))
    expected = np.asarray(augmentation(IMAGES[BLOCK : 2 * BLOCK], training=True))
    assert np.array_equal(view(2)(ROWS[BLOCK : 2 * BLOCK], IMAGES[BLOCK : 2 * BLOCK]), expected)


def test_views_in_memory_are_the_images_and_then_the_draws_of_the_one_augmentation() -> None:
    augmentation, same = (build_augmentation(EVERYTHING, SPEC, seed=3) for _ in range(2))
    assert augmentation is not None
    assert same is not None
    expected = [IMAGES, *(np.asarray(same(IMAGES, training=True)) for _ in range(2))]
    assert np.array_equal(augmented_views(IMAGES, augmentation, num_views=3), np.concatenate(expected))


def test_a_row_is_seen_the_same_way_alone_and_among_others_in_whatever_order_and_thread() -> None:
    view_of = view()
    whole = view_of(ROWS, IMAGES)
    picked = np.array([37, BLOCK, 3, BLOCK - 1])
    assert np.array_equal(view_of(picked, IMAGES[picked]), whole[picked])
    assert np.array_equal(view()(ROWS[5:6], IMAGES[5:6]), whole[5:6])
    found: dict[int, np.ndarray] = {}

    def work(first: int) -> None:
        found[first] = view_of(ROWS[first : first + 9], IMAGES[first : first + 9])

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 9, 18, 27)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(seen, whole[first : first + 9]) for first, seen in found.items())


def test_other_rows_and_other_views_are_drawn_anew() -> None:
    same = np.repeat(IMAGES[:1], 40, axis=0)
    seen = view()(ROWS, same)
    assert len(np.unique(seen.reshape(40, -1), axis=0)) == 40
    again = view(2)(ROWS, same)
    assert not any(np.array_equal(one, other) for one, other in zip(seen, again, strict=True))


STRONG = {"flip": "both", "rotation_degrees": 40, "shear_degrees": 40, "blur_sigma": 3, "hue": 0.3}


@pytest.mark.parametrize("part", AUGMENTATION_PARTS)
def test_every_part_of_the_augmentation_changes_what_a_head_learns_from(part: str) -> None:
    settings = {"training.feature_variants": 2, "augmentation.policy": "none", "data.image_size": 24}
    asked = recipe("transfer", {**settings, "data.color_mode": "rgb", f"augmentation.{part}": STRONG.get(part, 0.5)})
    (seen,) = row_views(asked.augmentation, SPEC, count=1)
    assert seen.change is not None
    changed = seen.change(ROWS[:BLOCK], IMAGES[:BLOCK])
    assert not np.array_equal(changed, IMAGES[:BLOCK])
    other = recipe("transfer", {**settings, "data.color_mode": "rgb", "augmentation.contrast": 0.1})
    assert seen.name != row_views(other.augmentation, SPEC, count=1)[0].name


def test_one_view_is_the_image_as_it_is_and_the_recipe_says_so(capsys) -> None:
    settled = settle(recipe("transfer"), num_train=10_000).recipe
    assert (settled.training.feature_variants, settled.augmentation.policy) == (1, "none")
    assert "learned from as they are" in capsys.readouterr().err
    assert settle(recipe("transfer"), num_train=500).recipe.augmentation.policy == "photos"
    whole = settle(recipe("transfer", {"training.finetune_part": "all"}), num_train=10_000).recipe
    assert whole.augmentation.policy == "photos"


def test_what_is_asked_for_part_by_part_is_done_or_refused() -> None:
    assert settle(recipe("transfer", {"augmentation.hue": 0.1}), num_train=10_000).recipe.training.feature_variants == 2
    message = r"augmentation.hue=0.1 would change nothing: .* Set training.feature_variants=auto, or 2 or more"
    with pytest.raises(InvalidValue, match=message):
        recipe("transfer", {"augmentation.hue": 0.1, "training.feature_variants": 1})
    parse_recipe({"augmentation.hue": 0.1})
