from __future__ import annotations

import gzip
import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from sightline.data.sources.downloads import keras_home, read_keras_dataset
from sightline.errors import UnknownName
from sightline.system.backends import installed_backends

pytestmark = pytest.mark.skipif(not installed_backends(), reason="no Keras backend is installed")

LOAD = """
import json, sys, sightline
try:
    dataset = sightline.load(sys.argv[1])
except sightline.SightlineError as error:
    sys.exit(f"{type(error).__name__}: {error}")
from sightline.data.inputs.pixels import read_pixels
from sightline.records import InputSpec
import numpy as np
spec = InputSpec(*json.loads(sys.argv[2]))
rows = np.flatnonzero(dataset.given_splits == "test")[:4]
print(json.dumps({
    "row_ids": dataset.row_ids[[0, -1]].tolist(), "names": dataset.class_names, "licence": dataset.licence,
    "num_test": int((dataset.given_splits == "test").sum()), "labels": dataset.labels[rows].tolist(),
    "pixels": read_pixels(dataset, spec)[rows].tolist(),
}))
"""


def offline(home: Path) -> dict[str, str]:
    """An environment in which every download goes to a port that nobody listens on."""
    closed = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), closed)
    kept = {key: value for key, value in os.environ.items() if key.lower() != "no_proxy"}
    return {**kept, **proxies, "KERAS_HOME": str(home)}


def write_idx(path: Path, array: np.ndarray) -> None:
    # Magic number: two zeros, 8 for unsigned bytes, the rank; then the lengths.
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes(), compresslevel=1))


def test_a_fashion_mnist_in_the_folder_of_keras_needs_no_network(tmp_path: Path, python) -> None:
    folder = tmp_path / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = (np.arange(40) % 10).astype(np.uint8)
    for split, rows in (("train", slice(0, 30)), ("t10k", slice(30, 40))):
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", images[rows])
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", labels[rows])
    answer = python(LOAD, "fashion-mnist", '[28, 28, "grey"]', env=offline(tmp_path))
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["num_test"], found["labels"], found["names"][9]) == (10, [0, 1, 2, 3], "Ankle boot")
    assert found["row_ids"] == ["train/00000", "test/00009"]
    assert found["licence"].startswith("MIT")
    np.testing.assert_array_equal(np.array(found["pixels"])[..., 0], images[30:34])


@pytest.mark.soak
def test_a_cifar10_comes_out_in_colour_with_its_official_test_split(tmp_path: Path, python) -> None:
    folder = tmp_path / "unpacked" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (10_000, 3, 32, 32), dtype=np.uint8)
    labels = (np.arange(10_000) % 10).tolist()
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": pixels.reshape(10_000, 3072), b"labels": labels}))
    for number in range(1, 6):
        os.link(folder / "test_batch", folder / f"data_batch_{number}")
    # Keras checks the hash of the archive, so its own fetching is replaced by what it would have unpacked.
    fetched = (
        "from sightline.system.backends import load_keras; load_keras()\n"
        "import keras.src.datasets.cifar10 as cifar10\n"
        f"cifar10.get_file = lambda **_: {str(folder.parent)!r}\n"
    )
    answer = python(fetched + LOAD, "cifar10", '[32, 32, "rgb"]', env=offline(tmp_path))
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["num_test"], found["labels"], found["names"][0]) == (10_000, [0, 1, 2, 3], "airplane")
    assert found["row_ids"] == ["train/00000", "test/09999"]
    np.testing.assert_array_equal(found["pixels"], pixels[:4].transpose(0, 2, 3, 1))


@pytest.mark.soak
@pytest.mark.slow
def test_keras_looks_for_the_archive_of_cifar10_where_the_message_says(tmp_path: Path, python) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "cifar-10-batches-py-target_archive").write_bytes(b"another file")
    answer = python(LOAD, "cifar10", "[]", env=offline(tmp_path))
    assert "A local file was found, but it seems to be incomplete or outdated" in answer.err


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fashion-mnist", ["t10k-labels-idx1-ubyte.gz", "datasets/fashion-mnist/"]),
        ("cifar10", ["cifar-10-python.tar.gz", "datasets/cifar-10-batches-py-target_archive"]),
    ],
)
@pytest.mark.soak
def test_a_failing_download_names_the_file_and_its_place(name: str, told: list[str], tmp_path: Path, python) -> None:
    answer = python(LOAD, name, "[]", env=offline(tmp_path))
    assert answer.err.strip().splitlines()[-1].startswith(f"DownloadFailed: {name} could not be loaded"), answer.err
    assert all(part in answer.err for part in [*told, str(tmp_path)])
    assert "Traceback" not in answer.err
    assert answer.out == ""


@pytest.mark.soak
def test_a_damaged_file_in_the_folder_of_keras_is_told(tmp_path: Path, python) -> None:
    folder = tmp_path / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    for split in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (folder / f"{split}-{kind}-ubyte.gz").write_bytes(b"not what it says")
    answer = python(LOAD, "fashion-mnist", "[]", env=offline(tmp_path))
    assert "DownloadFailed: fashion-mnist could not be loaded" in answer.err
    assert "if something damaged lies there, remove it first" in answer.err


def test_the_folder_of_keras_follows_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert keras_home() == tmp_path
    monkeypatch.delenv("KERAS_HOME")
    assert keras_home() == Path.home() / ".keras"


def test_an_unknown_name_is_refused_before_keras_is_loaded() -> None:
    with pytest.raises(UnknownName, match="no Keras data set is called 'cifar-10'"):
        read_keras_dataset("cifar-10")


@pytest.mark.soak
def test_keras_is_imported_beforehand_only_for_what_keras_fetches(python) -> None:
    program = """
import sys
from sightline.data.sources.downloads import load_keras_for
load_keras_for("mnist", "tensorflow"); load_keras_for("photos", "tensorflow")
assert "keras" not in sys.modules
load_keras_for("cifar10", "tensorflow")
assert "keras" in sys.modules
"""
    answer = python(program)
    assert answer.code == 0, answer.err
