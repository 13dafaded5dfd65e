"""What may be given as images is told apart for certain, or refused with what to give instead."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.bundles.given_images import given_images, paths_of
from sightline.errors import InvalidValue, UnreadableImage


def zeros(*shape, dtype=np.uint8):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("array", "num_images", "shape"),
    [
        (zeros(28, 30), 1, (28, 30, 1)),
        (zeros(28, 30, 1), 1, (28, 30, 1)),
        (zeros(28, 30, 3), 1, (28, 30, 3)),
        (zeros(1, 28, 30), 1, (28, 30, 1)),
        (zeros(5, 28, 30), 5, (28, 30, 1)),
        (zeros(5, 28, 30, 1), 5, (28, 30, 1)),
        (zeros(5, 28, 30, 3), 5, (28, 30, 3)),
        (zeros(5, 3, 30, 3), 5, (3, 30, 3)),
    ],
)
def test_an_array_is_as_many_images_as_it_holds(array, num_images, shape):
    found = list(given_images(array))
    assert [image.content.shape for image in found] == [shape] * num_images
    assert [image.name for image in found] == [str(row) for row in range(num_images)]


@pytest.mark.parametrize(
    ("images", "remedy"),
    [
        (
            zeros(3, 28, 30),
            r"channels first, or 3 grey images\. Give numpy\.moveaxis\(images, 0, -1\)",
        ),
        ([zeros(3, 28, 30)], r"numpy\.moveaxis\(image, 0, -1\)"),
        (zeros(5, 3, 28, 30), r"numpy\.moveaxis\(images, 1, -1\)"),
        (zeros(5, 1, 28, 30), r"numpy\.moveaxis\(images, 1, -1\)"),
        (zeros(28, 30, 2), r"one image with 2 channels, or 28 grey images\. Give images\[\.\.\., :1\]"),
        (zeros(28, 30, 6), "one image with 6 channels"),
        (zeros(28, 30, 4), r"images\[\.\.\., :3\]"),
        (zeros(5, 28, 30, 4), r"images\[\.\.\., :3\]"),
        (zeros(5, 28, 30, 2), r"images must be one uint8 array .* got uint8 \(5, 28, 30, 2\)"),
        (zeros(28), "images must be one uint8 array"),
        (zeros(0, 28, 28), "there is no image to predict"),
        ([zeros(5, 28, 30, 3)], "an array in a list is one image"),
        ([zeros(0, 28)], "an array in a list is one image"),
        (zeros(28, 28, dtype=np.float32), r"to 0\. Convert it once: \(images \* 255\)\.round\(\)\.astype\('uint8'\)"),
        (zeros(28, 28, dtype=np.float64) + 200.5, r"Convert it once: images\.round\(\)\.astype\('uint8'\)"),
        (zeros(28, 28, dtype=np.float32) - 1, r"from -1 to -1\. Convert it once: .* if it was made to go from -1 to 1"),
        (zeros(28, 28, dtype=np.float32) * np.nan, "values that are no numbers"),
        (zeros(28, 28, dtype=np.uint16) + 4000, r"\(images >> 4\)\.astype"),
        (zeros(28, 28, dtype=np.int64), r"astype\('uint8'\)"),
        (zeros(28, 28, dtype=bool), r"images\.astype\('uint8'\) \* 255"),
        ([[[1, 2], [3, 4]]], "an image is a path, bytes, .* got list as number 0"),
        ([1, 2], "got int as number 0"),
        (7, "got int"),
        (None, "got NoneType"),
        (np.array("a"), "pixels must be uint8"),
        (io.StringIO("text"), "mode 'rb'"),
        (iter(["https://example.org/a.png"]), "is an address, and nothing is downloaded"),
        (Path("https://example.org/a.png"), "is an address, and nothing is downloaded"),
        ("file:///home/a.png", "is an address"),
        ("data:image/png;base64," + "A" * 5000, r"^data:image/png;base64,A{178}\.\.\. is an address"),
    ],
)
def test_what_could_be_read_in_two_ways_or_none_is_refused_with_what_to_give(images, remedy):
    with pytest.raises(InvalidValue, match=remedy):
        list(given_images(images))


def test_an_address_among_paths_is_refused():
    with pytest.raises(InvalidValue, match="is an address"):
        paths_of(["a.png", "s3://bucket/a.png"])
    assert paths_of(["a.png", "c:/b.png"]) == ["a.png", "c:/b.png"]
    assert paths_of([b"bytes", "a.png"]) is None


def test_a_pillow_image_is_turned_as_its_camera_says_and_white_where_it_is_transparent():
    turned = Image.new("L", (8, 4))
    turned.getexif()[0x0112] = 6
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    upright, white = (image.content for image in given_images([turned, clear]))
    assert upright.shape == (8, 4, 1)
    assert (white == 255).all()


def test_a_pillow_image_that_cannot_be_decoded_costs_its_row_alone():
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8)).save(stream, "PNG")
    torn = Image.open(io.BytesIO(stream.getvalue()[:2000]))
    first, second = given_images([torn, zeros(4, 4)])
    assert isinstance(first.content, UnreadableImage)
    assert second.content.shape == (4, 4, 1)
