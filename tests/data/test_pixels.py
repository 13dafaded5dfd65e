"""Every image at network size: decoded once, cached whole or not at all."""

from __future__ import annotations

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
from sightline.data import pixels as module, resizing
from sightline.data.caches import make_room
from sightline.data.images import read_image
from sightline.data.pixels import Pixels, raw_images, read_pixels
from sightline.records import InputSpec

SPEC = InputSpec(24, 24, "rgb")


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


def test_the_cache_holds_what_the_one_decoder_and_the_one_resize_give(photos, cache):
    data = sightline.load(photos)
    found = read_pixels(data, SPEC)
    for row, name in enumerate(data.row_ids.tolist()):
        if name.endswith("99.jpg"):
            assert row in found.errors
        else:
            assert np.array_equal(found[row], read_image(photos / name, SPEC)), name


def test_unreadable_files_are_rows_with_a_reason(photos, cache):
    found = read_pixels(sightline.load(photos), SPEC)
    assert len(found.errors) == 2
    assert all("JPEG" in reason for reason in found.errors.values()), found.errors
    assert not any("99.jpg: " in reason for reason in found.errors.values()), "the name is said once, by who prints it"


def test_the_second_reading_decodes_nothing_and_gives_the_same(photos, cache, monkeypatch):
    data = sightline.load(photos)
    first = read_pixels(data, SPEC)

    def decode_again(*arguments: object, **options: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(module, "decode_row", decode_again)
    second = read_pixels(data, SPEC)
    assert np.array_equal(first[:], second[:])
    assert first.errors == second.errors
    assert np.array_equal(first.signatures.digests, second.signatures.digests)


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
    assert np.shares_memory(part.stored, found.stored)


def test_rows_that_follow_one_another_are_not_copied():
    stored = np.zeros((10, 2, 2, 1), np.uint8)
    found = Pixels(stored, np.arange(10), {})
    assert np.shares_memory(found[2:6], stored)
    assert len(found[np.array([], dtype=np.int64)]) == 0


def test_a_damaged_cache_is_as_good_as_none(photos, cache):
    data = sightline.load(photos)
    whole = read_pixels(data, SPEC)[:]
    (folder,) = (cache / "pixels").iterdir()
    zipped = (folder / "rows.npz").read_bytes()
    flipped = zipped[:60] + bytes([zipped[60] ^ 255]) + zipped[61:]
    damages = (b"damaged", b"", zipped[:10], zipped[: len(zipped) // 2], flipped)
    for name, content in (*(("rows.npz", content) for content in damages), ("images.bin", b"short")):
        (folder / name).write_bytes(content)
        assert np.array_equal(read_pixels(data, SPEC)[:], whole), name


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
        from sightline.data import pixels
        from sightline.records import InputSpec
        usual = pixels.resize_image
        def slowly(image, spec):
            time.sleep(0.3)
            return usual(image, spec)
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


def test_the_cache_is_bounded_and_the_longest_unused_goes_first(tmp_path):
    for age, name in enumerate(("new", "middle", "old")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "images.bin").write_bytes(bytes(1000))
        os.utime(folder, (1_000_000 - age, 1_000_000 - age))
    make_room(tmp_path, 2500)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["middle", "new"]
    make_room(tmp_path, 0)
    assert not list(tmp_path.iterdir())


def test_what_killed_runs_left_behind_is_removed_after_a_day_and_not_before(tmp_path):
    for name, used in ((".a.partial", 1_000_000), (".b.partial", time.time())):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (used, used))
    make_room(tmp_path, 10**9)
    assert [path.name for path in tmp_path.iterdir()] == [".b.partial"]


def test_images_that_do_not_fit_in_the_cache_are_kept_in_memory_and_it_is_said(photos, cache, capsys):
    data = sightline.load(photos)
    found = read_pixels(data, SPEC, limit_gib=1e-6)
    assert "kept in memory" in capsys.readouterr().err
    assert not (cache / "pixels").exists()
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
    monkeypatch.setattr(resizing, "MOST_RESIZED_BYTES", 1000)
    lazy = read_pixels(data, SPEC)
    assert isinstance(lazy.stored, resizing.ResizedOnReading)
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
