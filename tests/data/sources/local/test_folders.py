"""Folders as people have them: links, circles, strangers among the images, names of any bytes, closed doors."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

import sightline
from sightline.data.sources import loading  # before rights are given up, with which nothing more could be imported
from sightline.data.sources.local.folders import list_folder, read_folder
from sightline.errors import InvalidSource

on_posix = pytest.mark.skipif(os.name == "nt", reason="links, pipes and names of any bytes are POSIX")


def png(level: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (3, 2), level).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("cat/1.jpg", "cat/2.PNG", "dog/1.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png())
    return tmp_path / "photos"


def rows(data: sightline.Dataset) -> list[str]:
    return data.row_ids.tolist()


def test_sizes_times_and_order_are_those_of_the_files(photos):
    (photos / "cat" / "2.PNG").write_bytes(png() + b"tail")
    os.utime(photos / "cat" / "1.jpg", ns=(5, 7))
    files = read_folder(photos).images
    assert files.names == ("cat/1.jpg", "cat/2.PNG", "dog/1.jpg")
    assert files.num_bytes.tolist() == [len(png()), len(png()) + 4, len(png())]
    assert files.arrivals[0] == 7
    assert files.arrivals[2] == (photos / "dog" / "1.jpg").stat().st_mtime_ns


def test_the_columns_of_a_dataset_are_what_they_promise(photos):
    data = read_folder(photos)
    assert data.labels.dtype == "int64"
    assert data.row_ids.dtype.kind == data.given_splits.dtype.kind == "U"
    assert data.groups is None
    assert data.weights is None
    assert data.take(data.labels[:1] * 0).images.names == ("cat/1.jpg",)


def test_a_relative_folder_stays_the_same_when_the_process_moves(photos, monkeypatch, tmp_path):
    monkeypatch.chdir(photos.parent)
    data = read_folder(Path("photos"))
    monkeypatch.chdir("/")
    assert (data.images.place / data.images.names[0]).is_file()
    monkeypatch.chdir(photos)
    assert read_folder(Path()).name == "photos"


@pytest.mark.parametrize("name", ["scraped.php", "scraped.fcgi", "no-suffix", "photo.jpg.download", "odd.txt"])
def test_an_image_under_any_name_is_a_row(photos, name):
    (photos / "cat" / name).write_bytes(png())
    assert f"cat/{name}" in rows(read_folder(photos))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("notes.txt", b"remember the milk", "a text, not an image"),
        ("labels.csv", b"path,label\n", "a text, not an image"),
        ("page.html", b"<!DOCTYPE html><p>", "a web page"),
        ("paper.pdf", b"%PDF-1.7", "a PDF document"),
        ("film.mp4", b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "a video"),
        ("empty", b"", "empty file"),
    ],
)
def test_what_is_no_image_is_left_out_with_what_it_is(photos, name, content, reason):
    (photos / "cat" / name).write_bytes(content)
    data = read_folder(photos)
    assert len(data) == 3
    assert reason in dict(data.left_out)[f"cat/{name}"]


@pytest.mark.parametrize("name", ["image", "IMG_1.HEIC", "scan.DCM", "photo.jpg"])
@pytest.mark.parametrize(
    "content",
    [
        b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
        b"\0\0\0\x0cJXL \r\n\x87\n",
        bytes(128) + b"DICM",
        b"8BPS\0\1",
        b"FUJIFILMCCD-RAW ",
        b"\0\0\0\x18ftypcrx \0\0\0\1",
        b"IIRO\x08\0\0\0",
        b"\x76\x2f\x31\x01",
        b"<svg xmlns='x'/>",
    ],
)
def test_an_image_that_cannot_be_read_is_a_row_under_every_name(photos, name, content):
    (photos / "cat" / name).write_bytes(content)
    assert f"cat/{name}" in rows(read_folder(photos))


@pytest.mark.parametrize("suffix", ["heic", "jxl", "jp2", "dcm", "nef", "CR2", "arw", "dng", "psd", "tga", "exr"])
def test_a_file_that_is_called_an_image_is_a_row_whatever_it_holds(photos, suffix):
    (photos / "cat" / f"1.{suffix}").write_bytes(b"nobody knows")
    assert f"cat/1.{suffix}" in rows(read_folder(photos))


def test_a_damaged_file_with_an_image_suffix_is_a_row_and_fails_when_it_is_decoded(photos):
    (photos / "cat" / "broken.jpg").write_bytes(b"no image")
    assert "cat/broken.jpg" in rows(read_folder(photos))


def test_every_file_is_a_row_left_out_or_hidden(photos):
    for name in ("cat/readme.md", "stray.png", "dog/.DS_Store", "dog/Thumbs.db", "dog/deep/er/9.webp", "cat/x.zip"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(png() if name.endswith(("png", "webp")) else b"PK\x03\x04 or text")
    data = read_folder(photos)
    seen = {*rows(data), *(file for file, _ in data.left_out)}
    there = {str(path.relative_to(photos)) for path in photos.rglob("*") if path.is_file()}
    assert there - seen == {"dog/.DS_Store", "dog/Thumbs.db"}
    assert seen <= there


@on_posix
def test_links_to_files_and_folders_are_followed(photos, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "9.jpg").write_bytes(png())
    (photos / "cow").symlink_to(tmp_path / "far")
    (photos / "dog" / "2.jpg").symlink_to(tmp_path / "far" / "9.jpg")
    assert rows(read_folder(photos)) == ["cat/1.jpg", "cat/2.PNG", "cow/9.jpg", "dog/1.jpg", "dog/2.jpg"]


@on_posix
def test_a_link_in_a_circle_is_left_out_once_and_the_walk_ends(photos):
    (photos / "cat" / "self").symlink_to(photos / "cat")
    (photos / "cat" / "up").symlink_to(photos)
    (photos / "dog" / "loop").symlink_to(photos / "dog" / "loop")
    reasons = dict(read_folder(photos).left_out)
    assert "back to a folder" in reasons["cat/self"]
    assert "back to a folder" in reasons["cat/up"]
    assert "leads nowhere" in reasons["dog/loop"]


@on_posix
def test_links_that_multiply_without_a_circle_are_read_once_a_class(photos):
    web = photos / "cat" / "web"
    for number in range(12):
        (web / str(number)).mkdir(parents=True)
        (web / str(number) / "x.jpg").write_bytes(png())
    for number in range(12):
        for other in range(12):
            (web / str(number) / f"to{other}").symlink_to(web / str(other))
    data = read_folder(photos)
    assert sum(row.startswith("cat/web") for row in rows(data)) == 12
    assert len(data.left_out) == 144


@on_posix
def test_broken_links_and_pipes_are_left_out_and_never_opened(photos):
    (photos / "dog" / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    os.mkfifo(photos / "dog" / "pipe.jpg")
    os.mkfifo(photos / "dog" / "pipe")
    reasons = dict(read_folder(photos).left_out)
    assert "leads nowhere" in reasons["dog/gone.jpg"]
    assert "pipe or device" in reasons["dog/pipe.jpg"]
    assert "pipe or device" in reasons["dog/pipe"]


@on_posix
def test_names_and_classes_of_any_bytes_can_be_printed_and_written(photos):
    odd = os.fsdecode(os.fsencode(photos) + b"/sch\xf6n")
    Path(odd).mkdir()
    for name in (b"\xff.jpg", b"\\xff.jpg", b"line\nbreak.jpg", b"\x1b[31mred.jpg"):
        Path(odd, os.fsdecode(name)).write_bytes(png())
    data = read_folder(photos)
    assert len(set(rows(data))) == 7
    assert "sch\\xf6n" in data.class_names
    for text in (*rows(data), *data.class_names, repr(data)):
        assert text.isprintable()
        text.encode("utf-8")
    assert all((data.images.place / name).is_file() for name in data.images.names)


@on_posix
def test_a_folder_deeper_than_a_path_may_be_long_is_no_crash(photos):
    here = Path.cwd()
    try:
        os.chdir(photos / "cat")
        for _ in range(30):
            Path("d" * 200).mkdir()
            os.chdir("d" * 200)
    finally:
        os.chdir(here)
    data = read_folder(photos)
    assert len(data) == 3
    assert any("cannot be read" in reason for _, reason in data.left_out)
    shutil.rmtree(photos)


@on_posix
@pytest.mark.parametrize("shape", ["{}", "train/{}"])
def test_a_class_folder_that_cannot_be_read_is_refused_and_a_deeper_one_is_said(ordinary_user, shape):
    for name in ("cat", "dog", "cow", "cow/deep"):
        (ordinary_user / shape.format(name)).mkdir(parents=True)
        (ordinary_user / shape.format(name) / "1.jpg").write_bytes(png())
    (ordinary_user / shape.format("cow/deep")).chmod(0)
    data = read_folder(ordinary_user)
    assert data.class_names == ("cat", "cow", "dog")
    assert "permission" in dict(data.left_out)[shape.format("cow/deep")].lower()
    assert any("1 folder cannot be read" in remark for remark in data.remarks)
    (ordinary_user / shape.format("cow")).chmod(0)
    with pytest.raises(InvalidSource, match=r"cow' cannot be read \(Permission denied\), and a class would be missing"):
        read_folder(ordinary_user)


@on_posix
def test_a_source_that_cannot_be_read_is_refused(ordinary_user):
    (ordinary_user / "photos").mkdir()
    (ordinary_user / "photos").chmod(0)
    with pytest.raises(InvalidSource, match=r"photos: cannot be read \(Permission denied\)"):
        loading.load(ordinary_user / "photos")
    with pytest.raises(InvalidSource, match=r"inner: cannot be read \(Permission denied\)"):
        loading.load(ordinary_user / "photos" / "inner")


def test_a_class_with_one_image_is_not_refused_here(photos):
    assert read_folder(photos).class_counts() == {"cat": 2, "dog": 1}


def test_class_names_give_the_order_and_must_hold_every_class(photos):
    assert read_folder(photos, class_names=["dog", "cow", "cat"]).class_counts() == {"dog": 1, "cow": 0, "cat": 2}
    with pytest.raises(InvalidSource, match=r"holds the class 'dog', which class_names lacks. Did you mean 'dogs'"):
        read_folder(photos, class_names=["cat", "dogs"])
    with pytest.raises(InvalidSource, match="different names"):
        read_folder(photos, class_names=["cat", "cat", "dog"])


def test_the_fingerprint_tells_sizes_times_names_classes_and_order_apart(photos):
    def edit() -> None:
        status = (photos / "cat" / "1.jpg").stat()
        (photos / "cat" / "1.jpg").write_bytes(png()[:-1] + b"?")
        os.utime(photos / "cat" / "1.jpg", ns=(status.st_atime_ns, status.st_mtime_ns + 1))

    changes = [
        edit,
        lambda: (photos / "cat" / "1.jpg").rename(photos / "cat" / "0.jpg"),
        lambda: (photos / "cat").rename(photos / "Cat"),
        lambda: (photos / "dog" / "2.jpg").write_bytes(png()),
    ]
    prints = [read_folder(photos).fingerprint]
    for change in changes:
        change()
        prints.append(read_folder(photos).fingerprint)
    prints.append(read_folder(photos, class_names=["dog", "Cat"]).fingerprint)
    assert len(set(prints)) == len(prints)


def test_a_folder_that_is_moved_keeps_its_fingerprint(photos):
    before = read_folder(photos).fingerprint
    assert read_folder(photos.rename(photos.with_name("moved"))).fingerprint == before


def test_a_photograph_edited_in_place_is_noticed_at_the_next_opening(photos):
    before = read_folder(photos)
    (photos / "cat" / "1.jpg").write_bytes(png() + b"more")
    after = read_folder(photos)
    assert after.fingerprint != before.fingerprint
    assert after.images.num_bytes[0] == before.images.num_bytes[0] + 4


def test_ten_thousand_files_are_listed_in_seconds_and_held_in_little_memory(tmp_path):
    import time
    import tracemalloc

    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(5000):
            (tmp_path / name / f"IMG_{number:06d}.jpg").touch()
    started = time.perf_counter()
    listing, remarks = list_folder(tmp_path)
    assert len(listing.names) == 10_000
    assert not remarks
    assert time.perf_counter() - started < 10  # 0.2 s on an idle machine
    tracemalloc.start()
    data = read_folder(tmp_path)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept / len(data) < 500
