from __future__ import annotations

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.multi_label.risk_control import least_margin, misses_of


def drawn(num_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    given = generator.random((num_images, 8)) < np.geomspace(0.5, 0.03, 8)
    return generator.normal(0, 1, given.shape) + 1.5 * given, given


def missed(margins: np.ndarray, given: np.ndarray, least: float) -> np.ndarray:
    lost = (given & (margins < least)).sum(axis=1)
    return np.where(given.any(axis=1), lost / np.maximum(given.sum(axis=1), 1), 0.0)


def test_the_margin_is_the_largest_that_the_rule_allows() -> None:
    margins, given = drawn(120, 0)
    found, num = least_margin(misses_of(margins, given), 0.9), 120
    allowed = [
        one
        for one in [*np.unique(margins[given]), np.inf]
        if (num / (num + 1)) * missed(margins, given, one).mean() + 1 / (num + 1) <= 0.1
    ]
    assert found == max(allowed)


@pytest.mark.parametrize("num_rows", [19, 60])
def test_over_many_draws_no_larger_share_is_missed_than_was_promised(num_rows: int) -> None:
    margins, given = drawn(200_000, 1)
    losses = []
    for seed in range(400):
        rows = np.random.default_rng(seed).integers(0, len(given), num_rows + 500)
        least = least_margin(misses_of(margins[rows[:num_rows]], given[rows[:num_rows]]), 0.9)
        losses.append(missed(margins[rows[num_rows:]], given[rows[num_rows:]], least).mean())
    deviation = np.std(losses) / np.sqrt(len(losses))
    assert np.mean(losses) <= 0.1 + 2.6 * deviation
    # And it is no promise that any set keeps: nearly as much is missed as may be.
    assert np.mean(losses) >= 0.1 - 1 / (num_rows + 1) - 2.6 * deviation


def test_the_temperature_of_margins_changes_nothing() -> None:
    margins, given = drawn(200, 2)
    once, twice = (least_margin(misses_of(scale * margins, given), 0.8) for scale in (1, 2))
    assert twice == pytest.approx(2 * once)


def test_where_no_image_has_a_label_nothing_has_to_be_said() -> None:
    assert least_margin(misses_of(np.zeros((30, 2)), np.zeros((30, 2), bool)), 0.9) == np.inf


def test_too_few_images_are_refused() -> None:
    margins, given = drawn(18, 0)
    with pytest.raises(InvalidValue, match="needs at least 19 calibration images; there are 18"):
        least_margin(misses_of(margins, given), 0.95)
    with pytest.raises(InvalidValue, match="above 0 and below 1"):
        least_margin(misses_of(margins, given), 1.0)
