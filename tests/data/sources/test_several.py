"""Folders in which a picture lies in those of all its labels."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    for number, name in enumerate(("cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png")):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), 40 * number, np.uint8)).save(place / name)
    return place


def told(source: Path) -> dict[str, str]:
    found = sightline.load(source, task="multi-label")
    return dict(zip(found.row_ids.tolist(), found.named(), strict=True))


def test_a_picture_that_is_linked_into_two_folders_has_both_labels(photos: Path) -> None:
    os.link(photos / "cat/1.png", photos / "dog/other name.png")
    (photos / "dog/2.png").symlink_to(photos / "cat/2.png")
    assert told(photos) == {"cat/1.png": "cat; dog", "cat/2.png": "cat; dog", "dog/3.png": "dog", "dog/4.png": "dog"}
    found = sightline.load(photos, task="multi-label")
    assert any("2 files lie in another class folder, too" in remark for remark in found.remarks)
    assert not any("contradict" in remark for remark in found.remarks)
    assert any("contradict" in remark for remark in sightline.load(photos).remarks)


def test_a_copy_of_that_name_is_the_same_picture_and_one_of_another_content_is_not(photos: Path) -> None:
    shutil.copy(photos / "cat/1.png", photos / "dog/1.png")
    Image.fromarray(np.full((4, 4), 200, np.uint8)).save(photos / "dog/2.png")
    found = told(photos)
    assert found["cat/1.png"] == "cat; dog"
    assert (found["cat/2.png"], found["dog/2.png"]) == ("cat", "dog")


def test_an_archive_is_read_as_a_folder_is(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "cat/1.png", photos / "dog/1.png")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in sorted(photos.rglob("*.png")):
            archive.write(path, path.relative_to(photos))
    assert told(tmp_path / "photos.zip") == told(photos)


def test_a_picture_in_two_splits_is_left_out(photos: Path) -> None:
    for split in ("train", "test"):
        shutil.copytree(photos, photos.parent / "split" / split)
    shutil.copy(photos / "cat/1.png", photos.parent / "split/test/dog/1.png")
    found = sightline.load(photos.parent / "split", task="multi-label")
    assert "train/cat/1.png" not in found.row_ids.tolist()
    assert any("lies in several splits at once" in reason for _, reason in found.left_out)
