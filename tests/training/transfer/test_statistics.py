"""Batch statistics taken in part from the train images: how they come about, and when they are kept."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.system.backends import load_keras
from sightline.system.progress import reporting

keras = load_keras()

from sightline.training.loop.network import new_network  # noqa: E402  # the backend is chosen first
from sightline.training.setup.preparation import prepare  # noqa: E402
from sightline.training.transfer import beginning  # noqa: E402
from sightline.training.transfer.beginning import begin  # noqa: E402
from sightline.training.transfer.statistics import BATCH_SIZE, SHARE, adapt_statistics, hardly_vary  # noqa: E402

pytestmark = pytest.mark.usefixtures("own_cache")


def small_network() -> keras.Model:
    """Two normalisations, of which the second sees what the first gives."""
    images = keras.Input((4, 4, 3), dtype="uint8")
    tensor = keras.layers.Rescaling(1 / 255)(images)
    first = keras.layers.BatchNormalization(name="first", momentum=0.5)(tensor)
    second = keras.layers.BatchNormalization(name="second", trainable=False)(keras.layers.ReLU()(first))
    return keras.Model(images, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(second)))


def test_a_share_of_the_averages_is_the_mean_over_all_batches_as_each_batch_is_normalised() -> None:
    network = small_network()
    others = [layer.get_weights() for layer in network.layers if not layer.name.startswith(("first", "second"))]
    images = np.random.default_rng(0).integers(0, 256, (3 * BATCH_SIZE + 5, 4, 4, 3), np.uint8)
    assert adapt_statistics(network, images, seed=0)
    order = np.random.default_rng(0).permutation(len(images))[: 3 * BATCH_SIZE].reshape(3, BATCH_SIZE)
    batches = images[order].astype(np.float64) / 255
    mean, variance = batches.mean(axis=(1, 2, 3)), batches.var(axis=(1, 2, 3))
    first = network.get_layer("first")
    np.testing.assert_allclose(first.moving_mean, SHARE * mean.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(first.moving_variance, 1 - SHARE + SHARE * variance.mean(axis=0), rtol=1e-5)
    normalised = (batches - mean[:, None, None, None]) / np.sqrt(variance + first.epsilon)[:, None, None, None]
    seen = np.maximum(normalised, 0)
    second = network.get_layer("second")
    np.testing.assert_allclose(second.moving_mean, SHARE * seen.mean(axis=(0, 1, 2, 3)), rtol=1e-4)
    assert (first.trainable, first.momentum, second.trainable, second.momentum) == (True, 0.5, False, 0.99)
    now = [layer.get_weights() for layer in network.layers if not layer.name.startswith(("first", "second"))]
    for old, new in zip(others, now, strict=True):
        for one, other in zip(old, new, strict=True):
            np.testing.assert_array_equal(one, other)


def test_nothing_changes_where_there_is_no_batch_or_nothing_that_normalises() -> None:
    network = small_network()
    before = network.get_weights()
    assert not adapt_statistics(network, np.zeros((BATCH_SIZE - 1, 4, 4, 3), np.uint8), seed=0)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    images = keras.Input((4, 4, 3), dtype="uint8")
    plain = keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(images)))
    assert not adapt_statistics(plain, np.zeros((BATCH_SIZE, 4, 4, 3), np.uint8), seed=0)


def test_features_that_hardly_vary_are_told_from_those_that_do() -> None:
    features = np.random.default_rng(0).normal(0.5, 1, (50, 20)).astype(np.float16)
    assert not hardly_vary(features)
    assert hardly_vary(features * np.float16(0.01))


def textures(place: Path) -> Path:
    """Woven textures, in one class with a faint line that lies anywhere."""
    generator = np.random.default_rng(3)
    y, x = np.mgrid[:96, :96]
    for name in ("good", "line"):
        (place / name).mkdir(parents=True)
        for number in range(60):
            angle, pitch = generator.normal(0, 0.05), 0.35 + 0.03 * generator.random()
            along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
            image = 128 + 35 * np.sin(pitch * along) * np.sin(pitch * across) + generator.normal(0, 18, x.shape)
            if name == "line":
                turn, middle = generator.uniform(0, np.pi), generator.integers(24, 72, 2)
                image += 40 * (abs((x - middle[0]) * np.sin(turn) - (y - middle[1]) * np.cos(turn)) < 2)
            Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(place / name / f"{number:03d}.png")
    return place


@pytest.fixture(scope="module")
def woven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return textures(tmp_path_factory.mktemp("woven") / "cloth")


@pytest.mark.parametrize("is_better", [True, False])
def test_they_are_kept_where_the_head_gains_beyond_chance_and_forgotten_where_not(
    is_better: bool, woven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"data.image_size": 64, "training.feature_variants": 1, "data.group_near_duplicates": False}
    data = prepare(sightline.load(woven), sightline.recipe("transfer", settings))
    network = new_network(data)
    published = {layer.name: layer.get_weights() for layer in network.layers if layer.name != "logits"}
    monkeypatch.setattr(beginning, "FEWEST_WRONG", 0)
    monkeypatch.setattr(beginning.Comparison, "is_better", property(lambda _: is_better))
    with reporting("quiet"):
        begun = begin(network, data, deadline=None)
    head, taken = begun.stages
    assert (head.name, taken.name, taken.is_kept) == ("head", "statistics", is_better)
    assert taken.num_judged == len(data.splits.train)
    assert "folds" in taken.judged_on
    changed = {
        name
        for name, weights in published.items()
        if any(
            not np.array_equal(old, new)
            for old, new in zip(weights, network.get_layer(name).get_weights(), strict=True)
        )
    }
    normalising = {layer.name for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert changed == (normalising if is_better else set())
    # What is stored and what the network says are of the same weights.
    rows = data.splits.train[:8]
    stored = begun.head.logits(np.asarray(begun.features.whole["features"][rows]))
    told = network.predict(np.asarray(data.pixels.take(rows)[:]), verbose=0)
    np.testing.assert_allclose(told, stored, atol=5e-2 * np.abs(stored).max())


def test_what_was_asked_for_is_done_and_what_a_budget_has_no_time_for_is_not(
    woven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"data.image_size": 64, "training.feature_variants": 1, "data.group_near_duplicates": False}
    monkeypatch.setattr(beginning, "FEWEST_WRONG", 0)
    monkeypatch.setattr(beginning, "TIMES_TO_ADAPT", 1e6)
    for asked, deadline in (({"training.finetune_epochs": 0}, None), ({}, time.perf_counter() + 3000)):
        data = prepare(sightline.load(woven), sightline.recipe("transfer", settings | asked))
        with reporting("quiet"):
            begun = begin(new_network(data), data, deadline=deadline)
        assert hardly_vary(begun.rows.features)
        assert [stage.name for stage in begun.stages] == ["head"]
