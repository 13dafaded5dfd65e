"""Sections that were kept: every number as it was, nothing of a stranger acts."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.metrics.slices import judge_slices
from sightline.reporting.pages.miniatures import miniature_of
from sightline.reporting.pages.sections.doubts import doubts_section
from sightline.reporting.pages.sections.maps import STEPS, about_maps, drawn_map, kept_map
from sightline.reporting.pages.sections.robustness import robustness_section
from sightline.reporting.pages.sections.slices import slices_section

HOSTILE = "<script>alert(1)</script>\"onload='x' \u202e" + "long" * 100
PICTURE = miniature_of(np.zeros((8, 8, 3), np.uint8))


def _level(name: str, severity: int | None, accuracy: float) -> dict[str, Any]:
    interval = [accuracy - 0.01, accuracy + 0.01]
    return {"corruption": name, "severity": severity, "accuracy": accuracy, "interval": interval}


def _doubts(listed: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    told = {"num_judged": 1000, "not_judged": [], "believed": "tried on these images", "listed": listed}
    return {**told, "num_wrong_answers": 0, "num_wrong_listed": 0, **options}


def _entry(file: str, given: str, suggested: str, **options: Any) -> dict[str, Any]:
    entry = {"file": file, "given": given, "suggested": suggested, "doubt": 0.5, "split": "train"}
    return {**entry, "nearest_given": [file], "nearest_suggested": ["b.png"], **options}


def test_parts_that_are_worse_are_told_first_and_all_of_them() -> None:
    wrong = np.array([True] * 30 + [False] * 270)
    members = {HOSTILE: np.arange(300) < 60, **{f"part {one}": np.arange(300) % 5 == one for one in range(5)}}
    found = [one.figures() for one in judge_slices(wrong, members)]
    page = slices_section({"interval_level": 0.95, "slices": found})
    assert "On 1 of 6 parts of the images it is wrong more often" in page
    assert page.count('<tr><th scope="row">') == 6
    assert "<script>" not in page
    assert "\u202e" not in page


def test_without_parts_nothing_is_drawn() -> None:
    assert "30 of them" in slices_section({"interval_level": 0.95, "slices": []})


def test_each_corruption_has_its_figures_and_the_plot_the_mean() -> None:
    levels = [_level("fog", 1, 0.8), _level("fog", 5, 0.4), _level("jpeg", 1, 0.9), _level("jpeg", 5, 0.7)]
    told = {
        "num_images": 40,
        "clean": _level("none", None, 0.95),
        "mean": _level("all", None, 0.7),
        "relative_drop": None,
        "worst": _level("fog", None, 0.6),
        "corruptions": [_level("fog", None, 0.6), _level("jpeg", None, 0.8)],
        "levels": levels,
    }
    page = robustness_section(told, run=HOSTILE)
    assert "<script>" not in page
    for level in (*levels, *told["corruptions"]):  # type: ignore[misc]
        assert f"{level['accuracy']:.4f}" in page
    assert "to 55.0 % at the strongest" in page
    assert "70.0 % [69.0 %, 71.0 %]" in page


def test_labels_are_told_with_their_pictures_or_their_names() -> None:
    listed = [_entry(HOSTILE, "<b>cat", "dog"), _entry("c.png", "cat", "dog", nearest_given=[], nearest_suggested=[])]
    page = doubts_section(_doubts(listed), lambda name: PICTURE if name == "b.png" else None, source="<img>")
    assert "none of them is called wrong" in page
    assert len(re.findall("<img ", page)) == 1
    assert "<script>" not in page
    assert "<b>cat" not in page
    assert "'&lt;img&gt;' --label-table" in page.replace("&#x27;", "'")
    assert page.count('<tr><th scope="row">') == 2


def test_how_many_wrong_answers_are_to_doubtful_labels_is_told() -> None:
    page = doubts_section(
        _doubts([_entry("a", "x", "y")], num_wrong_answers=9, num_wrong_listed=4), lambda _: None, source="s"
    )
    assert "Of the 9 wrong answers above, 4 are to images on this list." in page


def test_where_no_label_is_doubtful_that_is_said() -> None:
    page = doubts_section(_doubts([], not_judged=["<b>"]), lambda _: None, source="s")
    assert "None of 1,000 labels" in page
    assert "&lt;b&gt;" in page


def test_a_kept_map_is_drawn_where_it_was_and_by_one_scale() -> None:
    spread = np.zeros((64, 64))
    spread[:32, :32], spread[32:, 32:] = 2.0, -1.0
    kept = kept_map(spread, 2.0)
    assert (len(kept), len(kept[0])) == (32, 32)
    assert (kept[4][4], kept[28][28], kept[4][28]) == (STEPS, -STEPS // 2, 0)
    address = drawn_map(np.full((64, 64, 3), 100, np.uint8), kept).address
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"), int)
    assert pixels[8, 8, 0] > pixels[8, 8, 2] + 100, "orange speaks for it"
    assert pixels[56, 56, 2] > pixels[56, 56, 0] + 20, "blue against it, at half the scale"
    assert pixels[8, 56].tolist() == [100, 100, 100], "nothing where it is 0"


@pytest.mark.parametrize("values", [[], [1, 2], [["a"]], [[float("nan")]], [[1] * 99] * 99, [[1], [1, 2]]])
def test_what_is_no_map_is_not_drawn(values: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        drawn_map(np.zeros((8, 8, 1), np.uint8), values)


def test_what_colours_say_is_told_beside_the_maps() -> None:
    assert "Maps are &lt;b&gt;." in about_maps({"about": "maps are <b>"})
