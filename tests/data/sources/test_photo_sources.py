"""Folders, tables and archives of photographs as people really have them."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.data.inputs.pixels import raw_images
from sightline.data.storage.stores import decode_row
from sightline.errors import InvalidSource, UnreadableImage

SIGN_DIGITS = Path(__file__).resolve().parents[4] / "shared" / "data" / "sign_digits"


def photograph(level: int = 100) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (12, 10), (level, 0, 255 - level)).save(stream, "PNG")
    return stream.getvalue()


def put(folder: Path, *names: str) -> Path:
    """Write one small photograph under each name, each of its own colour."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photograph(number % 256))
    return folder


def rows(data: sightline.Dataset) -> dict[str, tuple[str, str]]:
    """Row id to class name and given split."""
    return {
        str(row_id): (data.class_names[label], str(split))
        for row_id, label, split in zip(data.row_ids, data.labels, data.given_splits, strict=True)
    }


# Folders


def test_a_sub_folder_is_a_class_and_nothing_is_opened_or_changed(tmp_path):
    put(tmp_path, "cat/1.png", "cat/2.JPG", "dog/1.webp")
    before = sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    data = sightline.load(tmp_path)
    assert rows(data) == {"cat/1.png": ("cat", ""), "cat/2.JPG": ("cat", ""), "dog/1.webp": ("dog", "")}
    assert sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_split_folders_are_honoured_under_all_their_names_and_a_split_may_lack_a_class(tmp_path):
    put(tmp_path, "Train/cat/1.png", "Train/dog/1.png", "val/cat/2.png", "test/dog/3.png", "test/cat/3.png")
    data = sightline.load(tmp_path)
    assert rows(data)["val/cat/2.png"] == ("cat", "validation")
    assert rows(data)["test/dog/3.png"] == ("dog", "test")
    assert data.class_names == ("cat", "dog")
    assert any("'validation' has no image of 'dog'" in remark for remark in data.remarks)


def test_a_class_called_test_beside_other_classes_is_a_class(tmp_path):
    data = sightline.load(put(tmp_path, "test/1.png", "train/1.png", "control/1.png"))
    assert data.class_names == ("control", "test", "train")
    assert set(data.given_splits.tolist()) == {""}


def test_names_that_differ_in_case_between_splits_are_one_class_and_it_is_said(tmp_path):
    data = sightline.load(put(tmp_path, "train/Cat/1.png", "train/dog/1.png", "test/cat /2.png", "test/dog/2.png"))
    assert data.class_names == ("Cat", "dog")
    assert rows(data)["test/cat /2.png"] == ("Cat", "test")
    assert any("one class" in remark for remark in data.remarks)


def test_names_that_differ_in_case_within_a_level_are_suspicious_and_never_fused(tmp_path):
    data = sightline.load(put(tmp_path, "Cat/1.png", "cat/1.png", "dog/1.png"))
    assert data.class_names == ("Cat", "cat", "dog")
    assert any("kept apart" in remark for remark in data.remarks)


def test_nested_folders_are_named_by_the_first_or_the_last_level(tmp_path):
    put(tmp_path, "animals/cat/1.png", "animals/dog/1.png", "things/cup/1.png")
    assert sightline.load(tmp_path).class_names == ("animals", "things")
    assert sightline.load(tmp_path, label_from="last").class_names == ("cat", "cup", "dog")
    with pytest.raises(sightline.SightlineError, match="middle"):
        sightline.load(tmp_path, label_from="middle")


def test_hidden_files_and_junk_are_passed_over_and_all_else_is_a_row_or_left_out(tmp_path):
    put(tmp_path, "cat/1.png", "dog/1.png", "cat/.hidden.png", ".git/x.png", "__MACOSX/cat/1.png", "cat/scraped.php")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"junk")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "cat" / "empty.png").write_bytes(b"")
    put(tmp_path, "stray.png")
    data = sightline.load(tmp_path)
    assert set(rows(data)) == {"cat/1.png", "cat/empty.png", "cat/scraped.php", "dog/1.png"}
    reasons = dict(data.left_out)
    assert set(reasons) == {"cat/notes.txt", "stray.png"}
    assert "text" in reasons["cat/notes.txt"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_followed_and_circles_and_loose_ends_are_named(tmp_path):
    put(tmp_path / "photos", "cat/1.png", "dog/1.png")
    put(tmp_path / "elsewhere", "9.png")
    (tmp_path / "photos" / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "cat" / "again").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    data = sightline.load(tmp_path / "photos")
    assert set(rows(data)) == {"cat/1.png", "dog/1.png", "cat/more/9.png"}
    reasons = dict(data.left_out)
    assert "back to a folder" in reasons["cat/again"]
    assert "nowhere" in reasons["dog/gone.png"]


@pytest.mark.skipif(os.name == "nt", reason="numbers of files are not looked up on Windows")
@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "link to the folder"])
def test_one_file_in_two_classes_by_a_link_is_told_as_a_contradiction(kind, tmp_path):
    first = put(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png") / "cat" / "1.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)).save(first)
    os.link(first, tmp_path / "cat" / "again.png")
    assert sightline.load(tmp_path).remarks == ()  # of one class, it is a copy like others
    if kind == "link to the folder":
        (tmp_path / "hen").symlink_to(first.parent)
    else:
        (tmp_path / "hen").mkdir()
        (os.symlink if kind == "symbolic link" else os.link)(first, tmp_path / "hen" / "1.png")
    (remark,) = sightline.load(tmp_path).remarks
    assert "in several classes at once, such as 'cat/1.png' and 'hen/1.png': their labels contradict" in remark
    found = sightline.audit(tmp_path).findings
    assert any(one.kind == "contradicting-labels" and "hen/1.png" in one.paths for one in found)


