"""The bounds rule out no pair that the products of all pairs would pass."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings, strategies

from sightline.data.duplicates.alignment import CROPPED, UPRIGHT, descriptors, transposed
from sightline.data.duplicates.candidates import MOST_CANDIDATES, WORTH_A_LOOK, candidates

CHANGES = (*UPRIGHT, *CROPPED)
# Products this near the limit may fall on either side of it by rounding.
EDGE = 1e-5


def smooth(generator: np.random.Generator, num_images: int, power: float) -> np.ndarray:
    """Thumbnails whose frequencies fall off as those of photographs do."""
    frequencies = np.fft.fftfreq(32) * 32
    falling = 1 / (1 + np.hypot(frequencies[:, None], frequencies)) ** power
    field = np.fft.ifft2(np.fft.fft2(generator.normal(size=(num_images, 32, 32))) * falling).real
    field /= field.std(axis=(1, 2), keepdims=True)
    return np.clip(120 + 45 * field, 0, 255).round().astype(np.float32)


def twins_among(seed: int, num_images: int, power: float) -> np.ndarray:
    """Smooth pictures, of which half are changed copies of the others: laid down otherwise, shifted, noisy."""
    generator = np.random.default_rng(seed)
    pictures = smooth(generator, num_images, power)
    for row in range(num_images // 2, num_images):
        picture = pictures[generator.integers(max(1, num_images // 2))]
        picture = transposed(picture[None], UPRIGHT[generator.integers(8)])[0]
        picture = np.roll(picture, generator.integers(-3, 4, 2), axis=(0, 1))
        pictures[row] = picture + generator.normal(0, generator.uniform(0, 20), picture.shape)
    return pictures


def by_all_products(thumbnails: np.ndarray, words: np.ndarray, part: slice) -> dict[tuple[int, int], float]:
    """The likeliest product of each pair, by the definition."""
    found: dict[tuple[int, int], float] = {}
    for number, change in enumerate(CHANGES):
        products = descriptors(thumbnails, change).astype(np.float64) @ words.T.astype(np.float64)
        for row, line in enumerate(products):
            query = part.start + row
            for other in np.flatnonzero(line > WORTH_A_LOOK - EDGE).tolist():
                if query != other and (number >= len(UPRIGHT) or query < other):
                    found[query, other] = max(found.get((query, other), 0), float(line[other]))
    return found


@settings(max_examples=25, deadline=None)
@given(
    seed=strategies.integers(0, 2**32 - 1),
    num_images=strategies.integers(1, 250),
    start=strategies.integers(0, 249),
    power=strategies.floats(0.3, 2.5),
)
def test_the_bounds_leave_what_all_products_find(seed, num_images, start, power):
    pictures = twins_among(seed, num_images, power)
    words = descriptors(pictures)
    part = slice(min(start, num_images - 1), min(start + 90, num_images))
    expected = by_all_products(pictures[part], words, part)
    found = {
        (query, other): change
        for change, queries, others in candidates(pictures[part], words, part)
        for query, other in zip(queries.tolist(), others.tolist(), strict=True)
    }
    certain = {pair for pair, product in expected.items() if product > WORTH_A_LOOK + EDGE}
    assert set(found) <= set(expected)
    held = Counter(query for query, _ in found)
    assert {query for query, _ in certain - set(found)} <= {q for q, count in held.items() if count == MOST_CANDIDATES}
    for change in set(found.values()):
        pairs = np.array([pair for pair, by in found.items() if by == change])
        products = (descriptors(pictures[pairs[:, 0]], CHANGES[change]) * words[pairs[:, 1]]).sum(axis=1)
        np.testing.assert_allclose(products, [expected[pair] for pair in map(tuple, pairs.tolist())], atol=EDGE)


@pytest.mark.parametrize("num_images", [111, 112, 113, 1792, 1793, 1904])
def test_a_pair_is_found_at_the_edge_of_any_block(num_images):
    generator = np.random.default_rng(num_images)
    pictures = smooth(generator, num_images, 0.5)
    pictures[-1] = pictures[0][:, ::-1]
    found = candidates(pictures[:3], descriptors(pictures), slice(0, 3))
    assert (0, num_images - 1) in {
        pair for _, queries, others in found for pair in zip(queries.tolist(), others.tolist(), strict=True)
    }


def test_uniform_images_are_like_no_other_and_stop_nothing():
    pictures = np.concatenate([np.full((2, 32, 32), 90, np.float32), smooth(np.random.default_rng(1), 2, 1)])
    pictures[3] = pictures[2]
    found = candidates(pictures, descriptors(pictures), slice(0, 4))
    ends = {(int(q), int(o)) for _, queries, others in found for q, o in zip(queries, others, strict=True)}
    assert {(2, 3), (3, 2)} <= ends
    assert not {pair for pair in ends if len(set(pair) & {0, 1}) == 1}


def test_no_more_than_the_likeliest_are_kept_of_an_image_with_many_twins():
    picture = smooth(np.random.default_rng(3), 1, 1)
    pictures = picture + np.random.default_rng(4).normal(0, np.linspace(0, 30, 300)[:, None, None], (300, 32, 32))
    pictures = pictures.astype(np.float32)
    found = candidates(pictures[:1], descriptors(pictures), slice(0, 1))
    others = np.concatenate([others for _, _, others in found])
    assert len(others) == MOST_CANDIDATES
    assert others.mean() < 60
