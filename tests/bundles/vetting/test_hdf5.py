from __future__ import annotations

import io
import random

import h5py
import numpy as np
import pytest

from sightline.bundles.vetting.hdf5 import stored_shapes


def whole(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.attrs["backend"] = "tensorflow"
        file.attrs["layer_names"] = np.array([b"first", b"second"])
        for name, array in arrays.items():
            group = file.create_group(f"layers/{name}/vars")
            group.attrs["name"] = name
            group["0"] = array
            group["0"].attrs["dtype"] = "float32"
    return stream.getvalue()


def test_the_shapes_of_all_arrays_are_told_however_many_there_are() -> None:
    arrays = {f"layer_{number}": np.zeros((number % 5 + 1, 3), np.float32) for number in range(200)}
    arrays["empty"] = np.zeros((0, 3), np.float32)
    arrays["alone"] = np.array(7, np.int64)
    assert sorted(stored_shapes(memoryview(whole(**arrays)))) == sorted(array.shape for array in arrays.values())


def test_refusals_name_what_is_wrong(hostile_hdf5) -> None:
    for name, (path, words) in hostile_hdf5.items():
        with pytest.raises(ValueError, match=words.replace(".", r"\.")):
            stored_shapes(memoryview(path.read_bytes()))
        assert name


def test_changed_bytes_are_refused_in_words_or_change_no_size() -> None:
    """What is taken with other bytes than were written never holds more than they are."""
    content = whole(a=np.ones((3, 4), np.float32), b=np.ones(5, np.float32))
    draw, taken = random.Random(0), 0
    for _ in range(3000):
        changed = bytearray(content)
        for _ in range(draw.choice((1, 1, 1, 4))):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        if draw.random() < 0.1:
            del changed[draw.randrange(len(changed)) :]
        try:
            shapes = stored_shapes(memoryview(bytes(changed)))
        except ValueError:
            continue
        taken += 1
        assert sum(4 * int(np.prod(shape)) for shape in shapes) <= 2 * len(content)
    assert 300 < taken < 2900
