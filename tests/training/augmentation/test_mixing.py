"""MixUp and CutMix: images and labels are mixed by the same numbers, by seed, and only while training."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.configuration.recipes import parse_recipe
from sightline.system.backends import load_keras

keras = load_keras()

from sightline.training.augmentation.mixing import MixImages, Mixing, mixing_of  # noqa: E402  # as above
from sightline.training.loop import batches as feeding  # noqa: E402  # the backend is chosen first
from sightline.training.loop.batches import LabelledImages, training_feed, training_order, validation_feed  # noqa: E402  # as above
from sightline.training.loop.fit import fit  # noqa: E402  # as above
from sightline.training.loop.network import training_network  # noqa: E402  # as above
from sightline.training.loop.recording import FitOutputs  # noqa: E402  # as above

HEIGHT, WIDTH = 8, 12
ROWS = np.arange(40)
BOTH = [Mixing(0.4, 0.0, HEIGHT, WIDTH, seed=3), Mixing(0.0, 1.0, HEIGHT, WIDTH, seed=3)]


def slow_mix(images: np.ndarray, plan: np.ndarray) -> np.ndarray:
    """Pixel by pixel: the partner's inside the box, a blend of both outside."""
    mixed = np.zeros(images.shape)
    for index, (partner, share, top, bottom, left, right) in enumerate(plan):
        other = images[int(partner)].astype(float)
        for row in range(images.shape[1]):
            for column in range(images.shape[2]):
                in_box = top <= row < bottom and left <= column < right
                blend = share * images[index, row, column] + (1 - share) * other[row, column]
                mixed[index, row, column] = other[row, column] if in_box else blend
    return mixed


@pytest.mark.parametrize("mixing", BOTH, ids=["mixup", "cutmix"])
def test_images_are_mixed_as_the_slow_definition_says_and_only_while_training(mixing: Mixing) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, HEIGHT, WIDTH, 3), dtype=np.uint8)
    plan = mixing.plan(ROWS)
    mixed = np.asarray(MixImages()(images, plan, training=True))
    np.testing.assert_allclose(mixed, slow_mix(images, plan), atol=0.01)
    assert not np.array_equal(mixed, images)
    np.testing.assert_array_equal(np.asarray(MixImages()(images, plan, training=False)), images)


@pytest.mark.parametrize("mixing", BOTH, ids=["mixup", "cutmix"])
def test_labels_sum_to_one_and_are_shared_as_the_pixels_are(mixing: Mixing) -> None:
    # Image n is white and the others black, in turn: what is left of white is the share of n.
    targets = np.eye(40, dtype=np.float32)
    plan, mixed = mixing.mix(ROWS, [targets])
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)
    for index in range(40):
        images = np.zeros((40, HEIGHT, WIDTH, 1), np.float32)
        images[index] = 1
        seen = np.asarray(MixImages()(images, plan, training=True)).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(mixed[:, index], seen, atol=1e-5)
    assert ((mixed > 0).sum(axis=1) <= 2).all()
    assert ((mixed > 0.05).sum(axis=1) == 2).any()


def test_a_case_by_hand() -> None:
    mixing = Mixing(1.0, 0.0, 4, 4, seed=0)
    plan = np.array([[1, 0.25, 0, 0, 0, 0], [0, 1, 0, 2, 1, 3]], np.float32)
    # A quarter is left of the first; four of the second's sixteen pixels are the first's.
    assert mixing.own_share(plan).tolist() == [0.25, 0.75]


def test_weights_go_with_the_labels_so_that_the_loss_is_the_weighted_sum_of_both() -> None:
    weights = np.linspace(0.5, 3, 40, dtype=np.float32)
    targets = np.eye(40, dtype=np.float32)
    plan, mixed, counts = BOTH[0].mix(ROWS, [targets, weights])
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)
    losses = np.random.default_rng(0).random((40, 40))  # of image n if its label were m
    share, partners = BOTH[0].own_share(plan), plan[:, 0].astype(int)
    expected = share * weights * losses[ROWS, ROWS] + (1 - share) * weights[partners] * losses[ROWS, partners]
    np.testing.assert_allclose(counts * (mixed * losses).sum(axis=1), expected, rtol=1e-4)


def test_shares_follow_beta_and_boxes_lie_inside() -> None:
    many = np.arange(5000)
    shares = Mixing(2.0, 0.0, HEIGHT, WIDTH, seed=1).plan(many)[:, 1]
    # Beta(2, 2): mean 1/2, variance 1/20
    assert shares.mean() == pytest.approx(0.5, abs=0.01)
    assert shares.var() == pytest.approx(0.05, abs=0.003)
    plan = Mixing(0.0, 1.0, 40, 40, seed=1).plan(many)
    assert (plan[:, [2, 4]] >= 0).all()
    assert (plan[:, [3, 5]] <= 40).all()
    own = Mixing(0.0, 1.0, 40, 40, seed=1).own_share(plan)
    assert own.mean() == pytest.approx(0.5, abs=0.02)
    assert sorted(plan[:, 0].astype(int).tolist()) == many.tolist()


def test_with_both_each_batch_draws_one_of_the_two() -> None:
    mixing = Mixing(0.4, 1.0, HEIGHT, WIDTH, seed=0)
    plans = [mixing.plan(np.arange(8) + 8 * batch) for batch in range(60)]
    is_mixup = [bool((plan[:, 1] < 1).any()) for plan in plans]
    is_cutmix = [bool((plan[:, 3] > plan[:, 2]).any()) for plan in plans]
    assert all(one != other for one, other in zip(is_mixup, is_cutmix, strict=True))
    assert 15 < sum(is_mixup) < 45