@pytest.mark.skipif(os.name == "nt", reason="names are UTF-16 on Windows")
def test_names_that_are_not_utf8_are_printable_unique_and_readable(tmp_path):
    put(tmp_path, "cat/1.png", "dog/1.png")
    for name in (b"caf\xe9.png", b"caf\\xe9.png"):
        (Path(os.fsdecode(os.fsencode(tmp_path / "cat") + b"/" + name))).write_bytes(photograph(7))
    data = sightline.load(tmp_path)
    assert len(set(data.row_ids.tolist())) == 4
    for row_id in data.row_ids.tolist():
        row_id.encode("utf-8")
    images, errors = raw_images(data, np.arange(4))
    assert not errors
    assert len(images) == 4


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "there is no file in it"),
        (("1.png", "2.png"), "no sub-folder a class"),
        (("cat/1.png", "cat/2.png"), "one class only"),
    ],
)
def test_folders_that_cannot_be_a_source_are_refused_with_the_remedy(tmp_path, names, message):
    with pytest.raises(InvalidSource, match=message):
        sightline.load(put(tmp_path, *names))


def test_the_fingerprint_changes_with_the_files_and_with_nothing_else(tmp_path):
    put(tmp_path, "cat/1.png", "dog/1.png")
    first = sightline.load(tmp_path).fingerprint
    assert sightline.load(tmp_path).fingerprint == first
    os.utime(tmp_path / "cat" / "1.png", (5, 5))
    second = sightline.load(tmp_path).fingerprint
    put(tmp_path, "dog/2.png")
    assert len({first, second, sightline.load(tmp_path).fingerprint}) == 3


def test_a_file_that_changes_or_goes_while_it_is_used_is_an_error_row(tmp_path):
    data = sightline.load(put(tmp_path, "cat/1.png", "dog/1.png"))
    (tmp_path / "cat" / "1.png").write_bytes(photograph(3) + b"more")
    (tmp_path / "dog" / "1.png").unlink()
    _, errors = raw_images(data, np.arange(2))
    assert "changed" in errors[0]
    assert "gone" in errors[1]


# Tables


def table(tmp_path: Path, text: str, name: str = "labels.csv") -> Path:
    put(tmp_path, "a.png", "b.png", "c.png", "deep/d.png")
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_a_table_names_files_relative_to_itself_with_split_group_and_weight(tmp_path):
    path = table(
        tmp_path,
        "\ufeffPath;Label;split;group;weight\n"
        f"a.png;cat;train;g1;1\n{tmp_path / 'b.png'};dog;val;g1;2.5\ndeep/d.png;cat;test;;1\n",
    )
    data = sightline.load(path)
    assert [split for _, split in rows(data).values()] == ["train", "validation", "test"]
    assert data.groups.tolist() == ["g1", "g1", "deep/d.png"]
    assert data.weights.tolist() == [1, 2.5, 1]
    assert not raw_images(data, np.arange(3))[1]


def test_tabs_and_other_column_names_are_understood(tmp_path):
    data = sightline.load(table(tmp_path, "filename\tclass\na.png\tcat\nb.png\tdog\n", "labels.tsv"))
    assert data.class_names == ("cat", "dog")


