"""Features: computed once, kept whole or not at all, never taken for those of other images."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles import features as module
from sightline.bundles.bundle import load_bundle
from sightline.bundles.features import feature_tables
from sightline.bundles.sessions import open_session
from sightline.data.inputs.pixels import read_pixels
from sightline.records import InputSpec, View

OUTPUTS = {"features": (1280,)}
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


def darkened(rows: np.ndarray, images: np.ndarray) -> np.ndarray:
    """A view that depends on the row, as random ones do."""
    return (images / (2 + rows[:, None, None, None])).astype(np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def session():
    return open_session(load_bundle("imagenet"))


def test_a_table_holds_what_the_network_gives(session) -> None:
    table = feature_tables(session, IMAGES, outputs=OUTPUTS)["features"]
    (expected,) = session.outputs(IMAGES, ["features"])
    assert table.dtype == np.float16
    assert np.allclose(table[:], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("error")
def test_what_a_table_cannot_hold_is_its_largest_number(session, monkeypatch) -> None:
    huge = np.full((len(IMAGES), 1280), -1e30, np.float32)
    monkeypatch.setattr(session, "portions", lambda *_, **__: iter([(0, [huge])]))
    table = feature_tables(session, IMAGES, outputs=OUTPUTS)["features"]
    assert np.array_equal(table[:], np.full(huge.shape, np.finfo(np.float16).min))


def test_the_second_reading_computes_nothing_and_gives_the_same(session, monkeypatch) -> None:
    first = np.array(feature_tables(session, IMAGES, outputs=OUTPUTS)["features"][:])
    monkeypatch.setattr(module, "_fill", lambda *_: pytest.fail("computed again"))
    assert np.array_equal(feature_tables(session, IMAGES, outputs=OUTPUTS)["features"][:], first)


def test_other_pixels_and_another_view_have_tables_of_their_own(session, cache) -> None:
    first = feature_tables(session, IMAGES, outputs=OUTPUTS)["features"]
    other = feature_tables(session, 255 - IMAGES, outputs=OUTPUTS)["features"]
    turned = feature_tables(session, IMAGES, outputs=OUTPUTS, view=View(1, "darker", darkened))["features"]
    assert not np.allclose(first[:], other[:])
    assert not np.allclose(first[:], turned[:])
    assert len(list((cache / "features").iterdir())) == 3


def test_a_run_that_is_cut_off_leaves_nothing_that_is_taken_for_whole(session, cache, monkeypatch) -> None:
    usual = module._fill

    def cut_off(session, images, view, rows, tables):
        usual(session, images, view, rows[:2], {name: table[:2] for name, table in tables.items()})
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_fill", cut_off)
    with pytest.raises(KeyboardInterrupt):
        feature_tables(session, IMAGES, outputs=OUTPUTS)
    assert list((cache / "features").iterdir()) == []
    monkeypatch.setattr(module, "_fill", usual)
    table = feature_tables(session, IMAGES, outputs=OUTPUTS)["features"]
    assert np.allclose(table[:], session.outputs(IMAGES, ["features"])[0], rtol=1e-3, atol=1e-3)


def _flipped(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 0x80]) + data[101:]


@pytest.mark.parametrize(
    "damage", [_flipped, lambda data: data[: len(data) // 2], lambda data: b"text", lambda data: b""]
)
def test_a_damaged_table_is_computed_again(session, cache, damage) -> None:
    first = np.array(feature_tables(session, IMAGES, outputs=OUTPUTS)["features"][:])
    (file,) = (cache / "features").glob("*/features.bin")
    file.write_bytes(damage(file.read_bytes()))
    assert np.array_equal(feature_tables(session, IMAGES, outputs=OUTPUTS)["features"][:], first)


def test_one_image_more_costs_one_image(session, monkeypatch) -> None:
    first = np.array(feature_tables(session, IMAGES[:4], outputs=OUTPUTS)["features"][:])
    usual, computed = module._fill, []
    monkeypatch.setattr(module, "_fill", lambda *parts: (computed.append(parts[3].tolist()), usual(*parts))[1])
    more = feature_tables(session, IMAGES[[3, 4, 0, 1]], outputs=OUTPUTS)["features"]
    assert computed == [[1]]
    assert np.array_equal(more[np.array([2, 3, 0])], first[[0, 1, 3]])
    assert np.allclose(more[1], session.outputs(IMAGES[4:], ["features"])[0][0], rtol=1e-3, atol=1e-3)


def test_a_random_view_is_that_of_its_row_however_much_is_known_already(session) -> None:
    view = View(1, "darker by row", darkened)
    feature_tables(session, IMAGES[:3], outputs=OUTPUTS, view=view)
    table = feature_tables(session, IMAGES, outputs=OUTPUTS, view=view)["features"]
    (expected,) = session.outputs(darkened(np.arange(5), IMAGES), ["features"])
    assert np.allclose(table[:], expected, rtol=1e-3, atol=1e-3)


def test_a_cache_that_cannot_be_written_only_costs_time(session, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "file"))
    table = feature_tables(session, IMAGES, outputs=OUTPUTS)["features"]
    assert table.shape == (5, 1280)


def test_a_full_disk_only_costs_time_and_leaves_nothing(session, tmp_path, monkeypatch) -> None:
    """On a real small disk: a mapped file whose room was not taken beforehand ends the whole process here."""
    small = tmp_path / "small"
    small.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)]
    if mount is None or subprocess.run([mount, *options], check=False, capture_output=True).returncode != 0:
        pytest.skip("no small disk can be mounted here")
    try:
        monkeypatch.setenv("SIGHTLINE_CACHE", str(small))
        images = np.broadcast_to(IMAGES[:1], (120, 64, 64, 3))
        table = feature_tables(session, images, outputs=OUTPUTS)["features"]
        assert np.array_equal(table[0], table[119])
        assert list((small / "features").iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_folder_that_changes_under_way_costs_the_changed_files_and_mixes_none_up(session, tmp_path) -> None:
    folder = tmp_path / "photos"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.roll(IMAGES[number], ord(name), axis=1)).save(folder / name / f"{number}.png")
    spec = InputSpec(64, 64, "rgb")
    listed = sightline.load(folder)
    (folder / "a" / "1.png").unlink()
    (folder / "b" / "2.png").write_bytes((folder / "b" / "2.png").read_bytes() + b"more")
    pixels = read_pixels(listed, spec)
    assert [str(listed.row_ids[row]) for row in sorted(pixels.errors)] == ["a/1.png", "b/2.png"]
    assert all("since the source was opened" in reason for reason in pixels.errors.values())
    # What is decoded is what features are computed of, whatever becomes of the folder.
    shutil.rmtree(folder)
    table = feature_tables(session, pixels, outputs=OUTPUTS)["features"]
    for row in set(range(8)) - set(pixels.errors):
        image = np.roll(IMAGES[row % 4], ord("ab"[row // 4]), axis=1)
        assert np.allclose(table[row], session.outputs(image[None], ["features"])[0][0], rtol=1e-2, atol=1e-2)
