"""`check` from end to end: arrays, files and Datasets against a trained run, and its command."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.errors import InvalidValue, UnreadableImage

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(small_arrays: dict[str, np.ndarray], tmp_path: Path) -> Path:
    """40 test images as files."""
    (tmp_path / "digits").mkdir()
    for row, image in enumerate(small_arrays["x_test"][:40]):
        Image.fromarray(image).save(tmp_path / "digits" / f"{row:02d}.png")
    return tmp_path / "digits"


def test_images_of_the_same_kind_are_alike_and_darker_ones_are_not(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray]
) -> None:
    usual = sightline.check(tiny_run, small_arrays["x_test"][:100], progress=False)
    assert (usual.is_alike, usual.num_images, usual.errors) == (True, 100, ())
    assert repr(usual) == usual.in_words
    assert "class" in {one.name for one in usual.properties}
    dark = sightline.check(tiny_run.path, small_arrays["x_test"][:100] // 3, progress=False)
    moved = {one.name for one in dark.properties if one.has_moved}
    assert not dark.is_alike
    assert {"brightness", "contrast"} <= moved
    assert "width" not in moved


def test_files_a_dataset_and_arrays_of_the_same_images_are_judged_alike(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], folder: Path
) -> None:
    arrays = sightline.load({"x_train": small_arrays["x_test"][:40], "y_train": np.arange(40) % 2})
    found = [
        sightline.check(tiny_run, images, progress=False)
        for images in (folder, sorted(folder.iterdir()), small_arrays["x_test"][:40], arrays)
    ]
    assert len({one.in_words for one in found}) == 1
    told = [[(one.name, round(one.p_value, 6)) for one in each.properties] for each in found]
    assert all(one == told[0] for one in told)


def test_the_same_images_get_the_same_answer_again_as_a_stream_too(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray]
) -> None:
    given = np.concatenate([small_arrays["x_test"][:60], 255 - small_arrays["x_test"][60:160]])
    one, other = (sightline.check(tiny_run, given, stream=True, progress=False) for _ in range(2))
    assert one == other
    assert one.alarm_after is not None
    assert 60 < one.alarm_after < 110
    assert (one.unlike, one.visible_shift) == ((), None)


def test_of_a_group_one_image_counts(tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray]) -> None:
    import dataclasses

    images = np.repeat(small_arrays["x_test"][:10], 20, axis=0)
    dataset = sightline.load({"x_train": images, "y_train": np.arange(200) % 2})
    grouped = dataclasses.replace(dataset, groups=np.repeat(np.arange(10), 20).astype(str))
    found = sightline.check(tiny_run, grouped, progress=False)
    assert (found.num_images, found.is_alike) == (10, True)
    assert "these 10 images (of 200, one of each group)" in found.in_words


def test_a_file_that_cannot_be_read_is_an_error_and_in_no_figure(tiny_run: sightline.Run, folder: Path) -> None:
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    found = sightline.check(tiny_run, folder, progress=False)
    assert found.num_images == 40
    assert found.errors == ((str(folder / "bad.png"), "damaged PNG."),)


def test_what_cannot_be_compared_is_refused_in_words(tiny_run: sightline.Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    with pytest.raises(UnreadableImage, match=r"nothing can be compared: the image .*bad\.png: damaged PNG"):
        sightline.check(tiny_run, tmp_path / "bad.png", progress=False)
    with pytest.raises(UnreadableImage, match="all of the 2 images, such as"):
        sightline.check(tiny_run, [tmp_path / "bad.png"] * 2, progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidValue, match="there is no image in this folder"):
        sightline.check(tiny_run, tmp_path / "empty", progress=False)
    for wrong in (0, 1, float("nan"), "0.1", True, -1):
        with pytest.raises(
            InvalidValue, match=r"false_alarms must be a number above 0 and below 1, such as 0\.01; got"
        ):
            sightline.check(tiny_run, folder, false_alarms=wrong, progress=False)  # type: ignore[arg-type]
    for wrong in (1, "yes", None):
        with pytest.raises(InvalidValue, match="stream must be True or False; got"):
            sightline.check(tiny_run, folder, stream=wrong, progress=False)  # type: ignore[arg-type]


def test_one_image_is_looked_at_too(tiny_run: sightline.Run, folder: Path) -> None:
    found = sightline.check(tiny_run, folder / "00.png", progress=False)
    assert (found.num_images, found.is_alike, found.visible_shift) == (1, True, float("inf"))
    assert found.in_words.startswith("nothing shows that this image differs from the ")


@pytest.mark.parametrize("is_known", [True, False])
def test_what_a_teacher_may_have_learned_from_is_told(tiny_run: sightline.Run, folder: Path, is_known: bool) -> None:
    metrics = {**tiny_run.bundle.metrics, "teacher": {"has_same_splits": is_known}}
    student = dataclasses.replace(tiny_run.bundle, metrics=metrics)
    found = sightline.check(student, folder / "00.png", progress=False)
    assert ("What a teacher learned from is not known here" in found.in_words) != is_known


def test_the_command_ends_with_0_where_they_are_alike(
    tiny_run: sightline.Run, folder: Path, command: Callable[..., Any]
) -> None:
    answered = command("check", tiny_run.path, folder)
    assert (answered.code, answered.out.splitlines()[0][:34]) == (0, "nothing shows that these 40 images")
    assert answered.out.splitlines()[1].split() == ["property", "moved", "p-value", "how"]


def test_the_command_ends_with_1_where_they_are_not_and_where_one_cannot_be_read(
    tiny_run: sightline.Run, folder: Path, command: Callable[..., Any], tmp_path: Path
) -> None:
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    answered = command("check", tiny_run.path, folder)
    assert answered.code == 1
    assert "images that could not be read and are in no figure: 1" in answered.out
    for row in range(40):
        with Image.open(folder / f"{row:02d}.png") as picture:
            picture.resize((14, 14)).save(tmp_path / f"{row:02d}.bmp")
    answered = command("check", tiny_run.path, *sorted(tmp_path.glob("*.bmp")), "--quiet", "--json")
    told = json.loads(answered.out)
    assert (answered.code, answered.err, told["is_alike"]) == (1, "", False)
    assert {"width", "height"} <= {one["name"] for one in told["properties"] if one["has_moved"]}
    assert set(told) == {
        *("bundle", "is_alike", "in_words", "false_alarms", "num_images", "num_reference", "properties", "unlike"),
        *("visible_shift", "alarm_after", "errors"),
    }


def test_the_command_refuses_with_2(tiny_run: sightline.Run, folder: Path, command: Callable[..., Any]) -> None:
    for words in (
        (tiny_run.path, folder, "--false-alarms", "1"),
        (tiny_run.path, folder / "nowhere"),
        ("imagenet", folder),
        (tiny_run.path, folder, "--false-alarms", "nan"),
    ):
        answered = command("check", *words)
        assert (answered.code, answered.out) == (2, "")


def test_the_command_looks_at_a_stream_in_the_order_given(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], command: Callable[..., Any], tmp_path: Path
) -> None:
    for name, images in (("later", 255 - small_arrays["x_test"][40:100]), ("soon", small_arrays["x_test"][:40])):
        (tmp_path / name).mkdir()
        for row, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / name / f"{row:02d}.png")
    in_time = json.loads(command("check", tiny_run.path, "soon", "later", "--stream", "--json").out)
    at_once = json.loads(command("check", tiny_run.path, "later", "soon", "--stream", "--json").out)
    assert at_once["alarm_after"] < 40 < in_time["alarm_after"]
