"""Names of many images in one piece of memory: a string of Python's own costs 50 bytes before its first letter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 4096


class PackedNames(Sequence[str]):
    """Names as one sequence: `text` is all of them as UTF-8, end to end; `ends` (num_names,), where each ends in it."""

    def __init__(self, text: bytes, ends: NDArray[np.int64]) -> None:
        """What is in a name and no UTF-8 comes back as it was."""
        self.text, self.ends = text, ends

    @classmethod
    def of(cls, names: Iterable[str]) -> PackedNames:
        """Of names that come one by one."""
        text, ends = bytearray(), []
        for name in names:
            text += name.encode("utf-8", "surrogateescape")
            ends.append(len(text))
        return cls(bytes(text), np.array(ends, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> PackedNames: ...
    def __getitem__(self, index: int | slice) -> str | PackedNames:
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self))))
        at = range(len(self))[index]  # refuses what is out of range, and counts from the end
        begin = int(self.ends[at - 1]) if at else 0
        return self.text[begin : int(self.ends[at])].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        begin = 0
        for first in range(0, len(self), _AT_ONCE):
            for end in self.ends[first : first + _AT_ONCE].tolist():
                yield self.text[begin:end].decode("utf-8", "surrogateescape")
                begin = end

    def take(self, rows: NDArray[np.int64]) -> PackedNames:
        """Some of them, in the order of `rows`."""
        ends = self.ends[rows]
        begins = np.where(rows > 0, self.ends[rows - 1], 0)
        if len(rows) and (np.diff(rows) == 1).all():  # one behind the other: one piece
            return PackedNames(self.text[int(begins[0]) : int(ends[-1])], ends - begins[0])
        parts = [self.text[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
        return PackedNames(b"".join(parts), np.cumsum(ends - begins))
