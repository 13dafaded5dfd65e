"""Steps that are stopped anywhere and repeated: nothing is lost, nothing is twice, and all can be taken back."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from sightline.deployment.sorting import steps as module
from sightline.deployment.sorting.journal import WAYS, Journal, Step
from sightline.deployment.sorting.steps import clear_leftovers, do, make_folders, remove_folders, undo

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links of POSIX")


def journal_of(root: Path, by: str, *, count: int = 3) -> Journal:
    source, into = root / "source", root / "into"
    (source / "deep").mkdir(parents=True)
    steps = []
    for number in range(count):
        place = source / ("deep" if number % 2 else "") / f"{number}.jpg"
        place.write_bytes(b"picture %d" % number)
        os.utime(place, ns=(10**9, 10**18 + number))
        found = place.stat()
        name = place.relative_to(source).as_posix()
        steps.append(Step(name, f"cat/{number}.jpg", found.st_size, found.st_mtime_ns))
    return Journal(into / ".sightline-sort-001.jsonl", source, into, by, {}, ["cat"], steps)


def tree(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(root).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def carry_out(journal: Journal) -> list[str]:
    make_folders(journal)
    return [outcome.why_left for step in journal.steps if (outcome := do(journal, step)).why_left]


def take_back(journal: Journal) -> list[str]:
    left = [outcome.why_left for step in reversed(journal.steps) if (outcome := undo(journal, step)).why_left]
    remove_folders(journal)
    return left


@pytest.mark.parametrize("by", WAYS)
def test_what_was_brought_there_is_there_and_comes_back_as_it_was(tmp_path: Path, by: str) -> None:
    journal = journal_of(tmp_path, by)
    before = tree(tmp_path)
    for _ in range(2):  # the second time it is all done already
        assert carry_out(journal) == []
    after = tree(journal.into)
    assert {name: content for name, (content, _) in after.items()} == {
        f"cat/{number}.jpg": b"picture %d" % number for number in range(3)
    }
    assert all(time >= 10**18 for _, time in after.values())
    assert bool(tree(journal.source)) == (by != "move")
    for _ in range(2):
        assert take_back(journal) == []
    assert tree(tmp_path) == before
    assert not (journal.into / "cat").exists()


class Stopped(BaseException):
    """As a process that is killed: nobody clears up."""


def stopping_after(calls: int) -> Callable[[pytest.MonkeyPatch], None]:
    """The system takes so many more calls that change something, and then the process is gone."""
    left = iter(range(calls))

    def counted(work: Callable[..., object]) -> Callable[..., object]:
        def call(*values: object, **named: object) -> object:
            if next(left, None) is None:
                raise Stopped
            return work(*values, **named)

        return call

    def put(patch: pytest.MonkeyPatch) -> None:
        for owner, names in (
            (os, ("link",)),
            (Path, ("unlink", "symlink_to", "replace", "rmdir", "mkdir")),
            (shutil, ("copyfile", "copystat")),
        ):
            for name in names:
                patch.setattr(owner, name, counted(getattr(owner, name)))

    return put


@settings(max_examples=60, deadline=None)
@given(
    by=st.sampled_from(WAYS),
    stops=st.lists(st.integers(0, 12), max_size=4),
    back=st.lists(st.integers(0, 12), max_size=4),
)
def test_wherever_it_is_stopped_nothing_is_lost_and_repeating_it_finishes(
    by: str, stops: list[int], back: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        journal = journal_of(root, by)
        before = tree(root)
        contents = sorted(content for content, _ in before.values())
        for work, points in ((carry_out, stops), (take_back, back)):
            for calls in points:
                with pytest.MonkeyPatch.context() as patch:
                    stopping_after(calls)(patch)
                    with contextlib.suppress(Stopped):
                        work(journal)
                held = {content for name, (content, _) in tree(root).items() if not name.endswith(".partial")}
                assert sorted(held) == contents, "every picture is there under some name"
            assert work(journal) == []
        after = {name: found for name, found in tree(root).items() if not name.endswith(".partial")}
        assert after == before


def test_what_lies_in_the_place_stays_and_is_told(tmp_path: Path) -> None:
    for by in WAYS:
        journal = journal_of(tmp_path / by, by)
        make_folders(journal)
        (journal.into / "cat" / "1.jpg").write_bytes(b"mine")
        assert carry_out(journal) == ["something lies in its place"]
        assert (journal.into / "cat" / "1.jpg").read_bytes() == b"mine"
        assert (journal.source / "deep" / "1.jpg").read_bytes() == b"picture 1"


def test_what_changed_or_went_since_it_was_planned_is_left(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, "move")
    (journal.source / "0.jpg").write_bytes(b"edited")
    (journal.source / "2.jpg").unlink()
    assert carry_out(journal) == ["it changed since it was looked at", "it is gone"]
    assert (journal.source / "0.jpg").read_bytes() == b"edited"


def test_what_its_user_changed_afterwards_is_left_where_it_is(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, "move")
    carry_out(journal)
    (journal.into / "cat" / "0.jpg").write_bytes(b"edited")
    (journal.into / "cat" / "1.jpg").rename(journal.into / "cat" / "renamed.jpg")
    (journal.source / "2.jpg").write_bytes(b"somebody's")
    assert take_back(journal) == ["something lies where it was", "it is gone", "it was changed since"]
    assert sorted(tree(journal.into)) == ["cat/0.jpg", "cat/2.jpg", "cat/renamed.jpg"]
    assert tree(journal.source)["2.jpg"][0] == b"somebody's"


def test_the_only_copy_that_is_left_is_not_removed(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, "copy")
    carry_out(journal)
    (journal.source / "0.jpg").unlink()
    assert take_back(journal) == ["its original is gone or was changed, and this is the only one left"]
    assert (journal.into / "cat" / "0.jpg").read_bytes() == b"picture 0"


def test_a_link_that_leads_out_is_not_followed_back(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, "move")
    carry_out(journal)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(journal.source / "deep")
    (journal.source / "deep").symlink_to(elsewhere)
    assert take_back(journal) == ["a link leads out of the folder"]
    assert list(elsewhere.iterdir()) == []


@pytest.fixture
def other_disk() -> Iterator[Path]:
    place = Path("/dev/shm")
    if not place.is_dir() or place.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        pytest.skip("there is no second file system at hand")
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


def test_to_another_disk_it_is_copied_compared_and_only_then_removed(
    tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journal_of(tmp_path, "move")
    journal = Journal(other_disk / "j", journal.source, other_disk / "into", "move", {}, ["cat"], journal.steps)
    before = tree(tmp_path)
    monkeypatch.setattr(module, "sha256_of", str)
    assert set(carry_out(journal)) == {"it could not be brought there (what was copied is not what lay there)"}
    assert tree(tmp_path) == before
    assert tree(other_disk) == {}
    monkeypatch.undo()
    assert carry_out(journal) == []
    assert tree(journal.source) == {}
    assert take_back(journal) == []
    assert tree(tmp_path) == before


def test_files_of_one_size_and_time_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, "move", count=1)
    (step,) = journal.steps
    make_folders(journal)
    other = journal.into / step.target
    other.write_bytes(b"PICTURE 0")
    os.utime(other, ns=(10**9, step.time))
    assert carry_out(journal) == ["something lies in its place"]
    assert (journal.source / step.source).exists()
    other.unlink()
    assert carry_out(journal) == []
    new = journal.source / step.source
    new.write_bytes(b"PICTURE 0")
    os.utime(new, ns=(10**9, step.time))
    assert take_back(journal) == ["something lies where it was"]
    assert (journal.into / step.target).read_bytes() == b"picture 0"


def test_a_disk_with_coarse_times_gives_back_what_it_took(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, "move", count=1)
    carry_out(journal)
    target, time = journal.into / journal.steps[0].target, journal.steps[0].time
    os.utime(target, ns=(time, time // (2 * 10**9) * 2 * 10**9))
    assert carry_out(journal) == []
    assert take_back(journal) == []
    assert (journal.source / journal.steps[0].source).read_bytes() == b"picture 0"


def test_a_copy_whose_original_was_edited_since_is_kept(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, "copy", count=1)
    carry_out(journal)
    (journal.source / "0.jpg").write_bytes(b"edited")
    assert take_back(journal) == ["its original is gone or was changed, and this is the only one left"]


def test_one_file_that_cannot_be_read_is_left_and_a_full_disk_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, copy = journal_of(tmp_path, "copy"), shutil.copyfile

    def refusing(number: int) -> Callable[..., object]:
        def call(source: Path, target: Path) -> object:
            if source.name == "1.jpg":
                raise OSError(number, os.strerror(number), str(source))
            return copy(source, target)

        return call

    monkeypatch.setattr(shutil, "copyfile", refusing(errno.EIO))
    assert carry_out(journal) == ["it could not be brought there (Input/output error)"]
    assert len(tree(journal.into)) == 2
    monkeypatch.setattr(shutil, "copyfile", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space"):
        carry_out(journal)


def test_what_was_left_half_copied_goes_on_the_way_back(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, "copy")
    carry_out(journal)
    (journal.into / "cat" / ".sort.0123abcd.partial").write_bytes(b"half")
    clear_leftovers(journal)
    assert take_back(journal) == []
    assert not (journal.into / "cat").exists()


def test_nothing_is_sorted_through_a_link_that_leads_out(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, "move", count=1)
    journal.into.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (journal.into / "cat").symlink_to(tmp_path / "elsewhere")
    assert carry_out(journal) == ["a link leads out of the folder"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("by", ["move", "copy", "hardlink"])
def test_a_folder_that_became_a_link_to_the_other_loses_nothing(tmp_path: Path, by: str) -> None:
    journal = journal_of(tmp_path, by, count=1)
    carry_out(journal)
    shutil.rmtree(journal.source)
    journal.source.symlink_to(journal.into / "cat")
    assert take_back(journal) == ["a link makes one folder of where it was and where it is"]
    assert (journal.into / "cat" / "0.jpg").read_bytes() == b"picture 0"


def test_on_a_disk_without_hard_links_a_name_that_was_taken_is_known_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    def killed(*_: object) -> None:
        raise Stopped

    journal = journal_of(tmp_path, "move", count=1)
    before = tree(journal.source)
    make_folders(journal)
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", no_link)
        patch.setattr(Path, "replace", killed)
        with pytest.raises(Stopped):
            do(journal, journal.steps[0])
    assert list(tree(journal.into)) == ["cat/0.jpg"]
    assert tree(journal.source) == before
    monkeypatch.setattr(os, "link", no_link)
    assert carry_out(journal) == []
    assert tree(journal.source) == {}
    assert take_back(journal) == []
    assert tree(journal.source) == before


def test_a_folder_that_is_not_there_now_is_not_made_for_it(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, "move", count=1)
    carry_out(journal)
    shutil.rmtree(journal.source)
    assert take_back(journal) == [f"there is no folder {journal.source}"]
    assert not journal.source.exists()
    assert (journal.into / "cat" / "0.jpg").exists()
