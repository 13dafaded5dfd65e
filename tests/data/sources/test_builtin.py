"""The embedded MNIST: the original, whole, fast, and refused if it is not."""

from __future__ import annotations

import gzip
import shutil
import stat
import struct
from pathlib import Path

import numpy as np
import pytest

from sightline.data.sources.builtin import MNIST_FOLDER, MNIST_MD5, read_mnist
from sightline.errors import InvalidSource


@pytest.fixture(scope="module")
def mnist():
    return read_mnist()


@pytest.fixture
def copied_folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MNIST_FOLDER, tmp_path / "mnist"))


def test_all_70000_images_are_there_with_their_labels(mnist) -> None:
    train_images, train_labels, test_images, test_labels = mnist
    assert (train_images.shape, train_images.dtype) == ((60_000, 28, 28, 1), np.uint8)
    assert (test_images.shape, test_images.dtype) == ((10_000, 28, 28, 1), np.uint8)
    assert (train_labels.shape, train_labels.dtype) == ((60_000,), np.int64)
    assert (test_labels.shape, test_labels.dtype) == ((10_000,), np.int64)


def test_the_first_labels_are_those_that_everyone_knows(mnist) -> None:
    assert mnist[1][:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist[3][:5].tolist() == [7, 2, 1, 0, 4]


def test_the_classes_are_as_frequent_as_published(mnist) -> None:
    assert np.bincount(mnist[1]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(mnist[3]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_digits_are_bright_on_a_dark_ground(mnist) -> None:
    for images in (mnist[0], mnist[2]):
        assert images.max() == 255
        assert np.median(images) == 0


def test_it_agrees_with_a_slow_reading_of_the_file_format(mnist) -> None:
    raw = gzip.decompress((MNIST_FOLDER / "t10k-images-idx3-ubyte.gz").read_bytes())
    assert struct.unpack(">4I", raw[:16]) == (2051, 10_000, 28, 28)
    last = [[raw[16 + 9_999 * 784 + row * 28 + column] for column in range(28)] for row in range(28)]
    assert mnist[2][9_999, :, :, 0].tolist() == last
    labels = gzip.decompress((MNIST_FOLDER / "t10k-labels-idx1-ubyte.gz").read_bytes())
    assert struct.unpack(">2I", labels[:8]) == (2049, 10_000)
    assert mnist[3].tolist() == list(labels[8:])


def test_the_package_carries_it_in_under_12_megabytes() -> None:
    assert sum(path.stat().st_size for path in MNIST_FOLDER.iterdir()) < 12_000_000


def test_a_read_only_folder_is_enough_and_stays_as_it_was(copied_folder: Path) -> None:
    before = sorted(path.name for path in copied_folder.iterdir())
    for path in [*copied_folder.iterdir(), copied_folder]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        assert len(read_mnist(copied_folder)[1]) == 60_000
        assert sorted(path.name for path in copied_folder.iterdir()) == before
    finally:
        copied_folder.chmod(0o755)


@pytest.mark.parametrize("name", MNIST_MD5)
def test_a_missing_file_is_named_with_the_remedy(name: str, copied_folder: Path) -> None:
    (copied_folder / f"{name}.gz").unlink()
    with pytest.raises(InvalidSource, match=rf"{name}\.gz is missing.*Run: pip install --force-reinstall"):
        read_mnist(copied_folder)


def test_one_altered_pixel_is_noticed(copied_folder: Path) -> None:
    path = copied_folder / "t10k-images-idx3-ubyte.gz"
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[5_000_000] ^= 1
    path.write_bytes(gzip.compress(bytes(raw), compresslevel=1))
    with pytest.raises(InvalidSource, match=r"t10k-images-idx3-ubyte\.gz was altered.*Run: pip install"):
        read_mnist(copied_folder)


@pytest.mark.parametrize("damage", ["cut short", "emptied", "flipped", "text"])
def test_a_damaged_file_is_named_with_the_remedy(damage: str, copied_folder: Path) -> None:
    path = copied_folder / "train-labels-idx1-ubyte.gz"
    content = path.read_bytes()
    flipped = content[:9_000] + bytes([content[9_000] ^ 255]) + content[9_001:]
    path.write_bytes({"cut short": content[:-100], "emptied": b"", "flipped": flipped, "text": b"hello"}[damage])
    with pytest.raises(InvalidSource, match=r"train-labels-idx1-ubyte\.gz .*Run: pip install --force-reinstall"):
        read_mnist(copied_folder)
