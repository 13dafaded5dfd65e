from __future__ import annotations

import numpy as np

from sightline.metrics.multi_label.scaling import fit_label_scaling


def cross_entropy(logits: np.ndarray, given: np.ndarray) -> float:
    return float(np.logaddexp(0, np.where(given, -logits, logits)).mean())


def test_what_was_done_to_the_logits_of_each_label_is_undone() -> None:
    generator = np.random.default_rng(0)
    true = generator.normal(-1, 2, (6000, 3))
    given = generator.random(true.shape) < 1 / (1 + np.exp(-true))
    logits = true * [2.0, 1.0, 0.5] + [1.0, 0.0, -2.0]
    factors, shifts = fit_label_scaling(logits[:3000], given[:3000])
    scaled = factors * logits[3000:] + shifts
    assert cross_entropy(scaled, given[3000:]) < cross_entropy(true[3000:], given[3000:]) + 0.01
    assert cross_entropy(logits[3000:], given[3000:]) > cross_entropy(true[3000:], given[3000:]) + 0.05


def test_of_a_few_images_hardly_anything_is_believed_and_no_label_turns_round() -> None:
    factors, shifts = fit_label_scaling([[3.0], [-3.0], [2.0]], [[0], [1], [0]])
    assert 0.05 <= factors[0] < 1.5
    assert abs(shifts[0]) < 1.5
