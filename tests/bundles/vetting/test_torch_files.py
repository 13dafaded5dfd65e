"""Files of PyTorch's older kind are read to the number, and nothing that they name is run."""

from __future__ import annotations

import collections
import io
import os
import pickle
import sys
import types

import numpy as np
import pytest

from sightline.bundles.vetting.torch_files import read_torch_weights

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Storage:
    def __init__(self, key: str, values: np.ndarray):
        self.key, self.values = key, values


class Kind:
    def __init__(self, name: str):
        self.name = name

    def __reduce__(self):
        return self.name


@pytest.fixture
def torch(monkeypatch):
    """Names of a PyTorch that is not there, for the pickler to refer to."""
    torch, tools = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "HalfStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
    exec("def _rebuild_tensor_v2(*parts): raise AssertionError('it was called')", vars(tools))
    tools._rebuild_tensor_v2.__module__ = "torch._utils"
    torch._utils = tools
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", tools)
    return torch


class Tensor:
    """Pickles itself as PyTorch's tensors do."""

    def __init__(self, torch, storage, shape, strides=None, offset=0):
        self.torch, self.parts = torch, (storage, offset, tuple(shape), strides or contiguous(shape), False)

    def __reduce__(self):
        return self.torch._utils._rebuild_tensor_v2, (*self.parts, collections.OrderedDict())


def contiguous(shape):
    return tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))


def saved(torch, tensors, storages, *, kinds=None, keys=None, magic=MAGIC) -> bytes:
    stream = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, one):
            if not isinstance(one, Storage):
                return None
            kind = (kinds or {}).get(one.key, "LongStorage" if one.values.dtype == np.int64 else "FloatStorage")
            return ("storage", getattr(torch, kind), one.key, "cpu", len(one.values), None)

    for part in (magic, PROTOCOL, {"little_endian": True}):
        pickle.dump(part, stream, protocol=2)
    Pickler(stream, protocol=2).dump(tensors)
    pickle.dump([storage.key for storage in storages] if keys is None else keys, stream, protocol=2)
    for storage in storages:
        stream.write(len(storage.values).to_bytes(8, "little") + storage.values.tobytes())
    return stream.getvalue()


@pytest.fixture
def plain(torch):
    values = np.arange(24, dtype=np.float32)
    one, two = Storage("7", values), Storage("9", np.array([41], np.int64))
    tensors = collections.OrderedDict(
        kernel=Tensor(torch, one, (2, 3, 4)),
        turned=Tensor(torch, one, (3, 2), strides=(1, 3), offset=5),
        count=Tensor(torch, two, ()),
    )
    return tensors, [one, two]


def test_numbers_come_back_with_their_shapes_and_strides(torch, plain):
    found = read_torch_weights(saved(torch, *plain))
    np.testing.assert_array_equal(found["kernel"], np.arange(24).reshape(2, 3, 4))
    assert found["turned"].tolist() == [[5, 8], [6, 9], [7, 10]]
    assert (found["count"].dtype, found["count"].item()) == (np.int64, 41)
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32), np.dtype(np.int64)}


class Payload:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("where", [0, 2, 3])
def test_nothing_that_a_file_names_is_run(torch, plain, tmp_path, where):
    parts = [pickle.dumps(part, protocol=2) for part in (MAGIC, PROTOCOL, {}, {}, [])]
    parts[where] = pickle.dumps(Payload(tmp_path / "made"), protocol=2)
    with pytest.raises(ValueError, match="more than arrays of numbers"):
        read_torch_weights(b"".join(parts))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "name", [b"cbuiltins\neval\n", b"cos\nsystem\n", b"ctorch\nload\n", b"ccollections\nCounter\n"]
)
def test_any_other_name_ends_the_reading(name):
    with pytest.raises(ValueError, match="more than arrays of numbers"):
        read_torch_weights(b"\x80\x02" + name + b"(tR.")


def test_views_beyond_what_is_there_are_refused(torch):
    storage = Storage("1", np.arange(6, dtype=np.float32))
    for one in (
        Tensor(torch, storage, (7,)),
        Tensor(torch, storage, (3,), offset=4),
        Tensor(torch, storage, (2, 2), strides=(4, 2)),
        Tensor(torch, storage, (1000, 1000), strides=(0, 0)),
        Tensor(torch, storage, (0,)),
    ):
        with pytest.raises(ValueError, match="beyond what is there"):
            read_torch_weights(saved(torch, {"one": one}, [storage]))
    for one in (Tensor(torch, storage, (2,), strides=(-1,)), Tensor(torch, storage, (2,), strides=(1, 1))):
        with pytest.raises(ValueError, match="another way"):
            read_torch_weights(saved(torch, {"one": one}, [storage]))


def test_other_kinds_and_damaged_files_are_refused(torch, plain):
    whole = saved(torch, *plain)
    for cut in (0, 5, 40, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ValueError, match=r"damaged|cut off|no file"):
            read_torch_weights(whole[:cut])
    with pytest.raises(ValueError, match="older kind"):
        read_torch_weights(saved(torch, *plain, magic=7))
    with pytest.raises(ValueError, match="more than arrays"):
        read_torch_weights(saved(torch, *plain, kinds={"7": "HalfStorage"}))
    with pytest.raises(ValueError, match="fits nothing"):
        read_torch_weights(saved(torch, *plain, keys=["7"]))
    with pytest.raises(ValueError, match="no file of PyTorch's older kind"):
        read_torch_weights(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ValueError, match="more than arrays"):
        read_torch_weights(saved(torch, {"one": [1, 2]}, []))
