from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.evaluation.slicing.clusters import MOST_JUDGED, worst_clusters
from sightline.metrics.slices import judge_slices


def scene(generator: np.random.Generator, num_images: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features around six centres, the same in every draw, and which of them each image is near."""
    centres = np.random.default_rng(9).normal(size=(6, 24)) * 3
    kinds = generator.integers(0, 6, num_images)
    return (centres[kinds] + generator.normal(size=(num_images, 24))).astype(np.float32), kinds


def test_images_of_a_kind_that_is_wrong_more_often_are_found_on_other_rows() -> None:
    generator = np.random.default_rng(0)
    (seen, kinds), (judged, own) = scene(generator, 600), scene(generator, 2000)
    wrong = generator.random(600) < np.where(kinds == 2, 0.3, 0.05)
    masks = worst_clusters(seen, wrong, judged)
    assert 1 <= len(masks) <= MOST_JUDGED
    assert (own[masks[0]] == 2).mean() > 0.9
    really = generator.random(2000) < np.where(own == 2, 0.3, 0.05)
    assert judge_slices(really, {"worst": masks[0]})[0].is_worse


def test_what_is_worst_by_chance_on_validation_rows_raises_no_alarm_on_others() -> None:
    # 200 draws without any bad kind; at most 5 % is promised, 1.64 standard errors more would be 7.5 %.
    generator = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        (seen, _), (judged, _) = scene(generator, 200), scene(generator, 500)
        masks = worst_clusters(seen, generator.random(200) < 0.1, judged)
        found = judge_slices(generator.random(500) < 0.1, {str(place): mask for place, mask in enumerate(masks)})
        alarms += bool(found) and found[0].is_worse
    assert alarms / 200 <= 0.05


def test_too_few_rows_have_no_clusters_and_rows_that_are_all_alike_do_no_harm() -> None:
    few = np.random.default_rng(2).normal(size=(40, 5)).astype(np.float32)
    assert worst_clusters(few, np.ones(40, bool), few) == []
    same = np.ones((90, 5), np.float32)
    assert worst_clusters(same, np.arange(90) % 2 == 0, same) == []
    assert worst_clusters(same, np.ones(90, bool), same[:0]) == []
