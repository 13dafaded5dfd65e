"""What a notebook shows: pictures at their own size, and of strangers' names nothing that acts."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.records import MOST_SHOWN, Predictions, image_tag, pixels_tag

PIXELS = np.zeros((28, 20, 3), np.uint8)


def test_a_picture_has_its_own_size_and_gives_way_where_the_page_is_narrow() -> None:
    tag = image_tag(b"png", alt="<b>'")
    assert "height=" not in tag
    assert "max-width:100%" in tag
    assert "<b>" not in tag
    assert "&#x27;" in tag


@pytest.mark.parametrize(("side", "size"), [(28, "height='112' width='112'"), (60, ""), (224, "")])
def test_a_small_image_is_shown_in_whole_squares(side: int, size: str) -> None:
    tag = pixels_tag(np.zeros((side, side, 1), np.uint8), alt="")
    assert ("pixelated" in tag) == bool(size)
    assert size in tag


def test_predictions_show_their_images_with_what_is_said_of_them(tiny_run: sightline.Run, tmp_path: Path) -> None:
    names = [tmp_path / f"{number}<b>.png" for number in range(MOST_SHOWN + 3)]
    for name in names[1:]:
        Image.new("L", (28, 28), 90).save(name)
    names[0].write_bytes(b"no image")
    told = sightline.predict(tiny_run, [str(name) for name in names], coverage=0.9)
    shown = told._repr_html_()
    assert shown.count("data:image/png") == MOST_SHOWN - 1
    assert "<b>.png" not in shown
    assert "&lt;b&gt;.png" in shown
    assert "and 3 more" in shown
    assert told.shown is not None
    assert told.shown.shape == (MOST_SHOWN, 28, 28, 1)
    assert f"<b>{told.predicted[1]} ({told.confidences[1]:.2f})</b>" in shown
    assert "{" in shown, "the set"
    few = told.take(np.array([2, 1]))
    assert few._repr_html_().count("data:image/png") == 2
    assert pickle.loads(pickle.dumps(told))._repr_html_() == shown


def test_predictions_of_arrays_and_of_a_dataset_show_them(tiny_run: sightline.Run, small_npz: Path) -> None:
    dataset = sightline.load(small_npz).take(np.arange(5))
    of_rows, of_pixels = sightline.predict(tiny_run, dataset), sightline.predict(tiny_run, np.asarray(dataset.images))
    assert np.array_equal(np.asarray(of_rows.shown), np.asarray(of_pixels.shown))
    assert "given " in of_rows._repr_html_()
    assert "given " not in of_pixels._repr_html_()


def test_predictions_without_images_are_told_in_words() -> None:
    answers = Predictions.of(["<i>"], np.array([[2, 0]], np.float32), class_names=("<u>", "b"))
    shown = answers._repr_html_()
    assert "&lt;u&gt; (0.88)" in shown
    assert not re.search("<img|<i>|<u>", shown)


def test_an_evaluation_shows_its_matrix_and_its_mistakes(tiny_run: sightline.Run) -> None:
    told = sightline.evaluate(tiny_run)
    assert told._repr_html_().count("data:image/png") == 2
    assert tiny_run.evaluation is not None
    assert "<img" not in tiny_run.evaluation._repr_html_(), "the run shows its own"


def test_mistakes_show_their_sheet(tiny_run: sightline.Run, run_copy: Path, small_npz: Path, tmp_path: Path) -> None:
    assert "<img" in sightline.mistakes(tiny_run)._repr_html_()
    away = small_npz.rename(tmp_path / "away.npz")
    try:
        found = sightline.mistakes(run_copy)
    finally:
        away.rename(small_npz)
    assert "<img" not in found._repr_html_()
