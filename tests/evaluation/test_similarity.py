"""Images that look most like one: by features, broken files among them, once and again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles import features
from sightline.cli.main import build_parser
from sightline.data.inputs import pixels
from sightline.errors import InvalidBundle, InvalidValue, UnreadableImage


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three striped and three chequered pictures, and a text that claims to be one."""
    place = tmp_path / "pictures"
    place.mkdir()
    rows, columns = np.mgrid[0:96, 0:96]
    for number in range(3):
        stripes = ((columns // (6 + number)) % 2 * 200)[..., None] + np.array([20, 10, 0])
        checks = ((rows // (8 + number) + columns // (8 + number)) % 2 * 200)[..., None] + np.array([0, 10, 30])
        Image.fromarray(stripes.astype(np.uint8)).save(place / f"stripes{number}.png")
        Image.fromarray(checks.astype(np.uint8)).save(place / f"checks{number}.png")
    (place / "text.jpg").write_text("not an image")
    return place


def test_the_like_come_before_the_unlike_and_the_image_itself_is_left_out(folder: Path) -> None:
    found = sightline.similar("imagenet", folder / "stripes0.png", folder=folder)
    names = [Path(path).name for path in found.paths]
    assert set(names[:2]) == {"stripes1.png", "stripes2.png"}
    assert "stripes0.png" not in names
    assert (np.diff(found.similarities) <= 0).all()
    assert [Path(path).name for path, _ in found.errors] == ["text.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_what_cannot_be_read_is_told_by_the_name_that_it_has_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "away.png").symlink_to("nowhere.png")
    monkeypatch.chdir(folder.parent)
    found = sightline.similar("imagenet", "pictures/stripes0.png", folder="pictures")
    assert found.errors == (("pictures/away.png", "no such file."), ("pictures/text.jpg", "a text, not an image."))
    assert "\npictures/text.jpg: a text, not an image." in f"\n{capsys.readouterr().err}"


def test_a_copy_is_as_similar_as_can_be(folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "checks1.png").read_bytes())
    found = sightline.similar("imagenet", folder / "checks1.png", folder=folder, count=1)
    assert Path(found.paths[0]).name == "copy.png"
    assert found.similarities[0] == pytest.approx(1, abs=1e-6)


def test_one_file_more_and_another_question_cost_what_is_new_alone(folder: Path, monkeypatch) -> None:
    counted, decoded = [], []
    usual, decode = features._fill, pixels.resize_image
    monkeypatch.setattr(features, "_fill", lambda *parts: (counted.append(len(parts[3])), usual(*parts))[1])
    sightline.similar("imagenet", folder / "checks1.png", folder=folder)
    first = counted.pop()
    monkeypatch.setattr(pixels, "resize_image", lambda *parts, **more: (decoded.append(1), decode(*parts, **more))[1])
    (folder / "text.jpg").unlink()
    sightline.similar("imagenet", folder / "checks2.png", folder=folder)
    assert not counted, "whichever is asked about, it is the same images"
    (folder / "new.png").write_bytes((folder / "checks1.png").read_bytes())
    decoded.clear()
    sightline.similar("imagenet", folder / "checks2.png", folder=folder)
    assert (first > 2, counted, len(decoded)) == (True, [1], 1)


def test_the_picture_is_written(folder: Path, tmp_path: Path) -> None:
    sightline.similar("imagenet", folder / "checks0.png", folder=folder, out=tmp_path / "found.png")
    with Image.open(tmp_path / "found.png") as picture:
        assert picture.width > 300


def test_a_trained_network_gives_features_too(tiny_run: sightline.Run, folder: Path) -> None:
    found = sightline.similar(tiny_run, folder / "stripes0.png", folder=folder, count=2)
    assert len(found.paths) == 2


def test_what_cannot_be_asked_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"text\.jpg: "):
        sightline.similar("imagenet", folder / "text.jpg", folder=folder)
    with pytest.raises(InvalidValue, match="count must be a whole number from 1 to 400; got 0"):
        sightline.similar("imagenet", folder / "checks0.png", folder=folder, count=0)
    with pytest.raises(InvalidValue, match="no other file to compare with"):
        sightline.similar("imagenet", folder / "checks0.png", folder=folder / "checks0.png")
    with pytest.raises(UnreadableImage, match="none of the 1 files"):
        sightline.similar("imagenet", folder / "checks0.png", folder=folder / "text.jpg")
    with pytest.raises(InvalidBundle):
        sightline.similar(tmp_path, folder / "checks0.png", folder=folder)


def test_the_command_prints_rows_and_says_what_it_could_not_read(folder: Path, command, tmp_path: Path) -> None:
    answer = command(
        "similar", "imagenet", folder / "checks0.png", "--in", folder, "--count", "2", "--out", tmp_path / "a.png"
    )
    assert answer.code == 1
    assert answer.out.count("checks") == 2
    assert "text.jpg" in answer.err


def test_folders_may_be_named_one_by_one() -> None:
    words = ["similar", "imagenet", "cat.jpg", "--in", "first", "second", "--in", "third"]
    assert build_parser().parse_args(words).folder == ["first", "second", "third"]
