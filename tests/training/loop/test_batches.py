"""What goes into `fit`: each row as often, and counting as much, as the recipe says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sightline.configuration.recipes import parse_recipe
from sightline.configuration.schema import Recipe
from sightline.data.inputs.pixels import Pixels
from sightline.system.progress import reporter, reporting
from sightline.training.loop.batches import (
    LabelledImages,
    drawn_rows,
    row_weights,
    training_feed,
    training_order,
    validation_feed,
)

LABELS = np.array([0] * 30 + [1] * 6 + [2] * 1)


def numbered_images(count: int) -> np.ndarray:
    """Image number n is filled with n, so that a row can be told from its pixels."""
    return np.repeat(np.arange(count, dtype=np.uint8), 16).reshape(count, 4, 4, 1)


def test_natural_sampling_sees_each_image_once():
    assert drawn_rows(LABELS, "natural").tolist() == list(range(37))


def test_balanced_sampling_repeats_rare_classes_and_no_image_more_than_ten_times():
    rows = drawn_rows(LABELS, "balanced")
    drawn = np.bincount(LABELS[rows])
    assert drawn.tolist() == [30, 30, 10]
    assert np.bincount(rows).max() == 10
    assert set(rows.tolist()) == set(range(37)), "no image is lost"


def test_balanced_weights_give_each_class_the_same_sum():
    weights = row_weights(LabelledImages(None, LABELS), "balanced")
    sums = [weights[label == LABELS].sum() for label in range(3)]
    assert np.allclose(sums, sums[0])
    assert weights.mean() == pytest.approx(1)


def test_weights_of_a_table_are_kept_in_proportion_and_multiply_with_those_of_the_class():
    own = np.linspace(1, 2, 37)
    kept = row_weights(LabelledImages(None, LABELS, own), "none")
    assert np.allclose(kept / kept[0], own / own[0])
    both = row_weights(LabelledImages(None, LABELS, own), "balanced")
    assert both[0] / both[1] == pytest.approx(own[0] / own[1])
    assert both[36] / both[0] == pytest.approx(30 * own[36] / own[0])


def test_without_weights_nothing_is_weighed():
    assert row_weights(LabelledImages(None, LABELS), "none") is None


def test_targets_are_whole_numbers_or_one_hot_rows():
    data = LabelledImages(None, np.array([1, 0]))
    assert data.targets("sparse_categorical_crossentropy", 3).tolist() == [1, 0]
    assert data.targets("categorical_crossentropy", 3).tolist() == [[0, 1, 0], [1, 0, 0]]


def feed_of(data: LabelledImages, recipe: Recipe, *, num_classes: int) -> dict:
    return training_feed(data, recipe, num_classes=num_classes, order=training_order(data, recipe))


def epoch_of(feed: dict) -> list[tuple[int, int]]:
    """(number of the image, label) of one epoch in the order in which `fit` gets them."""
    batches = [tuple(np.asarray(part) for part in batch) for batch in feed["x"]]
    return [(int(image[0, 0, 0]), int(label)) for batch in batches for image, label in zip(*batch[:2], strict=True)]


@pytest.mark.parametrize("memory_limit_mib", [1024, 1])
def test_every_row_comes_once_an_epoch_with_its_own_label_from_memory_and_from_the_cache(tmp_path, memory_limit_mib):
    count = 200
    shape = (count, 80, 80, 1)  # 1.2 MiB: above the smaller limit
    stored = np.memmap(tmp_path / "images.bin", np.uint8, "w+", shape=shape)
    stored[:] = np.arange(count, dtype=np.uint8)[:, None, None, None]
    rows = np.arange(count)[::-1].copy()
    data = LabelledImages(Pixels(stored, rows, {}), np.arange(count)[::-1] % 7)
    recipe = parse_recipe({"training.batch_size": 32, "data.memory_limit_mib": memory_limit_mib})
    order = training_order(data, recipe)
    feed = training_feed(data, recipe, num_classes=7, order=order)
    first = epoch_of(feed)
    order.begin(1)
    second = epoch_of(feed)
    assert sorted(first) == sorted((n, n % 7) for n in range(count))
    assert sorted(second) == sorted(first)
    assert first != second, "each epoch is shuffled anew"


def test_the_same_seed_shuffles_alike_and_another_seed_otherwise():
    data = LabelledImages(numbered_images(100), np.arange(100) % 3)
    orders = [
        epoch_of(feed_of(data, parse_recipe({"seed": seed, "training.batch_size": 16}), num_classes=3))
        for seed in (4, 4, 5)
    ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_balanced_sampling_and_weights_reach_fit():
    recipe = parse_recipe({"training.sampling": "balanced", "training.class_weights": "balanced"})
    feed = feed_of(LabelledImages(numbered_images(37), LABELS), recipe, num_classes=3)
    (batch,) = [tuple(np.asarray(part) for part in batch) for batch in feed["x"]]
    assert np.bincount(batch[1]).tolist() == [30, 30, 10]
    weights = row_weights(LabelledImages(None, LABELS), "balanced")
    assert np.allclose(batch[2], weights[batch[0][:, 0, 0, 0]])


def test_validation_rows_are_fed_in_order_or_not_at_all():
    assert validation_feed(None, parse_recipe({}), num_classes=3) == {}
    data = LabelledImages(numbered_images(5), np.array([0, 1, 2, 0, 1]))
    fed = validation_feed(data, parse_recipe({}), num_classes=3)["validation_data"]
    ((images, labels),) = [tuple(np.asarray(part) for part in batch) for batch in fed]
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert labels.tolist() == [0, 1, 2, 0, 1]


def answered(count: int, num_views: int) -> LabelledImages:
    """Views of `count` images, each filled with its row, and an answer for each that tells the row, too."""
    first = (np.arange(num_views * count) / 256).astype(np.float32)
    answers = np.stack([first, 1 - first], axis=1)
    return LabelledImages(numbered_images(num_views * count), np.zeros(count, np.int64), soft_labels=answers)


ANSWERED = {"loss.name": "categorical_crossentropy", "training.batch_size": 8}


@pytest.mark.parametrize("settings", [{}, {"training.class_weights": "balanced", "training.sampling": "balanced"}])
def test_each_image_comes_once_an_epoch_in_one_of_its_views_with_the_answer_to_that_view(settings):
    count, num_views = 40, 3
    data, recipe = answered(count, num_views), parse_recipe({**ANSWERED, **settings})
    order = training_order(data, recipe)
    feed = training_feed(data, recipe, num_classes=2, order=order)
    epochs = []
    for epoch in range(4):
        order.begin(epoch)
        batches = [tuple(np.asarray(part) for part in batch) for batch in feed["x"]]
        seen = np.concatenate([batch[0][:, 0, 0, 0] for batch in batches]).astype(int)
        given = np.concatenate([batch[1] for batch in batches])
        assert np.allclose(given[:, 0], seen / 256)
        assert sorted(seen % count) == list(range(count))
        epochs.append(seen.tolist())
    assert {view // count for epoch in epochs for view in epoch} == {0, 1, 2}
    assert sorted(epochs[0]) != sorted(epochs[1]), "views are drawn anew each epoch"
    again = feed_of(answered(count, num_views), recipe, num_classes=2)
    assert [int(row) for batch in again["x"] for row in np.asarray(batch[0])[:, 0, 0, 0]] == epochs[0]


def test_answers_are_what_the_loss_sees():
    """One step without learning: the loss that is recorded is the cross-entropy with the answers, by hand."""
    keras = pytest.importorskip("keras")
    from sightline.training.loop.fit import fit
    from sightline.training.loop.recording import FitOutputs

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
    answers = generator.dirichlet(np.ones(3), 6).astype(np.float32)
    pixels, layers = keras.Input((4, 4, 1), dtype="uint8"), keras.layers
    network = keras.Sequential([pixels, layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3)])
    logits = np.asarray(network(images), dtype=np.float64)
    expected = 0.0
    for row in range(6):
        total = sum(np.exp(logits[row]))
        for label in range(3):
            expected -= answers[row, label] * np.log(np.exp(logits[row, label]) / total) / 6
    recipe = parse_recipe({**ANSWERED, "training.epochs": 1, "optimizer.learning_rate": 1e-9})
    data = LabelledImages(images, np.zeros(6, np.int64), soft_labels=answers)
    fitted = fit(network, data, validation=None, recipe=recipe, outputs=FitOutputs())
    assert fitted.history[0]["loss"] == pytest.approx(expected, rel=1e-4)


class _Listening:
    """Images that note in which mode they are read."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.shape, self.dtype, self.modes = images, images.shape, images.dtype, []
        self.nbytes = 2**40

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self.modes.append(reporter().mode)
        return self.images[rows]


def test_who_reads_images_in_a_thread_of_the_backend_knows_that_it_is_to_be_quiet() -> None:
    images = _Listening(numbered_images(6))
    with reporting("quiet"):
        batches = feed_of(LabelledImages(images, np.arange(6) % 2), parse_recipe({}), num_classes=2)["x"]
    with ThreadPoolExecutor(1) as pool:  # a thread has no context of its own
        pool.submit(lambda: [batches[0]] if hasattr(batches, "order") else list(batches)).result()
    assert set(images.modes) == {"quiet"}
