"""Weights that PyTorch saved as it did before 1.6, read without PyTorch and without running anything of them.

Such a file is five pickles with the numbers behind them. A pickle may name any function of any module and have it
called; here three names are known, each of which stands for something of ours, and any other ends the reading.
"""

from __future__ import annotations

import collections
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
# Of numbers that networks hold.
_STORAGES: Final[Mapping[str, str]] = {"FloatStorage": "<f4", "LongStorage": "<i8"}
_MOST_BYTES: Final = 512 * 2**20


@dataclass(frozen=True)
class _Storage:
    """Numbers behind the pickles, by their key there."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """What is a view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Reader(pickle.Unpickler):
    """An Unpickler for which no module is ever imported."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        }
        if module_name == "torch" and global_name in _STORAGES:
            return _STORAGES[global_name]
        if (module_name, global_name) not in known:
            raise ValueError("it holds more than arrays of numbers")
        return known[module_name, global_name]

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) == 6 and pid[0] == "storage" and pid[5] is None):
            raise ValueError("its arrays are described in another way than is known")
        _, dtype, key, _, count, _ = pid
        if not (isinstance(key, str) and dtype in _STORAGES.values() and type(count) is int and count >= 0):
            raise ValueError("its arrays are described in another way than is known")
        return _Storage(key, dtype, count)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    numbers = (offset, *shape, *strides)
    if not (isinstance(storage, _Storage) and len(shape) == len(strides) <= 8):
        raise ValueError("its arrays are described in another way than is known")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("its arrays are described in another way than is known")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def read_torch_weights(content: bytes) -> dict[str, NDArray[Any]]:
    """Name to array, float32 or int64, of a file as `torch.save(network.state_dict())` wrote it before 1.6."""
    if len(content) > _MOST_BYTES:
        raise ValueError(f"it has {len(content):,} bytes; at most {_MOST_BYTES:,} are read")
    stream = io.BytesIO(content)
    try:
        if _Reader(stream).load() != _MAGIC or _Reader(stream).load() != _PROTOCOL:
            raise ValueError("it is no file of PyTorch's older kind")
        _Reader(stream).load()  # the sizes of C's types on the machine that wrote it, which nothing depends on
        described, keys = _Reader(stream).load(), _Reader(stream).load()
    except ValueError:
        raise
    except Exception as error:  # damaged pickles raise nearly every type there is
        raise ValueError("it is damaged, or no file of PyTorch's older kind") from error
    if not (isinstance(described, dict) and all(isinstance(one, _Tensor) for one in described.values())):
        raise ValueError("it holds more than arrays of numbers")
    storages = _storages(stream, keys, {one.storage.key: one.storage for one in described.values()})
    return {str(name): _array(one, storages) for name, one in described.items()}


def _storages(stream: io.BytesIO, keys: Any, known: Mapping[str, _Storage]) -> dict[str, NDArray[Any]]:
    """The numbers behind the pickles: for each key their count, 8 bytes, and they themselves."""
    found: dict[str, NDArray[Any]] = {}
    if not isinstance(keys, list) or set(map(str, keys)) != set(known):
        raise ValueError("its list of arrays fits nothing that is described")
    for key in keys:
        storage = known[str(key)]
        size = storage.count * np.dtype(storage.dtype).itemsize
        count, content = stream.read(8), stream.read(size)
        if len(content) != size or int.from_bytes(count, "little") != storage.count:
            raise ValueError("it is damaged or cut off")
        found[storage.key] = np.frombuffer(content, storage.dtype)
    return found


def _array(one: _Tensor, storages: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    storage = storages[one.storage.key]
    last = one.offset + sum((side - 1) * stride for side, stride in zip(one.shape, one.strides, strict=True))
    # Bounds of what is viewed, and no more numbers of it than there are: a stride of 0 could make gigabytes of one.
    if 0 in one.shape or last >= len(storage) or int(np.prod(one.shape, dtype=object)) > len(storage):
        raise ValueError("its arrays reach beyond what is there")
    steps = [stride * storage.itemsize for stride in one.strides]
    return np.lib.stride_tricks.as_strided(storage[one.offset :], one.shape, steps, writeable=False).copy()
