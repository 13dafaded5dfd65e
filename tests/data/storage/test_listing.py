"""One walk for training, prediction and likeness: what it finds, what ends it, what it could not enter."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sightline.bundles.given_images import find_images
from sightline.data.decoding.containers import read_bytes
from sightline.data.sources.loading import holds_files
from sightline.data.sources.local.folders import list_folder
from sightline.errors import UnreadableImage
from sightline.system.progress import reporting

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links, pipes and closed doors are POSIX")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "cat").mkdir(parents=True)
    (tmp_path / "in" / "cat" / "1.jpg").write_bytes(b"1")
    return tmp_path / "in"


def found(folder: Path) -> list[str]:
    return [str(Path(path).relative_to(folder)) for path in find_images([folder])]


def test_prediction_and_training_find_the_same_files_through_links(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "9.jpg").write_bytes(b"9")
    (folder / "linked").symlink_to(tmp_path / "far")
    (folder / "cat" / "2.jpg").symlink_to(tmp_path / "far" / "9.jpg")
    assert found(folder) == sorted(list_folder(folder)[0].names) == ["cat/1.jpg", "cat/2.jpg", "linked/9.jpg"]


def test_prediction_passes_over_what_training_does_and_says_so_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "README.txt").write_text("what these are")
    (folder / "labels.csv").write_text("path,label\n")
    (folder / "cat" / "2").write_bytes(b"\xff\xd8\xff")  # begins like one
    (folder / "cat" / "3.jpg").write_text("a text that claims to be one")
    os.mkfifo(folder / "cat" / "pipe")
    with reporting("plain"):
        assert found(folder) == ["cat/1.jpg", "cat/2", "cat/3.jpg", "cat/pipe"]  # no pipe is opened, for it to be told
    said = capsys.readouterr().err
    assert (
        said
        == f"note: {folder}: 2 files are no images and are passed over, such as README.txt (a text, not an image)\n"
    )
    (folder / "labels.csv").unlink()
    with reporting("plain"):
        assert find_images([folder / "README.txt", folder])[0] == str(folder / "README.txt"), "what is named is a row"
    said = capsys.readouterr().err
    assert said == f"note: {folder}: README.txt is no image and is passed over (a text, not an image)\n"


def test_what_sightline_wrote_into_a_folder_is_said_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run in ("runs-1", "runs-2"):
        (folder / run).mkdir()
        for name in ("recipe.json", "splits.csv", "curves.png"):
            (folder / run / name).write_text("")
    with reporting("plain"):
        assert found(folder) == ["cat/1.jpg"]
    said = capsys.readouterr().err
    assert said == f"note: {folder}: 'runs-1', 'runs-2' were written by Sightline and are left out\n"


def test_links_in_circles_end_and_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "cat" / "up").symlink_to(folder)
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    with reporting("plain"):
        assert found(folder) == ["a", "b", "cat/1.jpg"]  # a link that leads nowhere is a row, and cannot be read
    assert "cat/up: this link leads back to a folder that it lies in" in "".join(capsys.readouterr())


def test_no_depth_is_too_deep(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(1100):
            Path("d").mkdir()
            os.chdir("d")
        Path("x.jpg").touch()
        assert found(folder) == ["cat/1.jpg", "d/" * 1100 + "x.jpg"]
        Path("x.jpg").unlink()
        for _ in range(1100):  # no function of the library removes that deep
            os.chdir("..")
            Path("d").rmdir()
    finally:
        os.chdir(here)


def test_pipes_and_sockets_are_rows_that_cannot_be_read_and_none_is_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket.jpg"))
        assert found(folder) == ["cat/1.jpg", "pipe.jpg", "socket.jpg"]
        for name in ("pipe.jpg", "socket.jpg"):
            with pytest.raises(UnreadableImage, match="a pipe or device"):
                read_bytes(folder / name)


def test_a_folder_that_cannot_be_entered_is_a_row_and_is_said(
    ordinary_user: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (ordinary_user / "closed").mkdir()
    (ordinary_user / "1.jpg").touch()
    (ordinary_user / "closed").chmod(0)
    with reporting("plain"):
        assert found(ordinary_user) == ["1.jpg", "closed"]
        assert find_images([ordinary_user / "closed"]) == [str(ordinary_user / "closed")]
    assert "closed: this folder cannot be read (Permission denied)" in "".join(capsys.readouterr())


def test_what_sightline_wrote_is_not_answered(folder: Path) -> None:
    for name in ("runs/a-001/recipe.json", "runs/a-001/splits.csv", "runs/a-001/curves.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert found(folder) == ["cat/1.jpg"]


def test_a_file_in_a_folder_that_cannot_be_entered_is_a_row(ordinary_user: Path) -> None:
    (ordinary_user / "closed").mkdir()
    (ordinary_user / "closed").chmod(0)
    inner = ordinary_user / "closed" / "1.jpg"
    assert find_images([inner]) == [str(inner)]
    assert not holds_files(inner)
    with pytest.raises(UnreadableImage, match="reading it is not permitted"):
        read_bytes(inner)
