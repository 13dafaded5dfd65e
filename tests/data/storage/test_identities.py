"""By what images are known again: never by what an archive or a copy brings along."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from sightline.data.storage.identities import content_identities, file_identities
from sightline.data.storage.stores import FolderStore, TarStore
from sightline.records import Store


def listed(folder: Path, *names: str) -> Store:
    sizes = np.array([(folder / name).stat().st_size for name in names], dtype=np.int64)
    return FolderStore(names, sizes, sizes, folder)


def known_by(files: Store, salt: str = "") -> list[bytes]:
    return file_identities(files, np.arange(len(files)), salt=salt).tolist()


def test_a_file_is_known_again_until_it_is_touched(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"four")
    files = listed(tmp_path, "a", "b")
    first = known_by(files)
    assert len(set(first)) == 2
    assert known_by(files) == first
    assert known_by(files, salt="another size") != first
    os.utime(tmp_path / "a")
    again = known_by(files)
    assert (again[0] != first[0], again[1] == first[1]) == (True, True)
    (tmp_path / "b").write_bytes(b"longer")
    (tmp_path / "a").unlink()
    assert known_by(files) == [b"", b""], "gone, and of another size"


def test_another_file_of_the_same_name_size_and_time_is_another(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"four")
    os.utime(tmp_path / "a", ns=(7, 7))
    first = known_by(listed(tmp_path, "a"))
    (tmp_path / "new").write_bytes(b"five")
    os.utime(tmp_path / "new", ns=(7, 7))
    (tmp_path / "new").replace(tmp_path / "a")
    assert known_by(listed(tmp_path, "a")) != first
    (tmp_path / "copy").mkdir()
    shutil.copy2(tmp_path / "a", tmp_path / "copy" / "a")
    assert known_by(listed(tmp_path / "copy", "a")) != known_by(listed(tmp_path, "a"))


def test_members_of_an_archive_are_known_by_it_and_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(bytes(100))
    sizes = np.array([4, 4], dtype=np.int64)
    files = TarStore(("a", "b"), sizes, sizes, tmp_path / "a.tar", np.array([0, 50]))
    first = known_by(files)
    assert len({*first, b""}) == 3
    os.utime(tmp_path / "a.tar", ns=(7, 7))
    assert not set(known_by(files)) & set(first)


def test_arrays_are_known_by_their_content(tmp_path: Path) -> None:
    images = np.zeros((300, 4, 4, 1), np.uint8)
    images[299] = 1
    found = content_identities(images)
    assert len(set(found.tolist())) == 2
    assert content_identities(images[::-1].copy())[0] == found[299]
    assert content_identities(images.reshape(300, 2, 8, 1))[0] != found[0], "another shape is another image"