def test_missing_files_empty_labels_and_contradictions_are_listed(tmp_path):
    path = table(
        tmp_path, "path,label\na.png,cat\nb.png,dog\ngone.png,cat\nc.png,\na.png,cat\ndeep/d.png,cat\ndeep/d.png,dog\n"
    )
    data = sightline.load(path)
    assert set(rows(data)) == {"a.png", "b.png"}
    reasons = dict(data.left_out)
    assert "no such file" in reasons["gone.png"]
    assert "no label" in reasons["c.png"]
    assert "different labels: cat, dog (lines 7, 8)" in reasons["deep/d.png"]
    assert any("1 of 3 files" in remark for remark in data.remarks)
    assert any("1 lines name a file that stands" in remark for remark in data.remarks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\na.png,cat\n", "has no column 'path'; found name, label"),
        ("path,text\na.png,cat\n", "has no column 'label'"),
        ("", "no line at all"),
        ("path,label\na.png,cat;dog\nb.png,dog\n", "several labels"),
        ('path,label\na.png,"[""cat"", ""dog""]"\nb.png,dog\n', "several labels"),
        ("path,label,split\na.png,cat,later\nb.png,dog,train\n", "line 2 has the split 'later'"),
        ("path,label,weight\na.png,cat,-1\nb.png,dog,1\n", "line 2 has the weight '-1'"),
        ("path,label,weight\na.png,cat,nan\nb.png,dog,1\n", "line 2 has the weight 'nan'"),
        ("path,label\nx.png,cat\ny.png,dog\n", "none of the 2 files it names exists"),
        ("path,label\na.png,cat\nb.png,cat\n", "one class only"),
    ],
)
def test_tables_that_cannot_be_a_source_are_refused_by_line(tmp_path, text, message):
    with pytest.raises(InvalidSource, match=message.replace("[", r"\[")):
        sightline.load(table(tmp_path, text))


def test_a_table_that_is_not_utf8_is_refused(tmp_path):
    path = table(tmp_path, "")
    path.write_bytes("path,label\na.png,größe\n".encode("latin-1"))
    with pytest.raises(InvalidSource, match="UTF-8"):
        sightline.load(path)


# Archives


def make_zip(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, name in enumerate(names):
            archive.writestr(name, photograph(number))
    return path


def make_tar(path: Path, names: list[str], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for number, name in enumerate(names):
            content = photograph(number)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


NAMES = ["photos/cat/1.png", "photos/dog/1.png", "photos/dog/2.png", "photos/.hidden/3.png"]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_archives_are_read_in_place_as_folders_are(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / f"pets.{kind}"
    if kind == "zip":
        make_zip(path, NAMES)
    else:
        make_tar(path, NAMES, "w" if kind == "tar" else f"w:{kind[4:]}")
    data = sightline.load(path)
    assert data.name == "pets"
    assert rows(data) == {name: (name.split("/")[1], "") for name in NAMES[:3]}
    for row, name in enumerate(data.row_ids.tolist()):
        image = decode_row(data.images, row, color_mode="rgb", minimum_size=(8, 8)).pixels
        assert image[0, 0, 0] == NAMES.index(name)
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name != "cache") == [path.name]


def test_members_that_lead_out_of_the_archive_are_left_out(tmp_path):
    path = make_zip(tmp_path / "a.zip", ["cat/1.png", "dog/1.png", "../evil.png", "/etc/evil.png", "cat/../../x.png"])
    data = sightline.load(path)
    assert len(data) == 2
    assert all("leads out" in reason for _, reason in data.left_out)
    assert len(data.left_out) == 3


def test_links_and_devices_in_a_tar_are_left_out(tmp_path):
    path = make_tar(tmp_path / "a.tar", ["cat/1.png", "dog/1.png"])
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("cat/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    data = sightline.load(path)
    assert len(data) == 2
    assert dict(data.left_out) == {"cat/link.png": "is a link or a device"}


def test_damaged_archives_are_refused_and_damaged_members_are_error_rows(tmp_path):
    path = make_zip(tmp_path / "a.zip", ["cat/1.png", "dog/1.png"])
    content = bytearray(path.read_bytes())
    content[60:70] = bytes(10)
    path.write_bytes(bytes(content))
    data = sightline.load(path)
    with pytest.raises(UnreadableImage):
        decode_row(data.images, 0, color_mode="rgb", minimum_size=(8, 8))
    for name in ("b.zip", "b.tar", "b.tar.gz"):
        (tmp_path / name).write_bytes(b"no archive at all")
        with pytest.raises(InvalidSource, match="cannot be read as an archive"):
            sightline.load(tmp_path / name)


def test_an_archive_that_expands_without_end_is_refused(tmp_path, monkeypatch):
    from sightline.data.sources.local import archives

    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(archives, "MOST_EXPANDED_BYTES", 100)
    make_zip(tmp_path / "a.zip", ["cat/1.png", "dog/1.png"])
    make_tar(tmp_path / "a.tar.gz", ["cat/1.png", "dog/1.png"], "w:gz")
    for name in ("a.zip", "a.tar.gz"):
        with pytest.raises(InvalidSource, match="expand"):
            sightline.load(tmp_path / name)
    assert not list((tmp_path / "cache").rglob("plain.tar"))


@pytest.mark.skipif(not SIGN_DIGITS.is_dir(), reason="the photographs of hand signs are not at hand")
def test_two_thousand_real_photographs_are_opened():
    data = sightline.load(SIGN_DIGITS)
    assert len(data) == 2062
    assert data.class_names == tuple("0123456789")
    assert not data.left_out
