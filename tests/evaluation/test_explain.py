from __future__ import annotations

import io
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.bundle import write_manifest
from sightline.bundles.trust.neighbours import read_neighbours, write_thumbnails
from sightline.errors import InvalidValue, OutputExists
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


def test_a_bundle_without_names_says_so_and_is_explained_all_the_same(
    run_copy: Path, small_arrays: dict[str, Any]
) -> None:
    (run_copy / "bundle" / "neighbours.npz").unlink()
    (run_copy / "bundle" / "manifest.json").unlink()
    write_manifest(run_copy / "bundle")
    found = explain(run_copy, small_arrays["x_test"][:1])
    assert found.neighbours is None
    assert "made with --neighbours none" in found.about_nearest
    assert "made with --neighbours none" in found.page()


def test_more_images_than_anybody_looks_at_are_refused(tiny_run: sightline.Run) -> None:
    with pytest.raises(InvalidValue, match="up to 1,000 images"):
        explain(tiny_run, np.zeros((1001, 28, 28, 1), np.uint8))


@pytest.mark.parametrize("shape", [(1200, 30, 3), (1200, 30, 1), (1200, 30)])
def test_one_tall_image_given_as_an_array_is_one_as_for_predict(
    tiny_run: sightline.Run, shape: tuple[int, ...]
) -> None:
    assert len(explain(tiny_run, np.zeros(shape, np.uint8))) == 1
    with pytest.raises(InvalidValue, match="up to 1,000 images"):
        explain(tiny_run, np.zeros((1001, 28, 28), np.uint8))


def test_a_large_file_given_as_bytes_that_can_be_changed_is_one_image(
    tiny_run: sightline.Run, files: list[Path]
) -> None:
    assert len(explain(tiny_run, bytearray(files[0].read_bytes() + bytes(1001)))) == 1


def test_a_folder_holds_a_picture_of_each_image_whatever_they_are_called(
    tiny_run: sightline.Run, small_arrays: dict[str, Any], tmp_path: Path
) -> None:
    # Of the same name, of a name that is made for another, alike but for case or accents, and too long with its ending.
    names = ["a/x.png", "b/x.png", "c/0002 x.png", "d/X.png", "a/\u00e9.png", "b/e\u0301.png", f"a/{'猫' * 80}.png"]
    for name, image in zip(names, small_arrays["x_test"], strict=False):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / name)
    explain(tiny_run, [tmp_path / name for name in names], out=tmp_path / "maps")
    written = [path.name for path in (tmp_path / "maps").iterdir()]
    assert len({unicodedata.normalize("NFC", name).casefold() for name in written}) == len(names)
    assert {"x.png.png", "0002 x.png.png"} < set(written)


