"""Archives as they come from the internet: wrapped, hostile, damaged, compressed."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

import sightline
from sightline.data.decoding.containers import MAX_BYTES
from sightline.data.sources.local import archives
from sightline.data.sources.local.archives import read_archive
from sightline.data.storage import archive_members
from sightline.data.storage.stores import decode_row
from sightline.errors import CannotWrite, InvalidSource, UnreadableImage
from sightline.system.progress import reporting

TARS = ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"]


def png(level: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (3, 2), level).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pack(path: Path, contents: dict[str, bytes], *, stored: bool = False) -> Path:
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
        return path
    mode = {"gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(path.name.rsplit(".", 1)[1], "w")
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


PETS = {"cat/1.png": png(1), "cat/2.php": png(2), "dog/1.png": png(3), "dog/notes.txt": b"a text", ".git/x.png": png(4)}


@pytest.mark.parametrize("kind", ["zip", *TARS])
def test_every_archive_is_laid_out_as_a_folder_is(tmp_path, kind):
    data = read_archive(pack(tmp_path / f"pets.{kind}", PETS))
    assert data.name == "pets"
    assert data.row_ids.tolist() == ["cat/1.png", "cat/2.php", "dog/1.png"]
    assert [data.images.read(row) for row in range(3)] == [png(1), png(2), png(3)]
    assert dict(data.left_out)["dog/notes.txt"].startswith("a text")
    assert data.images.arrivals.tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_suffix_is_not_believed(tmp_path, kind):
    path = pack(tmp_path / f"pets.{kind}", PETS)
    assert len(sightline.load(path.rename(tmp_path / ("p.zip" if kind == "tar.gz" else "p.tar")))) == 3


def test_members_stored_as_they_are_are_read(tmp_path):
    data = read_archive(pack(tmp_path / "pets.zip", PETS, stored=True))
    assert data.images.read(2) == png(3)


def test_zips_written_to_a_stream_are_read(tmp_path):
    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self.content = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data) -> int:
            self.content += bytes(data)
            return len(data)

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:  # sizes follow the bytes
        for name, content in PETS.items():
            archive.writestr(name, content)
    (tmp_path / "pets.zip").write_bytes(stream.content)
    data = read_archive(tmp_path / "pets.zip")
    assert [data.images.read(row) for row in range(3)] == [png(1), png(2), png(3)]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_long_names_of_any_script_are_found(tmp_path, kind):
    names = [f"{'ordner/' * 30}größe 猫/{'x' * 150}.png", "dog/1.png"]
    data = read_archive(pack(tmp_path / f"a.{kind}", {name: png(5) for name in names}), label_from="last")
    assert sorted(data.row_ids.tolist()) == sorted(names)
    assert data.images.read(data.row_ids.tolist().index(names[0])) == png(5)


def test_many_threads_read_one_archive_at_once(tmp_path):
    contents = {f"{name}/{number}.png": png(number % 256) for name in ("cat", "dog") for number in range(100)}
    for kind in ("zip", "tar"):
        files = read_archive(pack(tmp_path / f"a.{kind}", contents)).images
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda row, files=files: files.read(row), range(200)))
        assert found == [contents[name] for name in files.names]


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", ["/etc/cat/x.png", "../x.png", "cat/../../x.png", "C:/cat/x.png", "cat//x.png"])
def test_paths_that_lead_elsewhere_are_left_out(tmp_path, kind, name):
    data = read_archive(pack(tmp_path / f"a.{kind}", {**PETS, name: png(9)}))
    assert len(data) == 3
    assert name in dict(data.left_out)


def test_backslashes_of_windows_part_folders_and_do_not_lead_out(tmp_path):
    path = pack(tmp_path / "a.zip", {"cat\\1.png": png(1), "dog\\1.png": png(2), "..\\x.png": png(3)})
    data = read_archive(path)
    assert data.class_names == ("cat", "dog")
    assert data.images.read(1) == png(2)
    assert "leads out" in dict(data.left_out)["../x.png"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_in_a_tar_are_never_followed(tmp_path, kind):
    path = pack(tmp_path / "a.tar", PETS)
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("cat/odd.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    assert dict(read_archive(path).left_out)["cat/odd.png"] == "is a link or a device"


def test_links_in_a_zip_are_never_followed(tmp_path):
    path = pack(tmp_path / "a.zip", PETS)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("cat/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert dict(read_archive(path).left_out)["cat/link.png"] == "is a link or a device"


def flip_flags(path: Path, name: bytes, bits: int) -> None:
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(name))
    content[at + 8] |= bits
    path.write_bytes(content)


def test_encrypted_members_are_left_out_with_the_remedy(tmp_path):
    path = pack(tmp_path / "a.zip", PETS)
    flip_flags(path, b"cat/1.png", 1)
    data = read_archive(path)
    assert "encrypted" in dict(data.left_out)["cat/1.png"]
    assert len(data) == 2


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_is_left_out_with_the_remedy(tmp_path, method):
    path = pack(tmp_path / "a.zip", PETS)
    with zipfile.ZipFile(path, "a", method) as archive:
        archive.writestr("cat/9.png", png(9))
    assert "pack it again" in dict(read_archive(path).left_out)["cat/9.png"]


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_of_two_members_with_one_name_the_last_counts(tmp_path, kind):
    path = pack(tmp_path / f"a.{kind}", PETS)
    if kind == "zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("cat/1.png", png(77))
    else:
        with tarfile.open(path, "a") as archive:
            member = tarfile.TarInfo("cat/1.png")
            member.size = len(png(77))
            archive.addfile(member, io.BytesIO(png(77)))
    data = read_archive(path)
    assert data.row_ids.tolist() == ["cat/1.png", "cat/2.php", "dog/1.png"]
    assert data.images.read(0) == png(77)
    assert "stands twice" in dict(data.left_out)["cat/1.png"]
    assert "a member of the archive has the name of a later one, which counts, such as 'cat/1.png'" in data.remarks


def test_the_fingerprint_follows_the_content(tmp_path):
    prints = []
    for level in (1, 1, 2):
        for kind in ("zip", "tar"):
            path = pack(tmp_path / f"a.{kind}", {**PETS, "cat/1.png": png(level)})
            os.utime(path, (level, level))
            prints.append(read_archive(path).fingerprint)
    assert prints[0] == prints[2] != prints[4]
    assert prints[1] == prints[3] != prints[5]


# Hostile


def test_a_member_larger_than_any_image_is_left_out(tmp_path):
    path = pack(tmp_path / "a.zip", PETS)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("cat/9.png", "w") as out,
    ):
        for _ in range(MAX_BYTES // 2**20 + 1):
            out.write(bytes(2**20))
    assert "at most" in dict(read_archive(path).left_out)["cat/9.png"]


def test_a_member_that_expands_to_more_than_it_declares_is_stopped(tmp_path):
    path = pack(tmp_path / "a.zip", {**PETS, "cat/0.png": bytes(10**7)})
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"cat/0.png"))
    content[at + 24 : at + 28] = struct.pack("<I", 500)
    path.write_bytes(content)
    data = read_archive(path)
    with pytest.raises(UnreadableImage, match=r"^expands to more than the 500 bytes"):
        data.images.read(0)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_that_expand_beyond_reason_are_refused(tmp_path, monkeypatch, cache, kind):
    path = pack(
        tmp_path / f"a.{kind}", {"cat/1.png": png(1) + bytes(4 * 10**6), "dog/1.png": png(2) + bytes(4 * 10**6)}
    )
    monkeypatch.setattr(archives, "FREE_BYTES", 10**6)
    with pytest.raises(InvalidSource, match=rf"a\.{kind}: [\d,]+ bytes that expand to .* If you trust it, unpack it"):
        sightline.load(path)
    assert not list(cache.rglob("plain.tar*"))


def test_a_compressed_tar_larger_than_the_cache_may_be_is_refused(tmp_path, monkeypatch, cache):
    path = pack(tmp_path / "a.tar.gz", {"cat/1.png": os.urandom(10**6), "dog/1.png": png(2)})
    monkeypatch.setenv("SIGHTLINE_CACHE_GIB", "0.0005")
    with pytest.raises(
        InvalidSource, match=r"expands to more than the 0.0005 GiB that the cache may hold.*SIGHTLINE_CACHE_GIB"
    ):
        read_archive(path)
    assert [entry.name for entry in cache.rglob("*") if entry.is_file()] == ["CACHEDIR.TAG"]


def test_a_crowd_of_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_members, "MOST_MEMBERS", 4)
    for kind in ("zip", "tar"):
        with pytest.raises(InvalidSource, match="more than 4 members"):
            read_archive(pack(tmp_path / f"a.{kind}", PETS))


# Damaged


@pytest.mark.parametrize("kind", ["zip", *TARS])
def test_a_truncated_archive_is_refused(tmp_path, kind):
    path = pack(tmp_path / f"a.{kind}", {**PETS, "dog/9.png": os.urandom(30_000)})
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InvalidSource, match=rf"a\.{kind}: cannot be read as an archive"):
        read_archive(path)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x1f\x8b", b"\x1f\x8bjunk that is no gzip", b"BZh9", b"PK\x03\x04", bytes(2000)]
)
@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_what_is_no_archive_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        InvalidSource, match=r"a\.(zip|tar|tar\.gz): (cannot be read as an archive|there is no file in it)"
    ):
        read_archive(tmp_path / name)


@pytest.mark.parametrize("size", [b"\x80" + b"\x7f" * 11, b"\xff" * 12])
def test_a_tar_whose_member_declares_an_impossible_size_is_refused(tmp_path, size):
    block = bytearray(tarfile.TarInfo("cat/x.png").tobuf(format=tarfile.USTAR_FORMAT))
    block[124:136] = size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    (tmp_path / "h.tar").write_bytes(bytes(block) + bytes(1024))
    with pytest.raises(InvalidSource, match=r"h\.tar: "):
        sightline.load(tmp_path / "h.tar")


def test_a_compressed_text_is_not_unpacked(tmp_path, cache):
    import gzip

    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(b"just text " * 1000))
    with pytest.raises(InvalidSource, match="no tar inside"):
        read_archive(tmp_path / "a.tar.gz")
    assert not cache.exists()


@pytest.mark.parametrize("stored", [True, False])
def test_bytes_that_changed_inside_a_zip_are_never_decoded(tmp_path, stored):
    path = pack(tmp_path / "a.zip", {"cat/1.png": os.urandom(2000), "dog/1.png": png(1)}, stored=stored)
    data = read_archive(path)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match="damaged inside the archive"):
        data.images.read(0)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_is_replaced_or_gone_is_noticed(tmp_path, kind):
    path = pack(tmp_path / f"a.{kind}", PETS)
    files = read_archive(path).images
    pack(path, {"elsewhere/and/longer.png": os.urandom(999), **{f"x/{number}": png(8) for number in range(9)}})
    with pytest.raises(UnreadableImage, match=r"changed|ends after"):
        files.read(2)
    path.unlink()
    with pytest.raises(UnreadableImage, match="the archive cannot be read: No such file"):
        decode_row(files, 0, color_mode="rgb", minimum_size=(1, 1))


# The cache of compressed tars


def test_a_compressed_tar_is_unpacked_once(tmp_path, cache):
    path = pack(tmp_path / "a.tar.gz", PETS)
    first = read_archive(path)
    plain = next(cache.rglob("plain.tar"))
    written = plain.stat().st_mtime_ns
    assert read_archive(path).fingerprint == first.fingerprint
    assert plain.stat().st_mtime_ns == written
    os.utime(path, (9, 9))
    read_archive(path)
    assert len(list(cache.rglob("plain.tar"))) == 2


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "without a checksum", "a pipe"])
def test_a_plain_tar_that_was_damaged_in_the_cache_is_noticed_and_made_again(tmp_path, cache, damage, capsys):
    path = pack(tmp_path / "a.tar.gz", PETS)
    read_archive(path)
    plain = next(cache.rglob("plain.tar"))
    content = bytearray(plain.read_bytes())
    at = content.index(png(3)) + 50
    content[at] ^= 1
    if damage == "gone":
        plain.unlink()
    elif damage == "a pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("this system has no named pipes")
        for path_in_cache in (plain, plain.with_name("plain.crc32")):
            path_in_cache.unlink()
            os.mkfifo(path_in_cache)
    elif damage == "without a checksum":
        next(cache.rglob("plain.crc32")).unlink()
    else:
        plain.write_bytes(content if damage == "changed" else content[:at])
    with reporting("plain"):
        data = read_archive(path)
    assert "damaged since it was written; the archive is unpacked again" in capsys.readouterr().err
    assert [data.images.read(row) for row in range(3)] == [png(1), png(2), png(3)]
    with reporting("plain"):
        read_archive(path)
    assert not capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_a_sentence_with_remedies(tmp_path, monkeypatch):
    path = pack(tmp_path / "a.tar.gz", PETS)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        CannotWrite, match=r"a\.tar\.gz: a compressed tar is unpacked once.*Set SIGHTLINE_CACHE to a folder"
    ):
        read_archive(path)
    assert len(read_archive(pack(tmp_path / "a.tar", PETS))) == 3, "a plain tar needs no cache"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is played by /dev/full")
def test_a_full_disk_while_unpacking_leaves_nothing_behind(tmp_path, monkeypatch, cache):
    import resource
    import signal

    path = pack(tmp_path / "a.tar.gz", {"cat/1.png": os.urandom(10**6), "dog/1.png": png(1)})
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, usual[1]))
    try:
        with pytest.raises(CannotWrite, match="unpacked once"):
            read_archive(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        signal.signal(signal.SIGXFSZ, handler)
    assert [entry.name for entry in cache.rglob("*") if entry.is_file()] == ["CACHEDIR.TAG"]
    assert len(read_archive(path)) == 2
