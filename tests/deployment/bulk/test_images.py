"""What is answered, in which order: files, tables and archives, whatever the parts are."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.deployment.bulk.images import bulk_images
from sightline.errors import InvalidSource, InvalidValue


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(folder / f"{number}.png")
    return folder


def test_a_table_names_rows_in_its_order_and_what_is_missing_is_one(pictures: Path) -> None:
    table = pictures.parent / "list.csv"
    table.write_text("file,note\npictures/3.png,x\npictures/gone.png,\npictures/3.png,y\nhttp://a/b.png,z\n,empty\n")
    images = bulk_images([table])
    assert list(images.names(0, 9)) == ["pictures/3.png", "pictures/gone.png", "pictures/3.png", "http://a/b.png"]
    stamps = list(images.stamps(0, 4))
    assert stamps[0] == stamps[2] == [(pictures / "3.png").stat().st_size, (pictures / "3.png").stat().st_mtime_ns]
    assert stamps[1] is stamps[3] is None


def test_a_column_may_be_called_anything(pictures: Path) -> None:
    table = pictures.parent / "list.csv"
    table.write_text("picture\npictures/3.png\n")
    with pytest.raises(InvalidSource, match="has no column 'path'; found picture"):
        bulk_images([table])
    assert len(bulk_images([table], columns={"path": "picture"})) == 1
    table.write_text("path\n\n")
    with pytest.raises(InvalidSource, match="names no image"):
        bulk_images([table])


def test_an_archive_needs_no_classes(pictures: Path) -> None:
    place = pictures.parent / "a.zip"
    with zipfile.ZipFile(place, "w") as archive:
        archive.write(pictures / "1.png", "1.png")
        archive.write(pictures / "2.png", "deep/er/2.png")
        archive.writestr("notes.txt", "hello")
    images = bulk_images([place])
    assert list(images.names(0, 9)) == ["1.png", "deep/er/2.png"]
    assert set(map(tuple, images.stamps(0, 2))) == {(place.stat().st_size, place.stat().st_mtime_ns)}
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(InvalidSource, match="there is no image in this archive"):
        bulk_images([place])


def test_parts_begin_where_they_would_begin_without_an_interruption(pictures: Path) -> None:
    table = pictures.parent / "list.csv"
    table.write_text("path\n" + "pictures/0.png\n" * 3)
    images = bulk_images([pictures, table])
    assert len(images) == 8
    for first in range(9):
        parts = list(images.parts(first, size=2))
        assert [name for part in parts for name in part.names] == list(images.names(first, 8))
    assert [len(part) for part in images.parts(0, size=2)] == [2, 2, 1, 2, 1]
    assert [len(part) for part in images.parts(1, size=2)] == [1, 2, 1, 2, 1]
    part = pickle.loads(pickle.dumps(next(iter(images.parts(6, size=2)))))
    assert part.store.read(0) == (pictures / "0.png").read_bytes()


def test_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="no image was named"):
        bulk_images([])
    with pytest.raises(InvalidValue, match="no image in this folder"):
        bulk_images([tmp_path])
