"""Folders of runs: counted up, never shared, never taken from anybody."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sightline.configuration.schema import EnsembleRecipe, Recipe
from sightline.errors import CannotWrite, OutputExists
from sightline.system.files import check_free
from sightline.training.setup.run_folder import earlier_runs, give_up, make_run_folder, may_go_on


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_runs_are_counted_up_from_the_highest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert make_run_folder(None, stem="mnist-fast") == Path("runs/mnist-fast-001")
    assert make_run_folder(None, stem="mnist-fast") == Path("runs/mnist-fast-002")
    Path("runs/mnist-fast-009").mkdir()
    Path("runs/mnist-fast-abc").mkdir()
    Path("runs/mnist-fast-other-050").mkdir()
    assert make_run_folder(None, stem="mnist-fast") == Path("runs/mnist-fast-010")
    assert make_run_folder(None, stem="mnist") == Path("runs/mnist-001")


def test_a_run_after_number_999_gets_a_longer_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/mnist-fast-999").mkdir(parents=True)
    assert make_run_folder(None, stem="mnist-fast").name == "mnist-fast-1000"


def test_no_name_of_a_source_leads_out_of_the_folder_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for stem in ("../../evil", "a/b", "..", "名 前"):
        assert make_run_folder(None, stem=stem).resolve().parent == tmp_path / "runs"


def test_runs_that_start_at_once_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    starting = threading.Barrier(8)

    def make(_: int) -> Path:
        starting.wait()
        return make_run_folder(None, stem="mnist-fast")

    with ThreadPoolExecutor(8) as threads:
        folders = list(threads.map(make, range(8)))
    assert len(set(folders)) == 8
    assert names_in(Path("runs")) == sorted(folder.name for folder in folders)


@pytest.mark.parametrize("is_there", [False, True])
def test_of_two_commands_with_one_folder_only_one_starts(is_there: bool, tmp_path: Path) -> None:
    out, starting, refused = tmp_path / "deep" / "mine", threading.Barrier(8), []
    if is_there:
        out.mkdir(parents=True)

    def make(_: int) -> bool:
        starting.wait()
        try:
            make_run_folder(out, stem="mnist-fast")
        except OutputExists as error:
            refused.append(str(error))
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(make, range(8))) == 1
    assert len(refused) == 7
    assert all("is being written by another command" in text or "is not empty" in text for text in refused)
    give_up(out)
    check_free(out)


def test_a_file_called_runs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").write_text("mine")
    with pytest.raises(CannotWrite, match="runs: a part of the path is a file"):
        make_run_folder(None, stem="mnist-fast")
    assert Path("runs").read_text() == "mine"


def test_an_empty_or_missing_folder_is_free(tmp_path: Path) -> None:
    check_free(tmp_path)
    check_free(tmp_path / "missing")
    assert make_run_folder(tmp_path / "a" / "b", stem="mnist").is_dir()


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_a_taken_place_is_refused_and_untouched(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "folder":
        out.mkdir()
        (out / "mine").write_text("mine")
    else:
        out.symlink_to(tmp_path / "gone")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(OutputExists, match="out is a f"):
        make_run_folder(out, stem="mnist")
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_the_earlier_runs_of_a_name_are_those_that_are_counted_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert earlier_runs("a/b") == {}
    first, second = make_run_folder(None, stem="a/b"), make_run_folder(None, stem="a/b")
    make_run_folder(None, stem="a/b-c")
    assert earlier_runs("a/b") == {1: first, 2: second}


@pytest.mark.skipif(sys.platform == "win32", reason="has no such permissions")
def test_a_place_that_may_not_be_entered_is_refused_in_a_sentence(
    ordinary_user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ordinary_user)
    Path("runs").mkdir()
    Path("runs").chmod(0)
    ensemble = Recipe(ensemble=EnsembleRecipe(kind="bagging"))
    for way in (
        lambda: earlier_runs("mnist-fast"),
        lambda: make_run_folder(None, stem="mnist-fast"),
        lambda: check_free(Path("runs")),
        lambda: check_free(Path("runs/first")),
        lambda: may_go_on(Path("runs/first"), ensemble),
    ):
        with pytest.raises(CannotWrite, match=r"runs.*: no permission to write there"):
            way()
