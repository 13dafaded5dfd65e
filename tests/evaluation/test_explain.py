from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.errors import InvalidValue
from sightline.evaluation.explain import explain


@pytest.fixture
def files(small_arrays: dict[str, Any], tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{row}.png" for row in range(3)]
    for path, image in zip(paths, small_arrays["x_test"], strict=False):
        Image.fromarray(image).save(path)
    return paths


def test_answers_and_nearest_training_images_are_those_of_predict(tiny_run: sightline.Run, files: list[Path]) -> None:
    found = explain(tiny_run, files)
    answers = sightline.predict(tiny_run, files, nearest=3, progress=False)
    assert found.predictions.predicted == answers.predicted
    assert found.neighbours is not None
    assert (found.neighbours.names == answers.details["neighbours"].names).all()  # type: ignore[attr-defined]
    assert (found.method, found.about_nearest, len(found)) == ("activations", "", 3)


def test_rows_of_a_dataset_are_explained_as_their_files_are(
    tiny_run: sightline.Run, small_npz: Path, small_arrays: dict[str, Any]
) -> None:
    rows = sightline.load(small_npz).take(np.arange(600, 605))
    by_rows, by_pixels = explain(tiny_run, rows), explain(tiny_run, small_arrays["x_test"][:5])
    assert np.abs(by_rows.maps.maps - by_pixels.maps.maps).max() < 1e-5
    assert (by_rows.maps.images == by_pixels.maps.images).all()


def test_one_scale_is_that_of_all_maps_together(tiny_run: sightline.Run, small_arrays: dict[str, Any]) -> None:
    found = explain(tiny_run, small_arrays["x_test"][:8])
    assert found.scale == np.abs(found.maps.maps).max()
    assert found.scale > np.abs(found.maps.maps).max(axis=(1, 2)).min()


def test_another_class_is_explained_where_it_is_asked_for(tiny_run: sightline.Run, files: list[Path]) -> None:
    found = explain(tiny_run, files, class_name="7")
    assert found.maps.labels.tolist() == [7, 7, 7]


def test_a_broken_file_is_a_row_with_an_error_and_the_others_are_explained(
    tiny_run: sightline.Run, files: list[Path]
) -> None:
    files[1].write_bytes(b"no picture")
    found = explain(tiny_run, files)
    assert [error is not None for error in found.predictions.errors] == [False, True, False]
    assert np.isfinite(found.maps.maps).all(axis=(1, 2)).tolist() == [True, False, True]
    assert np.isfinite(found.scale)


def test_a_bundle_without_names_says_so_and_is_explained_all_the_same() -> None:
    found = explain("imagenet", Image.new("RGB", (64, 64), "white"))
    assert found.neighbours is None
    assert "none of them came with it" in found.about_nearest


def test_more_images_than_anybody_looks_at_are_refused(tiny_run: sightline.Run) -> None:
    with pytest.raises(InvalidValue, match="up to 1,000 images"):
        explain(tiny_run, np.zeros((1001, 28, 28, 1), np.uint8))
