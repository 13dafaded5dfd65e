"""`load` on paths: which reader is taken, and what is said where none fits."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import sightline
from sightline.errors import InvalidSource, UnknownName


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    stream = io.BytesIO()
    Image.new("RGB", (3, 2)).save(stream, "JPEG")
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stream.getvalue())
    return tmp_path / "photos"


def test_folder_table_and_archive_of_the_same_files_give_the_same_rows(photos):
    with zipfile.ZipFile(photos.parent / "photos.zip", "w") as archive:
        for path in photos.rglob("*.jpg"):
            archive.write(path, path.relative_to(photos.parent))
    lines = [f"photos/{name},{name[:3]}" for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg")]
    (photos.parent / "photos.csv").write_text("\n".join(["path,label", *lines]))
    opened = [sightline.load(source) for source in (photos, f"{photos}.zip", f"{photos}.csv")]
    for data in opened:
        assert data.class_counts() == {"cat": 2, "dog": 1}
        assert [Path(row).name for row in data.row_ids.tolist()] == ["1.jpg", "2.jpg", "1.jpg"]
        assert data.name == "photos"
    assert len({data.fingerprint for data in opened}) == 3


def test_class_names_and_name_are_taken_by_every_reader(photos):
    (photos.parent / "photos.csv").write_text("path,label\nphotos/cat/1.jpg,cat\nphotos/dog/1.jpg,dog\n")
    for source in (photos, photos.parent / "photos.csv"):
        data = sightline.load(source, class_names=["dog", "cat"], name="pets")
        assert (data.name, data.class_names) == ("pets", ("dog", "cat"))


def test_a_home_folder_is_understood_where_no_shell_opens_it(photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos.parent))
    monkeypatch.setenv("USERPROFILE", str(photos.parent))
    assert len(sightline.load("~/photos")) == 3


def test_the_name_of_a_source_beats_a_folder_and_a_slash_means_the_folder(photos, monkeypatch):
    photos.rename(photos.with_name("mnist"))
    monkeypatch.chdir(photos.parent)
    assert len(sightline.load("mnist")) == 70_000
    assert len(sightline.load("mnist/")) == 3


@pytest.mark.parametrize("typed", ["", "nowhere/", "nowhere.zip", "photos/cat/1.jpg/x", "zero\0byte", "x" * 5000])
def test_what_is_not_there_is_refused_as_typed(photos, monkeypatch, typed):
    monkeypatch.chdir(photos.parent)
    with pytest.raises((UnknownName, InvalidSource)) as refusal:
        sightline.load(typed)
    assert str(refusal.value).isprintable()


def test_an_image_or_a_text_as_a_source_is_refused_with_what_is_one(photos, tmp_path):
    with pytest.raises(InvalidSource, match=r"It is one image: `sightline predict` takes it. It must be a folder"):
        sightline.load(photos / "cat" / "1.jpg")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(
        InvalidSource, match=r"notes\.txt: cannot be opened as a source. It must be a folder with a sub"
    ):
        sightline.load(tmp_path / "notes.txt")


def test_a_folder_of_images_without_classes_says_how_to_arrange_it(photos):
    with pytest.raises(
        InvalidSource, match=r"cat: has 2 files but no sub-folder a class. Arrange it as .*cat/cat/1\.jpg"
    ):
        sightline.load(photos / "cat")


def test_a_folder_around_the_folder_is_passed_through_and_it_is_said(photos):
    data = sightline.load(photos.parent)
    assert data.class_names == sightline.load(photos.parent, label_from="last").class_names == ("cat", "dog")
    assert data.remarks[0].startswith("everything lies in the folder 'photos'")
    with pytest.raises(InvalidSource, match=r"one class only .'photos', 3 files"):
        sightline.load(photos.parent, label_from="top")


@pytest.mark.skipif(os.name == "nt", reason="pipes are POSIX")
@pytest.mark.parametrize("name", ["pipe", "pipe.csv", "pipe.zip", "pipe.npz", "pipe.parquet"])
def test_a_pipe_named_as_source_is_refused_and_never_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(InvalidSource, match=f"{name}: is a pipe, socket or device"):
        sightline.load(tmp_path / name)


def test_a_folder_with_nothing_but_strangers_names_the_first(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.txt").write_text("text")
    with pytest.raises(InvalidSource, match=r"none of 1 files is an image; the first is cat/a\.txt: a text"):
        sightline.load(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_that_leads_to_itself_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InvalidSource, match="loop: cannot be read"):
        sightline.load(tmp_path / "loop")
