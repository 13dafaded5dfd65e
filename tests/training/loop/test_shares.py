"""The parts of all processes are the batch; a last batch that does not divide is known for what it is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from sightline.configuration.recipes import parse_recipe
from sightline.system.backends import load_keras
from sightline.training.loop.shares import Share

load_keras()

from sightline.training.augmentation.mixing import mixing_of  # noqa: E402
from sightline.training.loop.batches import (  # noqa: E402  # the backend is chosen first
    LabelledImages,
    Order,
    _Batches,
    _Batching,
)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("num_images", [1, 2, 3, 5, 11, 12])
def test_the_parts_one_after_the_other_are_the_batch_and_of_one_length(count: int, num_images: int) -> None:
    parts = [Share(number, count).positions(num_images, batch_size=12) for number in range(count)]
    fed = np.concatenate(parts)
    assert len({len(part) for part in parts}) == 1
    assert fed[:num_images].tolist() == list(range(num_images))
    assert set(fed[num_images:].tolist()) <= {num_images - 1}
    assert len(fed) == Share(0, count).num_fed(num_images, batch_size=12)


def test_a_last_batch_is_never_fed_as_long_as_a_whole_one() -> None:
    # Of three images in batches of four, two processes would feed four: no one could tell it from a whole batch.
    assert Share(0, 2).num_fed(3, batch_size=4) == 6
    assert Share(0, 2).num_fed(4, batch_size=4) == 4
    assert [Share(number, 2).positions(3, batch_size=4).tolist() for number in (0, 1)] == [[0, 1, 2], [2, 2, 2]]


MIXED = {"augmentation.mixup_alpha": 0.4, "augmentation.cutmix_alpha": 1.0, "loss.name": "categorical_crossentropy"}


def test_what_several_feed_together_is_what_one_feeds_mixed_by_the_same_plan() -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (22, 4, 4, 1), dtype=np.uint8)
    labels = np.eye(3, dtype=np.float32)[np.arange(22) % 3]
    mixing = mixing_of(parse_recipe(MIXED), (4, 4, 1))
    assert mixing is not None

    def fed(share: Share | None) -> _Batches:
        order = Order(np.arange(22), batch_size=8, seed=5)
        order.begin(3)
        return _Batches(images, [labels], _Batching(order, mixing.mix, share=share))

    alone, together = fed(None), [fed(Share(number, 2)) for number in range(2)]
    assert [len(each) for each in (alone, *together)] == [3, 3, 3]
    for batch in range(3):
        (pixels, plan), targets = alone[batch]
        parts = [each[batch] for each in together]
        for whole, of_parts in (
            (pixels, [part[0][0] for part in parts]),
            (plan, [part[0][1] for part in parts]),
            (targets, [part[1] for part in parts]),
        ):
            np.testing.assert_array_equal(np.concatenate(of_parts)[: len(whole)], whole)


def test_each_feeds_other_images_than_the_others() -> None:
    batches = LabelledImages(np.arange(8, dtype=np.uint8)[:, None, None, None], np.arange(8))
    order = Order(np.arange(8), batch_size=8, seed=1)
    of_each = [
        set(_Batches(batches.images, [batches.labels], _Batching(order, None, share=Share(number, 4)))[0][1].tolist())
        for number in range(4)
    ]
    assert all(not one & other for one, other in pairwise(of_each))
    assert set.union(*of_each) == set(range(8))