def test_a_page_a_sheet_and_a_folder_of_pictures_are_written(
    tiny_run: sightline.Run, files: list[Path], tmp_path: Path
) -> None:
    files[1].write_bytes(b"no picture")
    found = explain(tiny_run, files, out=tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(path.name in text for path in files)
    found.write(tmp_path / "sheet.png")
    found.write(tmp_path / "maps")
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == ["0.png.png", "2.png.png"]
    with Image.open(tmp_path / "sheet.png") as sheet, Image.open(tmp_path / "maps" / "0.png.png") as one:
        assert sheet.width == one.width > 2 * 224
        assert sheet.height > 2 * 224 > one.height > 224
    # What is ours is replaced; a folder never is.
    found.write(tmp_path / "page.html")
    with pytest.raises(OutputExists):
        found.write(tmp_path / "maps")


def test_what_cannot_be_written_is_refused_before_any_image_is_looked_at(
    tiny_run: sightline.Run, files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "mine.html").write_text("mine")
    for out, error, match in (
        (tmp_path / "mine.html", OutputExists, "exists and is not ours"),
        (tmp_path / "a.pdf", InvalidValue, r"ends in \.pdf"),
        (tiny_run.bundle.path / "a.html", InvalidValue, "belongs to the bundle"),
    ):
        with pytest.raises(error, match=match):
            explain(tiny_run, files, out=out)
    explain(tiny_run, files, out=tmp_path / "mine.html", overwrite=True)
    assert "mine" not in (tmp_path / "mine.html").read_text(encoding="utf-8")[:100]


def test_a_notebook_shows_the_maps(tiny_run: sightline.Run, small_arrays: dict[str, Any]) -> None:
    found = explain(tiny_run, small_arrays["x_test"][:2])
    assert "<img" in found._repr_html_()
    assert repr(found) == "Explanations of 2 images, maps by activations"


def test_pictures_of_nearest_training_images_are_shown_where_they_travel(
    tiny_run: sightline.Run, run_copy: Path, small_arrays: dict[str, Any], small_npz: Path
) -> None:
    named = read_neighbours(tiny_run.bundle)
    dataset = sightline.load(small_npz)
    row_of = {name: row for row, name in enumerate(dataset.row_ids.tolist())}
    write_thumbnails(run_copy / "bundle", np.asarray(dataset.images)[[row_of[name] for name in named.names]])
    (run_copy / "bundle" / "manifest.json").unlink()
    write_manifest(run_copy / "bundle")
    found = explain(run_copy, small_arrays["x_test"][:4])
    assert found.page().count("a training image of") == 3 * 4
    without = explain(tiny_run, small_arrays["x_test"][:4]).sheet()
    with Image.open(io.BytesIO(found.sheet())) as wide, Image.open(io.BytesIO(without)) as narrow:
        assert wide.width > 2 * narrow.width


def test_the_command_tells_answers_nearest_images_and_places(
    tiny_run: sightline.Run, files: list[Path], command: Callable[..., Any]
) -> None:
    answer = command("explain", tiny_run.path, *files, "--class", "7")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert len(lines) == 3
    assert all("  nearest: " in line and "  for 7: " in line for line in lines)
    assert "maps are of activations" in answer.err


def test_the_command_gives_one_object_with_the_maps_and_ends_with_1_where_an_image_is_broken(
    tiny_run: sightline.Run, files: list[Path], command: Callable[..., Any]
) -> None:
    broken = files[0].with_name("\x1b[31m.png")
    broken.write_bytes(b"no picture")
    answer = command("explain", tiny_run.path, files[0], broken, "--json", "--quiet", "--out", "a.html")
    told = json.loads(answer.out)
    assert (answer.code, answer.err, told["method"], told["out"]) == (1, "", "activations", "a.html")
    first, second = told["images"]
    assert np.abs(np.array(first["map"])).max() == pytest.approx(told["scale"], abs=1e-5)
    assert {"nearest", "explained", "where", "share", "constant"} <= set(first)
    assert second["map"] is None
    assert second["error"]
    assert "\x1b" not in command("explain", tiny_run.path, broken).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--class", "cat"], "knows no class 'cat'"),
        (["--method", "grad"], "method must be one of auto, activations, occlusion"),
        (["--out", "a.pdf"], "Name a file .html or .png, or a new folder"),
    ],
)
def test_the_command_refuses_what_cannot_be(
    words: list[str], said: str, tiny_run: sightline.Run, files: list[Path], command: Callable[..., Any]
) -> None:
    answer = command("explain", tiny_run.path, files[0], *words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_the_command_says_how_a_file_that_is_not_ours_is_replaced_on_the_command_line(
    tiny_run: sightline.Run, files: list[Path], command: Callable[..., Any], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("mine")
    answer = command("explain", tiny_run.path, files[0], "--out", mine)
    assert (answer.code, answer.out, mine.read_text()) == (2, "", "mine")
    assert f"--out {mine} exists and is not ours" in answer.err
    assert "add --overwrite" in answer.err
    assert command("explain", tiny_run.path, files[0], "--out", mine, "--overwrite").code == 0
