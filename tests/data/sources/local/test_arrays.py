"""Advice for arrays that are not uint8: what it says to type does what is wanted."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.data.sources.local.arrays import range_advice

LEVELS = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)


@pytest.mark.parametrize(
    "images",
    [
        LEVELS / 255,
        (LEVELS / 255).astype(np.float32),
        LEVELS / 127.5 - 1,
        LEVELS.astype(np.float64),
        LEVELS.astype(np.int64),
        LEVELS.astype(np.uint16) << 2,
        LEVELS.astype(np.uint16) << 4,
        LEVELS.astype(np.int32) << 6,
        LEVELS.astype(np.uint16) * 257,
    ],
)
def test_the_expression_gives_back_the_levels(images: np.ndarray) -> None:
    expression = range_advice(images).partition("once: ")[2].partition(" if ")[0].rstrip(".")
    np.testing.assert_array_equal(eval(expression, {"images": images}), LEVELS)  # ours


@pytest.mark.parametrize(
    ("images", "part"),
    [
        (np.array([np.nan, 1.0]), "no numbers (NaN or infinite)"),
        (np.array([np.inf, 1.0]), "no numbers"),
        (np.array([True, False]), "images.astype('uint8') * 255"),
        (np.array([-2.1, 2.6]), "standardised with, images * deviation + mean"),
        (
            np.array([-1000, 3000], np.int16),
            "from -1000 to 3000. Convert it once: ((images - low) * (255",
        ),
        (np.array(["a"]), "must be numbers"),
    ],
)
def test_what_cannot_be_told_is_said(images: np.ndarray, part: str) -> None:
    assert part in range_advice(images)
