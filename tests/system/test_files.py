from __future__ import annotations

import errno
import json
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from sightline.errors import CannotWrite, OutputExists
from sightline.system import files
from sightline.system.files import (
    hold_file,
    is_held,
    remove_leftovers,
    remove_unless_held,
    sha256_of,
    staged_files,
    staged_folder,
    write_atomically,
    write_json,
    writing_to,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_with(number: int):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("content", [b"\x00\xff", "Ziffer, 数字", b"", ""])
def test_what_is_written_is_read_back(content: bytes | str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())


def test_writing_replaces_the_old_file_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old and longer")
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("number", "part"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EDQUOT, "quota")],
)
def test_a_disk_that_refuses_leaves_the_old_file(
    number: int, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", fail_with(number))
    with pytest.raises(CannotWrite, match=part) as refusal:
        write_atomically(path, "new")
    assert str(path) in str(refusal.value)
    assert "untouched" in str(refusal.value)
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["figures.json"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on file sizes to set")
def test_a_file_that_the_system_cuts_short_leaves_the_old_file(tmp_path: Path, python) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")
    program = """
import resource, sys
from pathlib import Path
from sightline.errors import CannotWrite
from sightline.system.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_atomically(Path(sys.argv[1]), b"x" * 100_000)
except CannotWrite as error:
    print(error)
"""
    answer = python(program, path)
    assert "figures.json: the file would be larger than is allowed here" in answer.out, answer.err
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["figures.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_device_is_told_in_a_sentence() -> None:
    with pytest.raises(CannotWrite, match="results: the disk is full"), writing_to(Path("results")):
        Path("/dev/full").write_bytes(b"x")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="only Linux has a file system that holds no files of ours")
@pytest.mark.parametrize("inner", ["x", "x/y"])
def test_a_file_system_that_takes_no_files_is_told_in_a_sentence_with_the_place_as_it_was_typed(inner: str) -> None:
    place = Path("/proc") / inner
    with pytest.raises(CannotWrite, match=f"^{place}: no file can be made there. Choose another place"):
        write_atomically(place, "new")
    for staged in (staged_folder, staged_files):
        with pytest.raises(CannotWrite, match=f"^{place}: no file can be made there"), staged(place):
            raise AssertionError


def test_an_error_that_is_no_refusal_of_the_disk_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "file", 5)  # type: ignore[arg-type]
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("inner", ["file.png", "folder/file.png"])
def test_a_file_in_the_way_of_a_folder_is_named(inner: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CannotWrite, match="a part of the path is a file"):
        write_atomically(tmp_path / "taken" / inner, "new")
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(CannotWrite, match="it is a folder"):
        write_atomically(tmp_path / "taken", "new")
    assert names_in(tmp_path) == ["taken"]


def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="the name is too long"):
        write_atomically(tmp_path / ("n" * 300), "new")


def test_json_has_no_nan_and_keeps_other_letters(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"f1": [float("nan"), 0.5], "low": float("-inf"), "name": "数字"})
    assert json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail) == {
        "f1": [None, 0.5],
        "low": None,
        "name": "数字",
    }
    assert "数字" in path.read_text(encoding="utf-8")


def test_the_hash_is_the_one_of_the_standard(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_staged_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    final = tmp_path / "bundle"
    with staged_folder(final) as folder:
        (folder / "a").write_text("a")
        assert not final.exists()
    assert (final / "a").read_text() == "a"
    assert names_in(tmp_path) == ["bundle"]


def test_a_staged_folder_leaves_nothing_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), staged_folder(tmp_path / "bundle") as folder:
        (folder / "a").with_name("b").rename(folder / "c")
    assert names_in(tmp_path) == []


def test_a_staged_folder_tells_of_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fail_with(errno.ENOSPC))
    with pytest.raises(CannotWrite, match="bundle: the disk is full"), staged_folder(tmp_path / "bundle") as folder:
        (folder / "a").write_text("a")
    assert names_in(tmp_path) == []


def test_staged_files_take_the_places_of_others_together_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "exports"
    with pytest.raises(FileNotFoundError), staged_files(folder) as staging:
        (staging / "a.txt").write_text(Path("nowhere").read_text())
    assert list(tmp_path.iterdir()) == []
    for text in ("first", "second"):
        with staged_files(folder) as staging:
            (staging / "a.txt").write_text(text)
            assert not (folder / "a.txt").exists() or (folder / "a.txt").read_text() == "first"
        assert [path.name for path in folder.iterdir()] == ["a.txt"]
        assert (folder / "a.txt").read_text() == text
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match="a part of the path is a file"), staged_files(tmp_path / "file" / "x"):
        pass


def test_an_error_of_another_file_within_a_staged_folder_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), staged_folder(tmp_path / "bundle"):
        (tmp_path).open()
    with pytest.raises(CannotWrite, match="bundle: it is a folder"), staged_folder(tmp_path / "bundle") as folder:
        folder.open("w")
    assert names_in(tmp_path) == []


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path, python) -> None:
    program = """
import os, sys
from pathlib import Path
from sightline.system.files import staged_folder
with staged_folder(Path(sys.argv[1])) as folder:
    (folder / "half").touch()
    os._exit(1)
"""
    python(program, tmp_path / "bundle")
    (left,) = names_in(tmp_path)
    assert left.endswith(".partial")
    with staged_folder(tmp_path / "other"):
        assert left in names_in(tmp_path), "it is none of what is written now"
    with staged_folder(tmp_path / "bundle"):
        assert left not in names_in(tmp_path)


