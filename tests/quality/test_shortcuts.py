from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.quality.measures import MEASURES
from sightline.quality.shortcuts import PROVEN, PROVEN_OF_CONTENT, binned, measure, shortcut_findings
from sightline.quality.survey import Survey
from sightline.records import Dataset


def made(labels: NDArray[np.int64], **fields: object) -> tuple[Dataset, Survey]:
    """A dataset with nothing but labels, and a survey in which every feature is the same unless given."""
    count, names = len(labels), tuple("abcdefghij"[: labels.max() + 1])
    ids = np.array([f"{row:05d}" for row in range(count)])
    images = np.zeros((count, 1, 1, 1), dtype=np.uint8)
    dataset = Dataset("made", names, ids, labels, images, np.full(count, ""), "f")
    plain: dict[str, object] = {
        "errors": {},
        "formats": ["JPEG"] * count,
        "suffixes": [".jpg"] * count,
        "num_bytes": np.full(count, 5000),
        "heights": np.full(count, 300),
        "widths": np.full(count, 400),
        "orientations": np.ones(count, dtype=np.int64),
        "peaks": {},
        "brightness": np.full(count, 100.0),
        "spread": np.full(count, 200),
        "cameras": [""] * count,
        "appearance": np.zeros((count, len(MEASURES)), np.float32),
        "signatures": None,
    }
    return dataset, Survey(**{**plain, **fields})


def random_fields(generator: np.random.Generator, count: int) -> dict[str, object]:
    return {
        "formats": generator.choice(["JPEG", "PNG", "WEBP"], count, p=[0.8, 0.15, 0.05]).tolist(),
        "suffixes": generator.choice([".jpg", ".JPG", ".png"], count).tolist(),
        "num_bytes": generator.lognormal(10, 1, count).astype(np.int64),
        "heights": generator.integers(100, 2000, count),
        "widths": generator.integers(100, 2000, count),
        "brightness": generator.normal(120, 40, count),
        "cameras": generator.choice(["", "A", "B", "C"], count).tolist(),
    }


