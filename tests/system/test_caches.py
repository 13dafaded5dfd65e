"""The cache: what bears its mark is bounded and can be emptied, and nothing else is ever touched."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from sightline.errors import CannotWrite, InvalidValue, OutputExists
from sightline.system.caches import (
    cache,
    cache_folder,
    cache_root,
    discard,
    entries,
    find_entry,
    limit_bytes,
    make_room,
    new_entry,
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(kind: str, key: str, *, num_bytes: int = 1000, age: float = 0) -> Path:
    with new_entry(kind, key, holds=f"{key} of a test", num_bytes=num_bytes) as staged:
        (staged / "content.bin").write_bytes(bytes(num_bytes))
    place = find_entry(kind, key)
    assert place is not None
    os.utime(place, (time.time() - age, time.time() - age))
    return place


def snapshot(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_one_bound_holds_for_all_kinds_and_the_longest_unused_goes_first(root):
    put("pixels", "old", age=30)
    put("features", "middle", age=20)
    put("archives", "new", age=10)
    size = next(entries()).num_bytes
    make_room(2 * size + 100)
    assert {entry.place.name for entry in entries()} == {"middle", "new"}
    find_entry("features", "middle")
    make_room(size + 100)
    assert {entry.place.name for entry in entries()} == {"middle"}, "it was used last"
    make_room(0)
    assert list(entries()) == []


def test_a_new_entry_makes_room_for_itself(root, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_CACHE_GIB", str(2500 / 2**30))
    for number, key in enumerate("abcd"):
        put("pixels", key, age=10 - number)
    assert {entry.place.name for entry in entries()} == {"c", "d"}
    with pytest.raises(CannotWrite, match="GiB are needed and the cache is bounded to"):
        put("pixels", "e", num_bytes=3000)
    with pytest.raises(OutputExists):
        put("pixels", "d")


def test_what_bears_no_mark_stays_whatever_it_is_called(root):
    put("pixels", "ours")
    mine = root / "pixels" / ("0" * 32)
    (mine / ".git").mkdir(parents=True)
    (root / "photos" / "2019").mkdir(parents=True)
    os.utime(mine, (1, 1))
    make_room(0)
    cache(empty=True)
    assert not discard(mine)
    assert find_entry("pixels", mine.name) is None
    assert (mine / ".git").is_dir()
    assert (root / "photos" / "2019").is_dir()
    assert list(entries()) == []


@pytest.mark.skipif(os.name == "nt", reason="links need a permission on Windows")
def test_nothing_is_removed_or_written_behind_a_link(root, tmp_path):
    place = put("pixels", "ours")
    far = tmp_path / "far"
    place.parent.rename(far)
    (root / "pixels").symlink_to(far)
    (root / "features").mkdir()
    (root / "features" / "ours").symlink_to(far / "ours")
    before = snapshot(far)
    make_room(0)
    cache(empty=True)
    assert snapshot(far) == before
    assert find_entry("features", "ours") is None
    with pytest.raises(CannotWrite, match="pixels is a link"):
        put("pixels", "more")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_the_place_of_a_mark_is_none_and_not_waited_for(root):
    place = put("pixels", "ours")
    (place / "entry.json").unlink()
    os.mkfifo(place / "entry.json")
    assert cache(empty=True)["entries"] == []
    assert place.is_dir()
    (root / "CACHEDIR.TAG").unlink()
    os.mkfifo(root / "CACHEDIR.TAG")
    assert put("pixels", "more").parent == root / "sightline-cache" / "pixels"


def test_in_a_folder_that_holds_other_things_the_cache_has_one_of_its_own(root, tmp_path):
    for name in ("pixels/.git", "features/2019", ".pixels.0123abcd.partial"):
        (root / name).mkdir(parents=True)
    before = snapshot(root)
    put("pixels", "ours")
    assert cache_root() == root / "sightline-cache"
    cache(empty=True)
    assert [name for name in snapshot(root) if not name.startswith("sightline-cache")] == before


def test_a_folder_of_that_name_that_is_not_ours_is_left_alone(root):
    (root / "sightline-cache" / "sources").mkdir(parents=True)
    with pytest.raises(CannotWrite, match="holds what is not Sightline's"):
        put("pixels", "ours")
    assert snapshot(root) == ["sightline-cache", "sightline-cache/sources"]


def test_what_killed_runs_left_behind_is_removed_and_what_is_being_written_stays(root):
    put("pixels", "ours")
    left = root / "pixels" / ".key.0123abcd.partial"
    left.mkdir()
    with new_entry("features", "busy", holds="", num_bytes=0) as staged:
        cache(empty=True)
        assert staged.is_dir()
    assert not left.exists()
    assert [entry.place.name for entry in entries()] == ["busy"]


def test_the_cache_tells_what_it_keeps_and_empties_it(root):
    assert (cache()["num_bytes"], cache()["entries"]) == (0, [])
    assert not root.exists(), "looking makes nothing"
    put("pixels", "a", age=10)
    put("features", "b")
    found = cache()
    assert [row["holds"] for row in found["entries"]] == ["b of a test", "a of a test"]
    assert found["num_bytes"] == sum(row["num_bytes"] for row in found["entries"]) > 2000
    assert (found["place"], found["limit_bytes"], found["removed"]) == (str(root), 20 * 2**30, 0)
    emptied = cache(empty=True)
    assert (emptied["removed"], emptied["removed_bytes"], emptied["entries"]) == (2, found["num_bytes"], [])
    assert (root / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")


@pytest.mark.parametrize(
    ("said", "limit"), [("2", 2 * 2**30), ("0", 0), ("", 20 * 2**30), ("inf", sys.maxsize), ("1e300", sys.maxsize)]
)
def test_the_bound_is_read_from_its_variable(said: str, limit: int, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_CACHE_GIB", said)
    assert limit_bytes() == limit


@pytest.mark.parametrize("said", ["much", "nan", "-1", "-inf"])
def test_a_bound_that_is_none_is_refused(said: str, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_CACHE_GIB", said)
    with pytest.raises(InvalidValue, match=f"must be a number of GiB, 0 or more, or inf; got '{said}'"):
        limit_bytes()
    assert limit_bytes(1.0) == 2**30


def test_the_cache_folder_follows_its_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("SIGHTLINE_CACHE")
    if os.name != "nt":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder() == tmp_path / "sightline"


@pytest.mark.skipif(os.name == "nt", reason="users without an entry in a table of users")
def test_without_a_home_there_is_no_cache_and_it_is_said_what_to_set(python) -> None:
    program = """
import pwd
def nobody(number): raise KeyError(number)
pwd.getpwuid = nobody
from sightline.system.caches import cache_folder
from sightline.data.sources.downloads import keras_home
print(keras_home())
cache_folder()
"""
    answer = python(program, env={"PATH": os.environ["PATH"]})
    assert answer.out == "/tmp/.keras\n"
    assert "there is no home folder to keep a cache in. Set SIGHTLINE_CACHE" in answer.err
