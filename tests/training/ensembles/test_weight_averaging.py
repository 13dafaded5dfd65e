"""Soups: the mean of weights, judged on validation rows, normalisation taken anew, barriers refused."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.classification import cross_entropy
from sightline.system.backends import load_keras

keras = load_keras()

from sightline.training.ensembles.graph import answers_of  # noqa: E402  # the backend is chosen first
from sightline.training.ensembles.weight_averaging import weight_average  # noqa: E402
from sightline.training.loop.batches import LabelledImages  # noqa: E402


def _exclusive_or(num_images: int, seed: int) -> LabelledImages:
    """Class 1 where just one of two pixels is bright: what a mean of two different solutions cannot tell."""
    random = np.random.default_rng(seed)
    bright = random.integers(0, 2, (num_images, 2))
    images = (bright * 160 + random.integers(0, 60, bright.shape)).astype(np.uint8)
    return LabelledImages(images.reshape(num_images, 1, 2, 1), bright.sum(axis=1) % 2)


TRAIN, VALIDATION = _exclusive_or(256, 0), _exclusive_or(200, 1)


def _network(seed: int, *, units: int = 4, normalises: bool = False, is_fixed: bool = False):
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((1, 2, 1), dtype="uint8", name="images")
    tensor = keras.layers.Flatten()(keras.layers.Rescaling(1 / 110, -1)(pixels))
    tensor = keras.layers.Dense(units, activation=None if normalises else "tanh")(tensor)
    if normalises:
        tensor = keras.layers.BatchNormalization(momentum=0.9, trainable=not is_fixed, name="normalised")(tensor)
        tensor = keras.layers.Activation("tanh")(tensor)
    return keras.Model(pixels, {"features": tensor, "logits": keras.layers.Dense(2, name="logits")(tensor)})


def _learn(network, *, epochs: int, seed: int = 0):
    keras.utils.set_random_seed(seed)
    plain = keras.Model(network.input, network.output["logits"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(optimizer=keras.optimizers.Adam(0.05), loss=loss)
    plain.fit(TRAIN.images, TRAIN.labels, epochs=epochs, batch_size=64, verbose=0)
    return network


@functools.cache
def _members(**options):
    """Three good networks near one another; nobody changes them."""
    start = _learn(_network(0, units=8, **options), epochs=12).get_weights()
    members = []
    for seed in range(3):
        random = np.random.default_rng(seed)
        member = _network(0, units=8, **options)
        member.set_weights([array * random.uniform(0.95, 1.05, array.shape) for array in start])
        members.append(member)
    return tuple(members)


@functools.cache
def _good():
    """A network that answers nearly always right."""
    learned = (_learn(_network(seed), epochs=40) for seed in range(8))
    return next(network for network in learned if _accuracy(network) > 0.95)


def _mirrored(network):
    """The same answers by weights far away: whatever goes into a tanh and comes out of it has the other sign."""
    other = _network(0)
    first, bias, second, last = network.get_weights()
    other.set_weights([-first, -bias, -second, last])
    return other


def _loss(network) -> float:
    return cross_entropy(answers_of(network, VALIDATION.images), VALIDATION.labels)


def _accuracy(network) -> float:
    return float((answers_of(network, VALIDATION.images).argmax(axis=1) == VALIDATION.labels).mean())


def test_a_soup_is_the_mean_of_the_weights_and_members_stay_as_they_are() -> None:
    members = _members()
    before = [member.get_weights() for member in members]
    average, chosen = weight_average(members, TRAIN, VALIDATION, greedy=False)
    assert chosen.tolist() == [1, 1, 1]
    for mean, *each in zip(average.get_weights(), *before, strict=True):
        np.testing.assert_allclose(mean, sum(each) / 3, atol=1e-6)
    for member, weights in zip(members, before, strict=True):
        assert all(np.array_equal(now, then) for now, then in zip(member.get_weights(), weights, strict=True))


def test_a_soup_by_hand() -> None:
    first, second = _network(0), _network(0)
    first.set_weights([np.zeros_like(array) for array in first.get_weights()])
    second.set_weights([np.full_like(array, 3.0) for array in second.get_weights()])
    average, _ = weight_average([first, second], TRAIN, VALIDATION, greedy=False)
    assert all((array == 1.5).all() for array in average.get_weights())


def test_a_soup_ignores_the_order_of_its_members_and_of_one_is_that_one() -> None:
    members = _members()
    forth, back = (weight_average(order, TRAIN, VALIDATION, greedy=False)[0] for order in (members, members[::-1]))
    for one, other in zip(forth.get_weights(), back.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    alone, _ = weight_average(members[:1], TRAIN, VALIDATION, greedy=False)
    np.testing.assert_array_equal(answers_of(alone, VALIDATION.images), answers_of(members[0], VALIDATION.images))


@pytest.mark.soak
def test_a_greedy_soup_is_never_worse_on_validation_than_its_best_member() -> None:
    strangers = [_network(1), _good(), _mirrored(_good())]
    for members in (_members(), strangers):
        average, chosen = weight_average(members, TRAIN, VALIDATION, greedy=True)
        assert _loss(average) <= min(_loss(member) for member in members) + 1e-6
        assert chosen[int(np.argmin([_loss(member) for member in members]))] == 1


def test_a_barrier_between_networks_that_are_good_alone_is_refused() -> None:
    good = [_good(), _mirrored(_good())]
    assert min(_accuracy(network) for network in good) > 0.95
    with pytest.raises(InvalidValue, match=r"between their weights lies a barrier, .* Combine their answers"):
        weight_average(good, TRAIN, VALIDATION, greedy=False)
    average, chosen = weight_average(good, TRAIN, VALIDATION, greedy=True)
    assert chosen.sum() == 1
    assert _accuracy(average) > 0.95


def test_averages_of_normalisation_are_those_of_the_train_rows_under_the_mean_weights() -> None:
    members = _members(normalises=True)
    average, _ = weight_average(members, TRAIN, VALIDATION, greedy=False)
    layer = average.get_layer("normalised")
    entering = np.asarray(keras.Model(average.input, layer.input)(TRAIN.images))
    # 256 rows are four batches of 64; the mean of their variances lacks what their means differ by.
    np.testing.assert_allclose(np.asarray(layer.moving_mean), entering.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(np.asarray(layer.moving_variance), entering.var(axis=0), rtol=0.1)
    assert layer.momentum == 0.9
    assert _accuracy(average) >= min(_accuracy(member) for member in members)


def test_a_last_batch_of_one_image_counts_as_one_image() -> None:
    few = LabelledImages(TRAIN.images[:65].copy(), TRAIN.labels[:65])
    # The last in the order in which they are passed is unlike all others.
    few.images[np.random.default_rng(0).permutation(65)[-1]] = 255
    average, _ = weight_average(_members(normalises=True), few, VALIDATION, greedy=False)
    layer = average.get_layer("normalised")
    entering = np.asarray(keras.Model(average.input, layer.input)(few.images))
    np.testing.assert_allclose(np.asarray(layer.moving_mean), entering.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(np.asarray(layer.moving_variance), entering.var(axis=0), rtol=0.2)


@pytest.mark.parametrize("is_fixed", [False, True])
def test_averages_that_no_member_moved_stay_as_they_are(is_fixed: bool) -> None:
    members = []
    for bias in (0.0, 1.0):
        member = _network(0, normalises=True, is_fixed=is_fixed)
        averages = [np.full(4, 0.25, np.float32), np.full(4, 2.0, np.float32)]
        member.get_layer("normalised").set_weights([np.ones(4), np.zeros(4), *averages])
        kernel, _ = member.get_layer("logits").get_weights()
        member.get_layer("logits").set_weights([kernel, np.array([0.0, bias])])
        members.append(member)
    average, _ = weight_average(members, TRAIN, VALIDATION, greedy=False)
    assert (np.asarray(average.get_layer("normalised").moving_mean) == 0.25).all()
    assert (np.asarray(average.get_layer("normalised").moving_variance) == 2.0).all()
    np.testing.assert_allclose(average.get_layer("logits").get_weights()[1], [0, 0.5])


def test_networks_of_different_shapes_are_refused() -> None:
    with pytest.raises(InvalidValue, match=r"networks of one shape; these differ\. Combine their answers"):
        weight_average([_network(0, units=4), _network(0, units=5)], TRAIN, VALIDATION, greedy=False)