def balanced_accuracy_written_slowly(bins: NDArray[np.int64], is_own: NDArray[np.bool_]) -> float:
    right = []
    for row in range(len(bins)):
        others = np.arange(len(bins)) != row
        shares = [np.mean(bins[others & (is_own == side)] == bins[row]) for side in (True, False)]
        right.append(shares[0] > shares[1] if is_own[row] else shares[1] > shares[0])
    hits = np.array(right)
    return float((hits[is_own].mean() + hits[~is_own].mean()) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_the_measure_agrees_with_leaving_each_image_out_by_hand(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, 90)
    bins = (labels + generator.integers(0, 3, 90)) % 5
    rules = {rule.label: rule.accuracy for rule in measure(bins, labels, num_classes=3)}
    expected = {label: balanced_accuracy_written_slowly(bins, labels == label) for label in range(3)}
    assert rules == pytest.approx(expected)


def test_a_case_worked_by_hand() -> None:
    # 20 of class 0, 18 of them in bin 0; 20 of class 1, 16 of them in bin 1: (0.9 + 0.8) / 2.
    bins = [0] * 18 + [1] * 2 + [1] * 16 + [0] * 4
    (rule,) = measure(bins, [0] * 20 + [1] * 20, num_classes=2)
    assert rule.accuracy == pytest.approx(0.85)
    assert rule.num_images == 40
    assert rule.lower < 0.85


def test_neither_the_order_of_images_nor_the_numbers_of_bins_matter() -> None:
    generator = np.random.default_rng(3)
    labels, bins = generator.integers(0, 4, 200), generator.integers(0, 6, 200)
    order, renamed = generator.permutation(200), generator.permutation(6)
    plain = measure(bins, labels, num_classes=4)
    assert measure(renamed[bins][order], labels[order], num_classes=4) == plain


def test_classes_of_fewer_than_ten_images_are_not_judged() -> None:
    assert measure([0] * 9 + [1] * 50, [0] * 9 + [1] * 50, num_classes=2) == []


def test_a_bin_of_its_own_for_every_image_tells_nothing() -> None:
    rules = measure(np.arange(100), np.arange(100) % 2, num_classes=2)
    assert rules[0].accuracy <= 0.5


@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize("count", [40, 200, 2000])
def test_random_sources_raise_no_alarm(count: int, num_classes: int) -> None:
    for seed in range(40 if count < 2000 else 8):
        generator = np.random.default_rng([seed, count, num_classes])
        labels = np.sort(np.arange(count) % num_classes)
        findings = shortcut_findings(*made(labels, **random_fields(generator, count)))
        assert not findings, f"seed {seed}: {findings}"


def test_very_unequal_classes_raise_no_alarm_either() -> None:
    for seed in range(100):
        generator = np.random.default_rng(seed)
        labels = np.repeat([0, 1, 2], [500, 40, 12])
        assert not shortcut_findings(*made(labels, **random_fields(generator, len(labels))))


def test_a_format_of_its_own_is_told_in_words_with_its_figure() -> None:
    labels = np.repeat([0, 1], 250)
    formats = ["PNG"] * 240 + ["JPEG"] * 10 + ["JPEG"] * 245 + ["PNG"] * 5
    (finding,) = shortcut_findings(*made(labels, formats=formats))
    assert finding.severity == "warning"
    assert finding.detail.startswith("the file format alone tells 'a' from 'b' in 97 % of 500 images")
    assert "guessing gives 50 %" in finding.detail


def test_one_class_of_many_from_another_camera_is_found() -> None:
    labels = np.repeat(np.arange(5), 60)
    cameras = ["X100" if label == 3 else "P20" for label in labels]
    (finding,) = shortcut_findings(*made(labels, cameras=cameras))
    assert "the camera named in EXIF alone tells 'd' from the rest in 100 %" in finding.detail


def test_half_of_the_classes_in_one_size_is_found() -> None:
    labels = np.repeat(np.arange(6), 80)
    found = shortcut_findings(*made(labels, heights=np.where(labels < 3, 300, 224)))
    assert {finding.severity for finding in found} == {"warning"}
    assert any("the size in pixels" in finding.detail for finding in found)


def test_brightness_is_a_note_unless_it_tells_nearly_all() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 1000)
    overlapping = generator.normal(100 + 45 * labels, 17)
    apart = generator.normal(60 + 120 * labels, 15)
    assert [finding.severity for finding in shortcut_findings(*made(labels, brightness=overlapping))] == ["note"]
    assert [finding.severity for finding in shortcut_findings(*made(labels, brightness=apart))] == ["warning"]


def test_brightness_in_the_middle_between_two_of_the_other_class_is_found() -> None:
    labels = np.repeat([0, 1], 200)
    brightness = np.where(labels == 0, 100.0, np.where(np.arange(400) % 2, 30.0, 220.0))
    assert shortcut_findings(*made(labels, brightness=brightness))


def test_a_weak_dependence_is_not_called_a_shortcut() -> None:
    generator = np.random.default_rng(1)
    labels = np.repeat([0, 1], 2000)
    assert not shortcut_findings(*made(labels, brightness=generator.normal(100 + 10 * labels, 30)))


def test_unreadable_rows_are_not_judged() -> None:
    labels = np.repeat([0, 1], 50)
    formats = ["JPEG"] * 50 + [""] * 50
    assert not shortcut_findings(*made(labels, formats=formats, errors=dict.fromkeys(range(50, 100), "cut")))


def test_thresholds_leave_guessing_far_behind() -> None:
    assert 0.5 < PROVEN < PROVEN_OF_CONTENT < 1


def test_numbers_fall_into_equal_bins_and_few_values_into_their_own() -> None:
    values = np.random.default_rng(0).normal(size=1600)
    counts = np.bincount(binned(values))
    assert len(counts) == 16
    assert counts.min() >= 99
    assert binned([3, 1, 3, 2]).tolist() == [2, 0, 2, 1]
    assert math.prod(binned([5.0] * 4).tolist()) == 0
