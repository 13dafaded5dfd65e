from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.data.decoding.decoder import decode_picture
from sightline.data.decoding.transforms import resize_image
from sightline.data.inputs.pixels import decoding_size, read_pixels
from sightline.data.inputs.properties import FORMATS, MEASURED, measured, measured_rows
from sightline.records import InputSpec

RGB = InputSpec(32, 32, "rgb", "fit", "mixed")
GREY = InputSpec(8, 8, "grey", "stretch", "dark")


def properties(image: np.ndarray, spec: InputSpec = RGB) -> dict[str, float]:
    found = measured(resize_image(image, spec), spec, size=image.shape[:2])
    return dict(zip(MEASURED, found.tolist(), strict=True))


def photograph(seed: int, height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def test_what_is_measured_by_hand() -> None:
    image = np.zeros((8, 8, 1), np.uint8)
    image[::2] = 255
    found = properties(image, GREY)
    assert (found["width"], found["height"]) == (8, 8)
    assert found["brightness"] == pytest.approx(0.5)
    assert found["contrast"] == pytest.approx(0.5)
    # Of the four neighbours two are as the pixel is.
    assert found["sharpness"] == pytest.approx(1.0)
    assert np.isnan([found["colour"], found["format"]]).all()


def test_each_change_moves_its_own_property() -> None:
    image = photograph(0, 64, 64)
    usual = properties(image)
    darker, flatter = image // 2, (image // 2 + 64)
    assert properties(darker)["brightness"] == pytest.approx(usual["brightness"] / 2, rel=0.02)
    assert properties(darker)["sharpness"] == pytest.approx(usual["sharpness"], rel=0.02)
    assert properties(flatter)["contrast"] == pytest.approx(usual["contrast"] / 2, rel=0.02)
    blurred = np.asarray(Image.fromarray(image).resize((16, 16)).resize((64, 64)))
    assert properties(blurred)["sharpness"] < 0.8 * usual["sharpness"]
    grey = np.repeat(np.asarray(Image.fromarray(image).convert("L"))[..., None], 3, axis=2)
    assert properties(grey)["colour"] == 0
    assert properties(grey)["brightness"] == pytest.approx(usual["brightness"], abs=0.005)


def test_the_border_around_a_narrow_image_is_not_measured() -> None:
    narrow = np.full((60, 20, 3), 250, np.uint8)
    found = properties(narrow)
    assert (found["width"], found["height"]) == (20, 60)
    assert (found["brightness"], found["contrast"]) == (pytest.approx(250 / 255), pytest.approx(0, abs=1e-6))


def test_an_image_of_one_colour_and_one_of_one_pixel_are_measured() -> None:
    for image in (np.full((9, 9, 3), 7, np.uint8), np.zeros((1, 1, 3), np.uint8), np.zeros((1, 500, 3), np.uint8)):
        assert properties(image)["sharpness"] == 0


def test_rows_that_were_read_before_have_the_properties_of_their_decoded_files(tmp_path: Path) -> None:
    for number, (name, size) in enumerate(
        {"a.jpg": (600, 800), "b.png": (40, 24), "c.bmp": (33, 64), "d.webp": (120, 120), "e.tif": (64, 48)}.items()
    ):
        (tmp_path / "photos" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(photograph(number, *size))
        exif = Image.Exif()
        exif[0x0112] = 6 if name == "a.jpg" else 1  # turned: it stands upright
        picture.save(tmp_path / "photos" / "ab"[number % 2] / name, exif=exif)
    dataset = sightline.load(tmp_path / "photos")
    found = measured_rows(dataset, read_pixels(dataset, RGB), RGB)
    for row, name in enumerate(dataset.row_ids.tolist()):
        picture = decode_picture(tmp_path / "photos" / name, color_mode="rgb", minimum_size=decoding_size(RGB))
        fed = resize_image(picture.pixels, RGB)
        expected = measured(fed, RGB, size=(picture.height, picture.width), kind=picture.format)
        assert found[row].tolist() == expected.tolist()
        assert FORMATS[int(found[row, -1])] == picture.format
    tall = dataset.row_ids.tolist().index("a/a.jpg")
    assert found[tall, :2].tolist() == [600, 800]


def test_a_file_that_cannot_be_read_has_no_properties(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (20, 20)).save(tmp_path / name / "good.png")
    (tmp_path / "a" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    dataset = sightline.load(tmp_path)
    found = measured_rows(dataset, read_pixels(dataset, RGB), RGB)
    assert np.isnan(found).all(axis=1).tolist() == [name.endswith("bad.png") for name in dataset.row_ids]


def test_arrays_have_no_format() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    dataset = sightline.load({"x_train": images, "y_train": np.arange(5) % 2})
    found = measured_rows(dataset, read_pixels(dataset, GREY), GREY)
    assert found.shape == (5, len(MEASURED))
    assert np.isnan(found[:, -1]).all()
    assert found[:, 2] == pytest.approx(images.mean(axis=(1, 2, 3)) / 255, rel=1e-5)
