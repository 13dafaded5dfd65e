from __future__ import annotations

import numpy as np

from sightline.quality.labels.outliers import class_outliers


def test_strangers_are_found_even_where_they_are_alike_and_hardly_anything_else() -> None:
    # Recall at least 0.95 and at most 1 % false alarms, one fixed seed.
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(3, 40)) * 2
    labels = np.arange(600) % 3
    features = (centres[labels] + generator.normal(size=(600, 40))).astype(np.float32)
    strange = np.tile(generator.normal(size=40) * 3, (9, 1)) + generator.normal(size=(9, 40)) / 3
    everything = np.concatenate([features, strange.astype(np.float32)])
    found = class_outliers(everything, np.append(labels, np.arange(9) % 3), np.arange(609))
    assert np.isin(np.arange(600, 609), found).mean() >= 0.95
    assert (found < 600).mean() * len(found) <= 6
    assert set(found[:9].tolist()) == set(range(600, 609)), "the farthest come first"


def test_copies_of_an_image_do_not_make_it_usual() -> None:
    generator = np.random.default_rng(1)
    features = (np.ones(20) * 3 + generator.normal(size=(100, 20))).astype(np.float32)
    features[:8] = -features[0]
    groups = np.arange(100)
    groups[:8] = 0
    assert set(class_outliers(features, np.zeros(100, np.int64), groups).tolist()) >= set(range(8))


def test_images_that_are_all_alike_have_no_outliers() -> None:
    assert not len(class_outliers(np.ones((30, 4), np.float32), np.zeros(30, np.int64), np.arange(30)))
