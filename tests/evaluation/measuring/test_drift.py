"""What is said of images beside a reference: false alarms as rare as stated, shifts seen, and in which words."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from sightline.bundles.trust.reference import CATEGORIES, PROPERTIES, ImageProperties, Reference
from sightline.evaluation.measuring.drift import Judgement, in_words, judge_stream, judge_together

CLASSES = ("cat", "dog", "emu")
NAMED = tuple(f"{number}.png" for number in range(5_000))


def table(num_images: int, seed: int, **moved: float) -> np.ndarray:
    """Properties of images that are drawn alike but for what moved, by so many standard deviations."""
    random = np.random.default_rng(seed)
    columns = []
    for name in PROPERTIES:
        if name == "width":
            column = np.full(num_images, 28.0)
        elif name == "format":
            column = random.choice([0, 1], num_images, p=[0.9, 0.1])
        elif name == "class":
            column = random.choice(3, num_images, p=[0.5, 0.3, 0.2])
        else:
            column = random.normal(5, 1, num_images)
        columns.append(column + moved.get(name, 0.0))
    return np.stack(columns, axis=1).astype(np.float32)


def reference(num_rows: int, seed: int = 0, **without: Any) -> Reference:
    columns = dict(zip(PROPERTIES, table(num_rows, seed).T, strict=True))
    return Reference(b"k" * 16, {name: columns[name] for name in columns if name not in without}, num_rows, False)


def images(num_images: int, seed: int = 1, **moved: float) -> ImageProperties:
    return ImageProperties(table(num_images, seed, **moved), np.random.default_rng(seed).random(num_images))


def together(old: Reference, new: ImageProperties, level: float = 0.01) -> Judgement:
    return judge_together(old, new, level=level, class_names=CLASSES)


def stream(old: Reference, new: ImageProperties, level: float = 0.01) -> Judgement:
    return judge_stream(old, new, level=level, class_names=CLASSES)


def rare(rate: float, num_runs: int) -> float:
    """The rate, and three standard errors of as many runs."""
    return rate + 3 * math.sqrt(rate * (1 - rate) / num_runs)


def test_images_that_are_alike_are_called_different_as_rarely_as_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.evaluation.measuring.drift._DRAWS", (999, 999))
    # Of 150 draws at 0.1; one seed in a thousand would fail if the bound were reached.
    false = [not together(reference(60, seed), images(40, seed + 1_000), 0.1).is_alike for seed in range(150)]
    assert np.mean(false) <= rare(0.1, 150)


def test_streams_that_do_not_change_are_called_different_as_rarely_as_is_stated() -> None:
    false = [not stream(reference(60, seed), images(150, seed + 1_000), 0.1).is_alike for seed in range(60)]
    assert np.mean(false) <= rare(0.1, 60)


@pytest.mark.parametrize("name", ["brightness", "certainty"])
def test_half_a_standard_deviation_is_seen_within_500_images_and_named(name: str) -> None:
    found = [together(reference(1_000, seed), images(500, seed + 100, **{name: 0.5})) for seed in range(6)]
    streams = [stream(reference(1_000, seed), images(500, seed + 100, **{name: -0.5})) for seed in range(6)]
    for judged in (*found, *streams):
        assert not judged.is_alike
        assert [one.name for one in judged.properties if one.has_moved] == [name]
    assert all((judged.alarm_after or 0) < 400 for judged in streams)


def test_what_moved_comes_first_with_both_medians() -> None:
    found = together(reference(500), images(300, brightness=2.0, sharpness=-1.0))
    first, second = found.properties[:2]
    assert (first.name, second.name) == ("brightness", "sharpness")
    assert first.in_words == "lighter (median 7.04, was 4.91)"
    assert second.in_words.startswith("less sharp (median 3.9")
    assert (round(first.reference), round(first.images), first.distance > 0.6) == (5, 7, True)
    assert found.properties[0].p_value < 1e-10
    assert {one.name for one in found.properties} == set(PROPERTIES)


def test_a_property_that_is_equal_everywhere_says_so_and_moves_when_it_does() -> None:
    alike = {one.name: one for one in together(reference(100), images(50)).properties}
    assert alike["width"].in_words == "width as it was"
    moved = {one.name: one for one in together(reference(100), images(50, width=4.0)).properties}
    assert (moved["width"].has_moved, moved["width"].in_words) == (True, "wider (median 32, was 28)")


def test_what_spreads_otherwise_around_the_same_median_is_told_by_its_middle() -> None:
    new = images(400)
    column = PROPERTIES.index("contrast")
    new.table[:, column] = 5 + 3 * (new.table[:, column] - np.median(new.table[:, column]))
    old = reference(1_000)
    old.columns["contrast"][:] += 5 - np.median(old.columns["contrast"])
    found = together(old, new).properties[0]
    assert found.has_moved
    assert found.in_words.startswith("otherwise spread in contrast (middle 80 % 1.")


def test_where_the_middle_is_the_same_too_it_is_told_by_how_far_all_reach() -> None:
    new = images(40)
    new.table[0, PROPERTIES.index("width")] = 200
    found = {one.name: one for one in together(reference(100), new).properties}
    assert found["width"].in_words == "slightly otherwise spread in width (28 to 200, was 28 to 28)"
    new.table[0, PROPERTIES.index("width")] = 28.2
    found = {one.name: one for one in together(reference(100), new).properties}
    assert found["width"].in_words == "slightly otherwise spread in width"


def test_other_formats_and_answers_are_told_by_the_share_that_moved_most() -> None:
    new = images(300)
    new.table[:, PROPERTIES.index("format")] = 1
    new.table[:, PROPERTIES.index("class")] = np.where(np.arange(300) % 10 < 7, 1, 0)
    found = {one.name: one for one in together(reference(1_000), new).properties}
    assert found["format"].in_words == "otherwise composed by format (JPEG: 0 %, was 91 %)"
    assert found["class"].in_words == "otherwise composed by class (dog: 70 %, was 31 %)"
    assert all(found[name].has_moved for name in CATEGORIES)
    assert all(one.has_moved for one in stream(reference(1_000), new).properties if one.name == "format")


def test_a_small_difference_of_many_images_is_called_slight() -> None:
    found = together(reference(4_000), images(4_000, brightness=0.15)).properties[0]
    assert found.has_moved
    assert found.in_words.startswith("slightly lighter")


def test_properties_that_one_side_has_not_are_left_out() -> None:
    new = images(50)
    new.table[:, PROPERTIES.index("colour")] = np.nan
    new.table[3, PROPERTIES.index("format")] = np.nan
    names = {one.name for one in together(reference(100, sharpness=None), new).properties}
    assert names == set(PROPERTIES) - {"colour", "format", "sharpness"}


def test_single_images_that_lie_far_away_are_named_the_worst_first() -> None:
    new = images(100)
    new.table[[7, 30, 8], PROPERTIES.index("novelty")] = (60, 50, 70)
    found = together(reference(8_000), new)
    # With three that are surely far, one that chance put far may join: one in a hundred of those named.
    assert found.unlike[:3] == (8, 7, 30)
    words = in_words(found, reference(8_000), NAMED[:100])
    assert "images farther from what was learned than chance lets them be (8.png, 7.png, 30.png" in words


@pytest.mark.parametrize(("num_images", "num_far", "num_named"), [(15, 1, 1), (16, 1, 0), (10_000, 667, 667)])
def test_as_few_far_images_are_named_in_a_folder_as_the_page_says(
    num_images: int, num_far: int, num_named: int
) -> None:
    new = images(num_images)
    new.table[:, PROPERTIES.index("novelty")] = -1e3
    new.table[:num_far, PROPERTIES.index("novelty")] = 1e3
    assert len(together(reference(3_000), new).unlike) == num_named
    if num_far > 1:
        new.table[0, PROPERTIES.index("novelty")] = -1e3
        assert len(together(reference(3_000), new).unlike) == 0


def test_where_nobody_tells_how_far_single_images_are_named_by_how_surely_they_are_answered() -> None:
    new = images(100)
    new.table[:, PROPERTIES.index("novelty")] = np.nan
    new.table[[7, 30, 8], PROPERTIES.index("certainty")] = (-60, -50, -70)
    found = together(reference(8_000), new)
    # Three of a hundred move no property, but each is lower than all of 8,000.
    assert not any(one.has_moved for one in found.properties)
    assert found.unlike == (8, 7, 30)
    words = in_words(found, reference(8_000), NAMED[:100])
    assert "3 images answered less surely than chance lets them be (8.png, 7.png, 30.png)" in words


def test_a_stream_tells_after_how_many_images_it_moved_and_by_the_latest_of_them() -> None:
    new = images(2_000)
    new.table[1_500:, PROPERTIES.index("brightness")] += 3
    found = stream(reference(1_000), new)
    assert found.alarm_after is not None
    assert 1_500 < found.alarm_after < 1_600
    assert found.properties[0].name == "brightness"
    assert found.properties[0].images > 5.5
    assert "as the first 1,5" in in_words(found, reference(1_000), NAMED[:2_000])
    assert found.unlike == ()


def test_equal_images_in_a_stream_raise_no_alarm_by_equal_draws() -> None:
    # All of one width, and the very same image again and again: only the place in the stream tells them apart.
    old = reference(200, **{name: None for name in PROPERTIES if name != "width"})
    new = ImageProperties(np.repeat(table(1, 0), 500, axis=0), np.full(500, 0.01))
    assert stream(old, new).is_alike


@pytest.mark.parametrize(
    ("num_images", "words"),
    [
        (1, "nothing shows that this image differs from the 900 calibration images; of a single one, no shift of a "),
        (
            400,
            "nothing shows that these 400 images differ from the 900 calibration images; a shift of a property by 0.",
        ),
    ],
)
def test_of_images_that_are_alike_it_says_what_would_have_been_seen(num_images: int, words: str) -> None:
    found = together(reference(900), images(num_images))
    assert found.is_alike
    assert in_words(found, reference(900), NAMED[:num_images]).startswith(words)


def test_of_images_that_differ_it_says_that_the_figures_need_not_hold() -> None:
    found = together(reference(900), images(100, width=4, brightness=-3))
    words = in_words(found, reference(900), NAMED[:100])
    assert words.startswith("these 100 images are not like the 900 calibration images: ")
    assert words.endswith("; the figures of the card need not hold for them")


def test_a_name_that_acts_on_a_terminal_is_escaped() -> None:
    found = judge_together(
        reference(300), images(200, **{"class": 1.0}), level=0.01, class_names=("a", "\x1b[31m", "c", "d")
    )
    assert "\x1b" not in in_words(found, reference(300), NAMED[:200])


@pytest.mark.parametrize("num_images", [1, 2, 3])
def test_of_a_few_images_nothing_is_said_that_only_many_have(num_images: int) -> None:
    found = together(reference(900), images(num_images, brightness=9))
    words = {one.name: one.in_words for one in found.properties}
    every = " ".join(words.values())
    assert "middle 80" not in every
    if num_images > 1:
        assert words["brightness"].startswith("lighter (median 1")
        return
    assert words["brightness"].startswith("lighter (1")
    assert words["brightness"].endswith(", the median was 4.98)")
    assert re.fullmatch(r"class (cat|dog|emu), as [235]\d % of them were", words["class"])
    assert "otherwise" not in every
    alike = stream(reference(900), images(1))
    assert (
        in_words(alike, reference(900), NAMED[:1])
        == "nothing shows that this image differs from the 900 calibration images"
    )
