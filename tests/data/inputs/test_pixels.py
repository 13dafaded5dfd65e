"""Every image at network size: decoded once, cached whole or not at all."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.data.decoding import transforms
from sightline.data.decoding.decoder import decode_image
from sightline.data.decoding.transforms import resize_image
from sightline.data.duplicates.fingerprints import empty_signatures
from sightline.data.inputs import pixels as module
from sightline.data.inputs.pixels import Pixels, raw_images, read_pixels
from sightline.errors import InvalidSource, UnreadableImage
from sightline.records import InputSpec

SPEC = InputSpec(24, 24, "rgb")


def read_image(source, spec):
    """As networks are fed it: the one decoder, then the one resize."""
    image = decode_image(source, color_mode=spec.color_mode, minimum_size=(spec.height, spec.width))
    return resize_image(image, spec)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 20 photographs of several shapes, and one file in each that is none."""
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(20):
            shape = (30 + number, 60 - number, 3)
            Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number:02d}.png")
        (folder / "99.jpg").write_bytes(b"\xff\xd8\xff\xe0 half a photograph")
    return tmp_path / "photos"


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are decoded from now on."""
    decoded: list[str] = []
    usual = module.decode_row

    def decode(files, row, **options):
        decoded.append(files.names[row])
        return usual(files, row, **options)

    monkeypatch.setattr(module, "decode_row", decode)
    return decoded


def test_the_cache_holds_what_the_one_decoder_and_the_one_resize_give(photos, cache):
    data = sightline.load(photos)
    found = read_pixels(data, SPEC)
    for row, name in enumerate(data.row_ids.tolist()):
        if name.endswith("99.jpg"):
            assert row in found.errors
        else:
            assert np.array_equal(found[row], read_image(photos / name, SPEC)), name


def test_an_image_is_known_by_its_shape_and_pixels_however_it_was_stored(tmp_path, cache):
    # The digests are in bundles: what they learned from is known again by them, so they stay what they are.
    rows, columns = np.mgrid[:375, :500]
    image = np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=2).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    for folder in ("some", "others"):
        (tmp_path / "stored" / folder).mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / "stored" / folder / "plain.png")
    Image.fromarray(image).save(tmp_path / "stored" / "some" / "plain.bmp")
    Image.fromarray(image).save(tmp_path / "stored" / "some" / "plain.webp", lossless=True)
    Image.fromarray(image).rotate(90, expand=True).save(tmp_path / "stored" / "some" / "turned.png", exif=exif)
    signatures = read_pixels(sightline.load(tmp_path / "stored"), SPEC).signatures
    assert signatures is not None
    assert len(signatures) == 5
    assert set(signatures.digests.tolist()) == {hashlib.sha256(b"(375, 500, 3)" + image.tobytes()).digest()}
    assert signatures.digests[0].hex() == "8f8ebcbec013395118b8d313f2385ae0acef0ecc19c376a16e9f70f21bb0efda"


def test_signatures_are_those_of_the_pixels_copied_by_hand(tmp_path, cache, photos):
    more = tmp_path / "more"
    for number, (mode, name) in enumerate(
        [("RGB", "a/1.jpg"), ("CMYK", "a/2.jpg"), ("L", "b/3.jpg"), ("RGBA", "b/4.png")]
    ):
        (more / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (333, 517, 3), dtype=np.uint8)
        Image.fromarray(noise).convert(mode).save(more / name)
    for folder in (photos, more):
        data, by_hand = sightline.load(folder), empty_signatures(1)
        found = read_pixels(data, SPEC)
        assert found.signatures is not None
        for row in set(range(len(data))) - set(found.errors):
            image = decode_image(folder / data.row_ids[row], color_mode="rgb", minimum_size=(64, 64))
            by_hand.put(0, image)
            for name, values in by_hand.to_arrays().items():
                assert np.array_equal(found.signatures.to_arrays()[name][row], values[0]), (data.row_ids[row], name)
            assert np.array_equal(found[row], resize_image(image, SPEC)), data.row_ids[row]


def test_unreadable_files_are_rows_with_a_reason(photos, cache):
    found = read_pixels(sightline.load(photos), SPEC)
    assert len(found.errors) == 2
    assert all("JPEG" in reason for reason in found.errors.values()), found.errors
    assert not any("99.jpg: " in reason for reason in found.errors.values()), "the name is said once, by who prints it"


def test_the_second_reading_decodes_only_what_could_not_be_read(photos, cache, monkeypatch):
    data = sightline.load(photos)
    first = read_pixels(data, SPEC)
    decoded = count_decoded(monkeypatch)
    second = read_pixels(data, SPEC)
    assert [data.row_ids[row] for row in sorted(first.errors)] == sorted(decoded) == ["cat/99.jpg", "dog/99.jpg"]
    assert np.array_equal(first[:], second[:])
    assert first.errors == second.errors
    assert np.array_equal(first.signatures.digests, second.signatures.digests)


def test_what_could_not_be_read_is_read_as_soon_as_something_can(photos, cache, monkeypatch):
    data = sightline.load(photos)
    usual = module.decode_row

    def refuse(files, row, **options):
        if row == 3:
            raise UnreadableImage("needs another decoder.")
        return usual(files, row, **options)

    monkeypatch.setattr(module, "decode_row", refuse)
    assert 3 in read_pixels(data, SPEC).errors
    monkeypatch.setattr(module, "decode_row", usual)
    found = read_pixels(data, SPEC)
    assert 3 not in found.errors
    assert np.array_equal(found[3], read_image(photos / str(data.row_ids[3]), SPEC))


def test_other_files_of_the_same_names_sizes_and_times_are_decoded(photos, cache):
    """As two archives leave them that were packed with one time for all."""
    generator = np.random.default_rng(1)

    def write_noise(name: str) -> None:
        Image.fromarray(generator.integers(0, 256, (30, 30, 3), dtype=np.uint8)).save(photos / name)
        os.utime(photos / name, ns=(5, 5))

    names = ["cat/a.bmp", "dog/b.bmp"]
    for name in names:
        write_noise(name)
    earlier = sightline.load(photos)
    read_pixels(earlier, SPEC)
    for name in names:
        write_noise(name)
    again = sightline.load(photos)
    assert again.fingerprint == earlier.fingerprint
    found = read_pixels(again, SPEC)
    for name in names:
        assert np.array_equal(found[again.row_ids.tolist().index(name)], read_image(photos / name, SPEC))


def test_a_file_that_changes_while_it_is_decoded_is_not_kept(photos, cache, monkeypatch):
    data = sightline.load(photos)
    usual = module.decode_row

    def change_after(files, row, **options):
        found = usual(files, row, **options)
        if row == 0:
            os.utime(photos / "cat" / "00.png", ns=(7, 7))
        return found

    monkeypatch.setattr(module, "decode_row", change_after)
    read_pixels(data, SPEC)
    monkeypatch.setattr(module, "decode_row", usual)
    decoded = count_decoded(monkeypatch)
    read_pixels(sightline.load(photos), SPEC)
    assert "cat/00.png" in decoded


def test_one_file_more_costs_one_file_and_fewer_rows_cost_nothing(photos, cache, monkeypatch):
    for broken in photos.rglob("*.jpg"):
        broken.unlink()
    whole = read_pixels(sightline.load(photos), SPEC)[:]
    decoded = count_decoded(monkeypatch)
    data = sightline.load(photos)
    rows = np.array([30, 2, 3])
    assert np.array_equal(read_pixels(data.take(rows), SPEC)[:], whole[rows])
    assert np.array_equal(read_pixels(sightline.load(photos, label_from="last"), SPEC)[:], whole)
    assert decoded == []
    Image.new("RGB", (50, 50), "red").save(photos / "cat" / "05a.png")
    more = read_pixels(sightline.load(photos), SPEC)
    assert decoded == ["cat/05a.png"]
    assert np.array_equal(more[:], np.insert(whole, 6, more[6], axis=0))
    assert more[6][0, 0].tolist() == [255, 0, 0]


def test_a_changed_file_another_size_and_another_rule_are_decoded_anew(photos, cache):
    data = sightline.load(photos)
    read_pixels(data, SPEC)
    read_pixels(data, InputSpec(24, 24, "rgb", "stretch"))
    read_pixels(data, InputSpec(20, 20, "rgb"))
    assert len(list((cache / "pixels").iterdir())) == 3
    black = Image.new("RGB", (50, 50))
    black.save(photos / "cat" / "00.png")
    os.utime(photos / "cat" / "00.png", (1, 1))
    again = read_pixels(sightline.load(photos), SPEC)
    assert again[0].max() == 0


def test_other_rows_of_the_same_source_are_never_taken_for_one_another(photos, cache):
    dataset = sightline.load(photos)
    everything = read_pixels(dataset, SPEC)[:]
    # Two parts of equal length: the same number of bytes, of other images.
    first, second = np.arange(0, len(dataset) - 1), np.arange(1, len(dataset))
    assert np.array_equal(read_pixels(dataset.take(first), SPEC)[:], everything[first])
    assert np.array_equal(read_pixels(dataset.take(second), SPEC)[:], everything[second])
    assert np.array_equal(read_pixels(dataset.take(first[::-1]), SPEC)[:], everything[first[::-1]])


def test_taken_rows_share_the_pixels_and_keep_their_errors(photos, cache):
    found = read_pixels(sightline.load(photos), SPEC)
    broken = next(iter(found.errors))
    rows = np.array([broken + 2, broken, broken - 1])
    part = found.take(rows)
    assert part.shape == (3, 24, 24, 3)
    assert part.errors == {1: found.errors[broken]}
    assert np.array_equal(part[0], found[broken + 2])
    assert np.array_equal(part[:], np.stack([found[row] for row in rows.tolist()]))
    assert part.stored is found.stored


def test_rows_that_follow_one_another_are_not_copied():
    stored = np.zeros((10, 2, 2, 1), np.uint8)
    found = Pixels(stored, np.arange(10), {})
    assert np.shares_memory(found[2:6], stored)
    assert len(found[np.array([], dtype=np.int64)]) == 0


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x80
    path.write_bytes(data)


@pytest.mark.parametrize("file", ["images.bin", "signature_pixels.bin", "index.npz", "entry.json"])
@pytest.mark.parametrize("damage", [b"damaged", b"", lambda path: flip(path, 30), lambda path: flip(path, -9)])
def test_a_damaged_cache_is_as_good_as_none(photos, cache, file, damage):
    data = sightline.load(photos)
    whole = read_pixels(data, SPEC)
    expected, thumbnails = np.array(whole[:]), np.array(whole.signatures.pixels)
    (path,) = cache.glob(f"pixels/*/{file}")
    if callable(damage):
        damage(path)
    else:
        path.write_bytes(damage)
    for _ in range(2):
        found = read_pixels(data, SPEC)
        assert np.array_equal(found[:], expected)
        assert np.array_equal(found.signatures.pixels, thumbnails)


def test_damage_is_found_where_it_is_read_and_costs_what_lies_near(photos, cache, monkeypatch, capsys):
    data, spec = sightline.load(photos), InputSpec(400, 400, "rgb")
    whole = np.array(read_pixels(data, spec)[:])
    (path,) = cache.glob("pixels/*/images.bin")
    flip(path, -3 * whole[0].nbytes)
    found = read_pixels(data, spec)
    decoded = count_decoded(monkeypatch)
    assert np.array_equal(found[:30], whole[:30])
    assert decoded == []
    assert np.array_equal(found[30:40], whole[30:40])
    assert set(decoded) <= {"dog/16.png", "dog/17.png", "dog/18.png"}, "two of them make up a chunk"
    assert "damaged since it was written" in capsys.readouterr().err
    assert not list(cache.glob("pixels/*/images.bin")), "the next command decodes it anew"


def test_where_the_cache_is_damaged_and_the_file_is_gone_nothing_is_learned_from(photos, cache):
    data, spec = sightline.load(photos), InputSpec(400, 400, "rgb")
    read_pixels(data, spec)
    (path,) = cache.glob("pixels/*/images.bin")
    flip(path, 100)
    found = read_pixels(data, spec)
    (photos / "cat" / "00.png").unlink()
    with pytest.raises(InvalidSource, match="the cache is damaged, and images that it held cannot be read"):
        found[:]


def test_two_runs_at_once_both_get_whole_pixels(photos, cache):
    data = sightline.load(photos)
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(read_pixels(data, SPEC)[:])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(found[0], other) for other in found)
    assert len([entry for entry in (cache / "pixels").iterdir() if not entry.name.startswith(".")]) == 1


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_a_run_that_was_killed_while_it_writes_leaves_nothing_that_is_taken_for_whole(photos, cache):
    code = f"""
        import time, numpy as np, sightline
        from sightline.data.inputs import pixels
        from sightline.records import InputSpec
        usual = pixels.resize_image
        def slowly(image, spec, **more):
            time.sleep(0.3)
            return usual(image, spec, **more)
        pixels.resize_image = slowly
        pixels.read_pixels(sightline.load({str(photos)!r}), InputSpec(24, 24, "rgb"))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    deadline = time.monotonic() + 60
    while not list(cache.glob("pixels/.*.partial/images.bin")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was killed in the middle"
    found = read_pixels(sightline.load(photos), SPEC)
    assert np.array_equal(found[0], read_image(photos / "cat" / "00.png", SPEC))


def test_images_that_do_not_fit_in_the_cache_are_kept_in_memory_and_it_is_said(photos, cache, capsys):
    data = sightline.load(photos)
    found = read_pixels(data, SPEC, limit_gib=1e-6)
    assert "kept in memory" in capsys.readouterr().err
    assert not list(cache.glob("pixels/*"))
    assert np.array_equal(found[0], read_image(photos / "cat" / "00.png", SPEC))


def test_a_cache_that_cannot_be_written_does_not_stop_a_run(photos, tmp_path, monkeypatch, capsys):
    (tmp_path / "in-the-way").write_text("a file where the cache folder should be")
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "in-the-way"))
    found = read_pixels(sightline.load(photos), SPEC)
    assert "kept in memory" in capsys.readouterr().err
    assert np.array_equal(found[0], read_image(photos / "cat" / "00.png", SPEC))