def test_a_plan_depends_on_seed_and_rows_alone() -> None:
    mixing = BOTH[0]
    np.testing.assert_array_equal(mixing.plan(ROWS), Mixing(0.4, 0.0, HEIGHT, WIDTH, seed=3).plan(ROWS.copy()))
    assert not np.array_equal(mixing.plan(ROWS), mixing.plan(ROWS[::-1]))
    assert not np.array_equal(mixing.plan(ROWS), Mixing(0.4, 0.0, HEIGHT, WIDTH, seed=4).plan(ROWS))


def small_data(weights: bool = False) -> LabelledImages:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (70, 8, 8, 3), dtype=np.uint8)
    return LabelledImages(images, np.arange(70) % 3, random.uniform(0.5, 2, 70) if weights else None)


def mixed_recipe(**settings: object):
    return parse_recipe(
        {
            "augmentation.mixup_alpha": 0.4,
            "augmentation.cutmix_alpha": 1.0,
            "loss.name": "categorical_crossentropy",
            "training.batch_size": 16,
            "training.epochs": 2,
            **settings,
        }
    )


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_feed_carries_plans_targets_and_weights_of_the_same_rows_on_every_backend(monkeypatch, backend) -> None:
    pytest.importorskip("tensorflow")
    monkeypatch.setattr(feeding.keras.config, "backend", lambda: backend)
    data = small_data(weights=True)
    order = training_order(data, mixed_recipe())
    fed = training_feed(data, mixed_recipe(), num_classes=3, order=order)["x"]
    batches = [fed[index] for index in range(len(fed))] if backend == "jax" else list(fed)
    assert sum(len(np.asarray(batch[0][0])) for batch in batches) == 70
    number_of = {image.tobytes(): number for number, image in enumerate(data.images)}
    for (images, plan), targets, weights in batches:
        rows = np.array([number_of[image.tobytes()] for image in np.asarray(images)])
        arrays = [np.eye(3, dtype=np.float32)[data.labels], (data.weights / data.weights.mean()).astype(np.float32)]
        expected = mixing_of(mixed_recipe(), (8, 8, 3)).mix(rows, arrays)
        for found, wanted in zip((plan, targets, weights), expected, strict=True):
            np.testing.assert_allclose(np.asarray(found), wanted, atol=1e-6)
    judged = validation_feed(data, mixed_recipe(), num_classes=3)["validation_data"]
    (images, _), targets = judged[0] if backend == "jax" else next(iter(judged))
    np.testing.assert_array_equal(np.asarray(images), data.images)
    np.testing.assert_array_equal(np.asarray(targets), np.eye(3)[data.labels])


def fitted(recipe, weights: bool = False):
    from sightline.records import InputSpec
    from sightline.training.augmentation.pipeline import build_augmentation

    keras.utils.set_random_seed(recipe.seed)
    pixels = keras.Input((8, 8, 3), dtype="uint8")
    network = keras.Model(
        pixels, keras.layers.Dense(3)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels)))
    )
    augmentation = build_augmentation(recipe.augmentation, InputSpec(8, 8, "rgb"), seed=recipe.seed)
    data = small_data(weights)
    done = fit(network, data, validation=small_data(), recipe=recipe, augmentation=augmentation, outputs=FitOutputs())
    return network, done


@pytest.mark.parametrize("policy", [pytest.param("none", marks=pytest.mark.soak), "strong"])
def test_the_same_seed_gives_the_same_weights_byte_for_byte(policy: str) -> None:
    recipe = mixed_recipe(**{"augmentation.policy": policy})
    weights = [[array.tobytes() for array in fitted(recipe)[0].get_weights()] for _ in range(2)]
    assert weights[0] == weights[1]


def test_another_strength_of_mixing_reaches_the_weights() -> None:
    one, other = (
        fitted(mixed_recipe(**{"augmentation.cutmix_alpha": 0, "augmentation.mixup_alpha": alpha}))
        for alpha in (0.1, 2)
    )
    assert not np.array_equal(one[0].get_weights()[0], other[0].get_weights()[0])


def test_validation_sees_images_as_they_are_and_the_network_is_left_as_it_was_built() -> None:
    network, done = fitted(mixed_recipe(**{"augmentation.policy": "strong"}), weights=True)
    data = small_data()
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    judged = float(keras.ops.convert_to_numpy(loss(np.eye(3)[data.labels], network(data.images))))
    assert done.history[-1]["validation_loss"] == pytest.approx(judged, abs=1e-4)
    assert [type(layer).__name__ for layer in network.layers] == ["InputLayer", "Rescaling", "Flatten", "Dense"]
    assert len(network.inputs) == 1


def test_places_in_a_batch_survive_half_precision() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        pixels = keras.Input((2, 2, 1), dtype="uint8")
        network = keras.Model(pixels, keras.layers.Flatten(dtype="float32")(pixels))
        model = training_network(network, None, mixes=True)
        images = (np.arange(3001) % 251).astype(np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
        plan = np.zeros((3001, 6), np.float32)
        plan[:, 0] = np.arange(3001)[::-1]
        swapped = np.asarray(model([images, plan], training=True))
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(swapped[:, 0], images[::-1, 0, 0, 0])


def test_nothing_before_the_network_leaves_the_network_itself() -> None:
    network = keras.Sequential([keras.Input((4, 4, 1), dtype="uint8"), keras.layers.Flatten()])
    assert training_network(network, None, mixes=False) is network
