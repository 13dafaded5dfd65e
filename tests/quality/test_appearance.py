from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import sightline
from sightline.quality.appearance import FEWEST, appearance_findings
from sightline.quality.audit import audit
from sightline.quality.measures import MEASURES, appearance
from sightline.records import Dataset

Pixels = NDArray[np.uint8]
SPOILED = ("blurry", "dark", "over-exposed", "nearly-empty", "grey-among-colour")


def scenes(num_images: int, *, seed: int = 0, side: int = 48) -> Pixels:
    """Pictures with light, shade and detail at every size, as photographs have them."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(num_images):
        layers = [
            np.asarray(Image.fromarray(generator.integers(0, 256, (size, size, 3), np.uint8)).resize((side, side), 3))
            for size in (3, 6, 12, 24, side)
        ]
        weights = np.array([1.0, 0.7, 0.5, 0.35, 0.25])[:, None, None, None]
        mixed = (np.stack(layers).astype(np.float64) - 128) * weights
        made.append(np.clip(mixed.sum(axis=0) * 0.9 + 120 + generator.normal(0, 15), 0, 255).astype(np.uint8))
    return np.stack(made)


def spoil(kind: str, image: Pixels) -> Pixels:
    if kind == "blurry":
        return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2)))
    if kind == "dark":
        return image // 8
    if kind == "over-exposed":
        return np.minimum(image.astype(np.int64) * 16, 255).astype(np.uint8)
    if kind == "nearly-empty":
        return np.clip(np.random.default_rng(0).normal(130, 3, image.shape), 0, 255).astype(np.uint8)
    return np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)


def dataset_of(images: Pixels) -> Dataset:
    return sightline.load({"x_train": images, "y_train": np.arange(len(images)) % 2})


def kinds_of(images: Pixels) -> dict[str, tuple[str, ...]]:
    found = audit(dataset_of(images), near_duplicates=False, mode="quiet")
    assert all(
        finding.severity == "note" and not finding.exclusions for finding in found.findings if finding.kind in SPOILED
    )
    return {finding.kind: finding.paths for finding in found.findings if finding.kind in SPOILED}


@pytest.mark.parametrize("kind", SPOILED)
def test_images_that_were_spoiled_are_told_and_no_others(kind: str) -> None:
    images = scenes(150)
    rows = np.arange(0, 150, 15)
    images[rows] = [spoil(kind, image) for image in images[rows]]
    found = kinds_of(images)
    assert set(found) == {kind}
    assert set(found[kind]) == set(dataset_of(images).row_ids[rows].tolist())


@pytest.mark.parametrize("kind", SPOILED)
def test_where_all_images_are_so_it_is_how_the_source_is(kind: str) -> None:
    images = np.stack([spoil(kind, image) for image in scenes(60)])
    assert not kinds_of(images)


def test_digits_are_mostly_black_and_that_is_nothing_to_remark() -> None:
    mnist = sightline.load("mnist")
    found = audit(mnist.take(np.arange(1000)), near_duplicates=False, mode="quiet")
    told = sum(len(finding.paths) for finding in found.findings if finding.kind in SPOILED)
    assert told <= 10


def test_the_share_of_fine_detail_falls_with_blur_whatever_is_on_the_picture() -> None:
    for image in scenes(5, seed=4):
        picture = Image.fromarray(image)
        radii = [appearance(np.asarray(picture.filter(ImageFilter.GaussianBlur(radius))))[0] for radius in (0, 1, 2, 4)]
        assert all(blurred < radii[0] - 0.25 for blurred in radii[1:])


def test_what_is_measured_is_what_it_is_by_hand() -> None:
    image = np.full((10, 10, 3), 100, np.uint8)
    image[:2] = 255
    found = dict(zip(MEASURES, appearance(image).tolist(), strict=True))
    assert found["white"] == pytest.approx(0.2)
    assert found["structure"] == pytest.approx(0.2)
    assert found["lightest"] == pytest.approx(255, abs=1)
    assert found["colour"] == 0
    image[:, :, 0] = 50
    assert appearance(image)[MEASURES.index("colour")] == pytest.approx(0.8 * 50 + 0.2 * 205)


def test_the_smallest_images_are_measured_too() -> None:
    for shape in ((1, 1, 1), (1, 9, 3), (5, 5, 1), (6, 7, 3)):
        assert np.isfinite(appearance(np.zeros(shape, np.uint8))).all()


def test_files_of_another_size_or_shape_are_told(tmp_path: Path) -> None:
    for number, image in enumerate(scenes(30, side=64)):
        size = {3: (16, 16), 7: (200, 64)}.get(number, (64, 64))
        folder = tmp_path / ("a" if number % 2 else "b")
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).resize(size).save(folder / f"{number:02d}.png")
    found = audit(tmp_path, near_duplicates=False, mode="quiet")
    (odd,) = [finding for finding in found.findings if finding.kind == "odd-size"]
    assert odd.paths == ("a/03.png", "a/07.png")


def test_of_a_few_images_nobody_can_say_what_is_usual() -> None:
    images = scenes(FEWEST - 1)
    images[0] = spoil("dark", images[0])
    measured = np.stack([appearance(image) for image in images])
    sizes = np.full((len(images), 2), 48)
    assert not appearance_findings(dataset_of(images), measured, np.ones(len(images), bool), sizes)