def test_arrays_of_the_right_shape_are_handed_on_and_others_are_resized():
    images = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), dtype=np.uint8)
    arrays = {"x_train": images, "y_train": np.array([0, 1, 0, 1, 0])}
    data = sightline.load(arrays)
    assert np.shares_memory(read_pixels(data, SPEC)[:], data.images)
    assert read_pixels(data, InputSpec(10, 12, "grey"))[:].shape == (5, 10, 12, 1)


def test_arrays_that_would_grow_too_large_are_resized_as_they_are_read(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (20, 12, 16, 1), dtype=np.uint8)
    data = sightline.load(
        {"x_train": images, "y_train": np.arange(20) % 2, "x_test": images, "y_test": np.arange(20) % 2}
    )
    whole = read_pixels(data, SPEC)
    monkeypatch.setattr(transforms, "MOST_RESIZED_BYTES", 1000)
    lazy = read_pixels(data, SPEC)
    assert isinstance(lazy.stored, transforms.ResizedOnReading)
    rows = np.array([7, 0, 31])
    assert np.array_equal(lazy[rows], whole[rows])
    assert np.array_equal(lazy[3:9], whole[3:9])
    assert np.array_equal(lazy[5], whole[5])
    assert lazy.take(rows).shape == (3, 24, 24, 3)


def test_raw_images_have_their_own_size_and_leave_out_the_unreadable(photos):
    data = sightline.load(photos)
    rows = np.array([0, 20, 21])
    images, errors = raw_images(data, rows)
    assert [image.shape for image in images] == [(30, 60, 3), (30, 60, 3)]
    assert list(errors) == [20]
