from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.bundles.checks import checked_calibration, checked_class_names, checked_input, checked_metrics
from sightline.errors import InvalidBundle
from sightline.records import InputSpec

INPUT = {"height": 28, "width": 20, "color_mode": "grey", "channels": 1}


def refuse(check: Callable[[Path], Any], content: Any, path: Path, *, match: str = r"json: ") -> None:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InvalidBundle, match=match):
        check(path)


def test_a_sound_input_is_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "input.json"
    path.write_text(json.dumps(INPUT))
    assert checked_input(path) == InputSpec(28, 20, "grey")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"height": 20_000}, r"height must be 1 to 2,048; got 20000"),
        ({"height": 0}, "height must be"),
        ({"height": -1}, "height must be"),
        ({"height": True}, "height must be"),
        ({"height": 28.0}, "height must be"),
        ({"height": "28"}, "height must be"),
        ({"height": None}, "height must be"),
        ({"height": [28]}, "height must be"),
        ({"color_mode": "cmyk"}, "color_mode must be grey or rgb; got 'cmyk'"),
        ({"color_mode": {}}, "color_mode must be"),
        ({"resize": "warp"}, "resize must be"),
        ({"background": 1}, "background must be"),
        ({"interpolation": "nearest"}, "interpolation must be bilinear"),
        ({"channels": 3}, "channels is 3, but color_mode is grey"),
        ({"eval": "1"}, "'eval' is not known here"),
    ],
)
def test_an_input_out_of_range_is_refused_by_its_key(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    refuse(checked_input, {**INPUT, **change}, tmp_path / "input.json", match=match)


@pytest.mark.parametrize("content", ["[]", "null", '"x"', "{}", '{"height": 28}', "[" * 9_000, '{"a": 1, "a": 2}'])
def test_an_input_of_another_kind_is_refused(content: str, tmp_path: Path) -> None:
    refuse(checked_input, content, tmp_path / "input.json")


@pytest.mark.parametrize(
    "content",
    [{}, [], ["a"], ["a", "a"], ["a", 1], ["a", None], ["a", ""], ["a", "\ud800"], ["a", "b" * 2_000], "ab"],
)
def test_labels_are_different_names_that_can_be_encoded(content: Any, tmp_path: Path) -> None:
    refuse(checked_class_names, content, tmp_path / "labels.json", match=r"labels\.json: ")


def test_labels_may_hold_every_letter(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(["猫", "a\x1b[31m"]))
    assert checked_class_names(path) == ("猫", "a\x1b[31m")


@pytest.mark.parametrize("temperature", [0, -1, "1", None, True, 1e-300, 1e300, [1]])
def test_a_temperature_is_a_number_in_range(temperature: Any, tmp_path: Path) -> None:
    content = {"temperature": temperature, "num_images": 1}
    refuse(checked_calibration, content, tmp_path / "calibration.json", match="temperature must be a number from")


@pytest.mark.parametrize("content", ["NaN", "Infinity", "1e999", "-1e999"])
def test_a_number_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    text = f'{{"temperature": {content}, "num_images": 1}}'
    refuse(checked_calibration, text, tmp_path / "calibration.json", match="no finite number")


@pytest.mark.parametrize("count", [-1, 1.5, "1", None, False, 10**40])
def test_calibration_images_are_counted(count: Any, tmp_path: Path) -> None:
    refuse(checked_calibration, {"temperature": 1, "num_images": count}, tmp_path / "calibration.json")


@pytest.mark.parametrize(
    "content",
    [
        [],
        None,
        {"source": []},
        {"source": {"typed": ["mnist"]}},
        {"source": {"fingerprint": 1}},
        {"test": 0.9},
        {"test": {"accuracy": "0.9"}},
        {"test": {"accuracy": 2}},
        {"teacher": "x"},
        {"ensemble": {"has_same_splits": 1}},
    ],
)
def test_figures_of_another_kind_are_refused(content: Any, tmp_path: Path) -> None:
    refuse(checked_metrics, content, tmp_path / "metrics.json", match=r"metrics\.json: ")