def test_what_a_killed_process_left_of_a_file_is_removed_by_the_next_one_that_writes_it(tmp_path: Path, python) -> None:
    program = """
import os, sys
from pathlib import Path
from sightline.system.files import write_atomically
os.fsync = lambda descriptor: os._exit(1)
write_atomically(Path(sys.argv[1]), "half")
"""
    python(program, tmp_path / "a.csv")
    (left,) = names_in(tmp_path)
    assert left.startswith(".a.csv.")
    kept = ["a.csv.partial", ".a.csv.mine.partial", ".b.csv.0123abcd.partial"]
    for name in kept:
        (tmp_path / name).touch()
    with (tmp_path / ".a.csv.89abcdef.partial").open("wb") as stream:
        hold_file(stream.fileno())
        write_atomically(tmp_path / "a.csv", "whole")
        assert names_in(tmp_path) == sorted([*kept, "a.csv", ".a.csv.89abcdef.partial"])
    write_atomically(tmp_path / "a.csv", "again")
    assert names_in(tmp_path) == sorted([*kept, "a.csv"])


def test_what_somebody_is_still_writing_is_left_alone(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "bundle") as first:
        (first / "a").touch()
        with staged_folder(tmp_path / "a"):
            remove_leftovers(tmp_path)
        assert (first / "a").exists()
    assert names_in(tmp_path) == ["a", "bundle"]


def test_only_folders_that_bear_a_name_of_ours_are_taken_for_leftovers(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    kept = [".bundle.partial", ".bundle.mine.partial", "bundle.0123abcd.partial", ".git"]
    for name in [*kept, ".bundle.0123abcd.partial"]:
        (tmp_path / name).mkdir()
    (tmp_path / ".link.0123abcd.partial").symlink_to(tmp_path / "elsewhere")
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == sorted([*kept, ".link.0123abcd.partial", "elsewhere"])


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such permissions")
def test_a_file_that_is_replaced_keeps_its_permissions_and_a_new_one_has_those_of_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "private.csv"
    path.touch(mode=0o600)
    write_atomically(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o666)
    before = os.umask(0o027)
    try:
        write_atomically(path, "newer")
        write_atomically(tmp_path / "fresh", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


@pytest.mark.skipif(os.name == "nt", reason="links need a permission on Windows")
def test_a_link_stays_a_link_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "file")
    (tmp_path / "dangling").symlink_to(tmp_path / "far" / "new")
    write_atomically(tmp_path / "link", "new")
    write_atomically(tmp_path / "dangling", "newer")
    assert (tmp_path / "link").is_symlink()
    assert [(tmp_path / "far" / name).read_text() for name in ("file", "new")] == ["new", "newer"]


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes in folders on Windows")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(tmp_path / "pipe", "answer")
        assert os.read(reader, 100) == b"answer"
    finally:
        os.close(reader)
    assert names_in(tmp_path) == ["pipe"]


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes in folders on Windows")
def test_a_pipe_waits_for_its_reader_a_while_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    found: list[bytes] = []
    reader = threading.Timer(0.2, lambda: found.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_atomically(tmp_path / "pipe", "answer")
    reader.join()
    assert found == [b"answer"]
    monkeypatch.setattr(files, "_WAIT_FOR_READER_SECONDS", 0.1)
    with pytest.raises(CannotWrite, match="nothing reads from this pipe"):
        write_atomically(tmp_path / "pipe", "answer")


def test_a_staged_folder_never_replaces_what_exists(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(OutputExists, match="bundle exists"), staged_folder(tmp_path / "bundle"):
        pytest.fail("the block must not be entered")
    assert names_in(tmp_path) == ["bundle"]


def test_a_staged_folder_that_somebody_else_made_meanwhile_leaves_theirs(tmp_path: Path) -> None:
    final = tmp_path / "bundle"

    def write() -> None:
        with staged_folder(final) as folder:
            (folder / "a").write_text("mine")
            final.mkdir()
            (final / "a").write_text("theirs")

    with pytest.raises(OutputExists, match="bundle exists"):
        write()
    assert names_in(tmp_path) == ["bundle"]
    assert (final / "a").read_text() == "theirs"


@pytest.mark.skipif(sys.platform == "win32", reason="what is open cannot be removed there")
def test_what_somebody_holds_is_known_as_held_and_not_removed(tmp_path):
    lock = tmp_path / "lock"
    assert not is_held(lock)
    with lock.open("w", encoding="ascii") as stream:
        assert not is_held(lock)
        hold_file(stream.fileno())
        assert is_held(lock)
        with pytest.raises(BlockingIOError):
            remove_unless_held(lock)
    assert not is_held(lock)
    remove_unless_held(lock)
    assert not lock.exists()
    remove_unless_held(lock)


def test_files_cannot_be_put_into_what_is_a_file(tmp_path):
    (tmp_path / "file").write_text("a", encoding="ascii")
    with pytest.raises(CannotWrite, match="a part of the path is a file"), staged_files(tmp_path / "file" / "folder"):
        pytest.fail("there is no place for it")
    with staged_files(tmp_path / "new" / "folder") as folder:
        (folder / "a").write_text("a", encoding="ascii")
    assert (tmp_path / "new" / "folder" / "a").read_text(encoding="ascii") == "a"


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be opened there")
def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_folder_after(tmp_path, monkeypatch):
    place, flushed = tmp_path / "a", []
    is_folder = lambda descriptor: stat.S_ISDIR(os.fstat(descriptor).st_mode)  # noqa: E731
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append((is_folder(descriptor), place.exists())))
    write_atomically(place, "a")
    assert flushed == [(False, False), (True, True)]
