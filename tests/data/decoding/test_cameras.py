from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from sightline.data.decoding.tiff import camera_model


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_the_model_that_pillow_wrote_is_read(image_format: str) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "  PowerShot\t42 ", 3
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), (1, 2, 3)).save(stream, image_format, exif=exif)
    assert camera_model(stream.getvalue()) == "PowerShot 42"


def test_a_file_without_exif_has_no_camera() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30)).save(stream, "JPEG")
    assert camera_model(stream.getvalue()) == ""


def test_damaged_blocks_are_silent() -> None:
    generator = np.random.default_rng(0)
    whole = b"Exif\0\0" + bytes.fromhex("4d4d002a00000008 0001 0110 0002 00000003 58310000")
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[generator.integers(6, len(whole))] = generator.integers(256)
        assert isinstance(camera_model(bytes(damaged[: generator.integers(len(whole) + 1)])), str)
