"""By what images are known again: never by what an archive or a copy brings along."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.data.decoding.decoder import decode_image
from sightline.data.decoding.formats import IMAGE_FORMATS
from sightline.data.storage.stores import (
    FolderStore,
    TarStore,
    content_identities,
    decode_row,
    file_identities,
    header_of,
    image_sizes,
)
from sightline.errors import UnreadableImage
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


SIGN_DIGITS = Path(__file__).resolve().parents[4] / "shared" / "data" / "sign_digits"


def encoded(picture: Image.Image, image_format: str, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, image_format, **options)
    return stream.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, name in enumerate(("cat/1.png", "cat/2.png", "dog/1.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded(Image.new("L", (5, 4), number), "PNG"))
    return tmp_path


def test_a_folder_gives_the_bytes_of_its_files(photos):
    files = sightline.load(photos).images
    content = (photos / "cat" / "2.png").read_bytes()
    assert (files.read(1), files.size(1), files.head(1, 8)) == (content, len(content), content[:8])
    assert decode_row(files, 2, color_mode="grey", minimum_size=(1, 1)).pixels[0, 0, 0] == 2


def test_the_reason_of_an_unreadable_row_holds_no_name(photos):
    (photos / "cat" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    files = sightline.load(photos).images
    with pytest.raises(UnreadableImage) as refusal:
        decode_row(files, 0, color_mode="grey", minimum_size=(1, 1))
    assert "1.png" not in str(refusal.value)
    assert "PNG" in str(refusal.value)


def test_a_file_that_is_gone_or_has_another_size_is_told(photos):
    files = sightline.load(photos).images
    (photos / "cat" / "1.png").unlink()
    with (photos / "cat" / "2.png").open("ab") as stream:
        stream.write(b"!")
    with pytest.raises(UnreadableImage, match=r"^gone since the source was opened"):
        files.read(0)
    with pytest.raises(UnreadableImage, match=r"^has changed since the source was opened \(\d+ bytes then, \d+ now\)"):
        files.read(1)
    assert files.read(2)


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_headers_agree_with_the_decoder_in_every_format(image_format, mode):
    picture = Image.effect_noise((37, 23), 60).convert(mode)
    data = encoded(picture, image_format)
    height, width, channels = header_of(data)
    assert (height, width) == decode_image(data, color_mode="rgb").shape[:2]
    if image_format not in ("WEBP", "AVIF", "GIF"):  # which store colours whatever they are given
        assert channels == (1 if mode == "L" else 3)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("LA", 1), ("I;16", 1), ("P", 3), ("RGBA", 3)])
def test_modes_of_png_are_grey_or_coloured(mode, channels):
    picture = Image.new("RGB", (4, 3), (200, 30, 30)).convert("P") if mode == "P" else Image.new(mode, (4, 3))
    assert header_of(encoded(picture, "PNG")) == (3, 4, channels)


def test_a_palette_of_greys_is_grey():
    assert header_of(encoded(Image.effect_noise((9, 8), 50).convert("L"), "GIF")) == (8, 9, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_those_of_the_upright_image(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif)
    assert header_of(data)[:2] == ((30, 20) if orientation >= 5 else (20, 30))


def test_a_header_behind_a_large_profile_is_found(tmp_path):
    data = encoded(Image.new("RGB", (30, 20)), "JPEG", icc_profile=os.urandom(300_000))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.jpg").write_bytes(data)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert image_sizes(sightline.load(tmp_path).images, np.arange(2)).tolist() == [[20, 30, 3]] * 2
    assert header_of(data) == header_of(data[: 2**17], lambda: data) == (20, 30, 3)


def test_only_the_head_of_a_file_is_needed(tmp_path):
    data = encoded(Image.effect_noise((2000, 1500), 90), "PNG")
    assert len(data) > 10**6
    assert header_of(data[: 2**17]) == (1500, 2000, 1)


@pytest.mark.parametrize(
    "data", [b"", b"text", b"\xff\xd8\xff\xe0 half", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II\x2a\0 x", b"RIFFxxxxWEBP"]
)
def test_what_has_no_header_is_refused(data):
    with pytest.raises(UnreadableImage):
        header_of(data)


def test_a_bomb_is_refused_by_its_header():
    data = bytearray(encoded(Image.new("1", (8, 8)), "PNG"))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(UnreadableImage, match="60,000 x 60,000 pixels"):
        header_of(bytes(data))


def test_sizes_of_rows_are_zeros_where_nothing_can_be_read(photos):
    (photos / "cat" / "1.png").write_bytes(b"broken")
    files = sightline.load(photos).images
    assert image_sizes(files, np.array([2, 0, 1])).tolist() == [[4, 5, 1], [0, 0, 0], [4, 5, 1]]
    assert image_sizes(files, np.array([], dtype=np.int64)).shape == (0, 3)


@pytest.mark.skipif(not SIGN_DIGITS.is_dir(), reason="the photographs of hand signs are not at hand")
def test_sizes_of_two_thousand_real_photographs():
    data = sightline.load(SIGN_DIGITS)
    sizes = image_sizes(data.images, np.arange(len(data)))
    assert (sizes[:, 2] == 3).all()
    assert int((sizes[:, 0] == 3024).sum()) == 3
    assert int((sizes[:, 0] == 100).sum()) == 2059
