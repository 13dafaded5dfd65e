"""Weights in HDF5, looked at by their bytes: plain arrays of numbers in plain groups, or a refusal in words.

Keras writes the oldest of HDF5's layouts: groups by symbol tables, arrays in one piece. Whatever else the format has,
links to other files, arrays made of other files, filters, pieces, types with code or names of their own, is not read
here and so not let through to the library that would. Each size is compared with the bytes that are there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST_OBJECTS = 200_000
MOST_DEPTH = 64
_NOWHERE = 2**64 - 1
_LONGEST_NAME = 1_000
# Messages of an object header, by their numbers in the format's specification, version 3.0.
_NOTHING, _SPACE, _TYPE, _OLD_FILL, _FILL, _LAYOUT, _ATTRIBUTE, _MORE, _TABLE = 0, 1, 3, 4, 5, 8, 12, 16, 17
_TIMES = (14, 18)
_REFUSED = {
    2: "links in a form that Keras does not write",
    6: "links in a form that Keras does not write",
    7: "an array that lies in another file",
    11: "an array behind a filter, such as a compressed one",
}
_INTEGER, _FLOAT, _TEXT, _ENUMERATION, _OF_ANY_LENGTH = 0, 1, 3, 8, 9
_COMPACT, _IN_ONE_PIECE = 0, 1
_LAYOUTS = {2: "an array in pieces, whose size is not the one of its bytes", 3: "an array made of other files"}


@dataclass(frozen=True)
class _Space:
    """Type and shape of an array or of an attribute."""

    kind: int
    item_size: int
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        return self.item_size * math.prod(self.shape)


@dataclass
class _Reader:
    """Reads one file; every address that is asked for lies within it."""

    content: memoryview
    seen: set[int] = field(default_factory=set)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    num_bytes: int = 0

    def take(self, at: int, size: int) -> memoryview:
        if not 0 <= at <= len(self.content) - size:
            raise ValueError("its weights are cut off or damaged: they point beyond their end")
        return self.content[at : at + size]

    def number(self, at: int, size: int = 8) -> int:
        return int.from_bytes(self.take(at, size), "little")

    def once(self, at: int) -> None:
        """Nothing is reached twice: no circle, and no array that is counted again and again."""
        if at in self.seen or len(self.seen) >= MOST_OBJECTS:
            raise ValueError("its weights name one part twice, or have too many parts")
        self.seen.add(at)

    def expect(self, at: int, mark: bytes) -> None:
        if self.take(at, len(mark)) != mark:
            raise ValueError("its weights are damaged, or of a layout that Keras does not write")


def stored_shapes(content: memoryview) -> list[tuple[int, ...]]:
    """The shape of each array of an HDF5 file of Keras; a ValueError, in words, where it holds anything else."""
    reader = _Reader(content)
    reader.expect(0, SIGNATURE)
    # Versions; sizes of addresses and lengths; where the file begins and ends; where its first group is.
    reader.expect(8, b"\0\0\0\0\0\x08\x08\0")
    if reader.number(24) != 0 or reader.number(40) > len(content) or reader.number(48) != _NOWHERE:
        raise ValueError("its weights are cut off or damaged: they say to end elsewhere")
    _read_object(reader, reader.number(64), depth=0)
    return reader.shapes


def _read_object(reader: _Reader, at: int, *, depth: int) -> None:
    """A group with what is in it, or an array."""
    reader.once(at)
    if depth > MOST_DEPTH:
        raise ValueError("its weights are nested too deep")
    parts = {message: (start, size) for message, start, size in _messages(reader, at)}
    if _TABLE in parts and not parts.keys() & {_SPACE, _TYPE, _LAYOUT}:
        start, size = parts[_TABLE]
        _within(size, 16)
        for child in _entries(reader, reader.number(start), reader.number(start + 8)):
            _read_object(reader, child, depth=depth + 1)
    elif parts.keys() >= {_SPACE, _TYPE, _LAYOUT} and _TABLE not in parts:
        _read_array(reader, _Space(*_type(reader, *parts[_TYPE]), _shape(reader, *parts[_SPACE])), *parts[_LAYOUT])
    else:
        raise ValueError("its weights hold something that is neither a group nor an array")


def _messages(reader: _Reader, at: int) -> Iterator[tuple[int, int, int]]:
    """Number, beginning and size of each message of an object header but remarks, which are checked here."""
    reader.expect(at, b"\x01\0")
    left, blocks = reader.number(at + 2, 2), [(at + 16, reader.number(at + 8, 4))]
    while blocks:
        start, size = blocks.pop(0)
        reader.take(start, size)
        stop = start + size
        while start + 8 <= stop and left:
            message, length, flags = reader.number(start, 2), reader.number(start + 2, 2), reader.number(start + 4, 1)
            begin, start, left = start + 8, start + 8 + length, left - 1
            if start > stop:
                raise ValueError("its weights are cut off or damaged: a part is longer than its whole")
            if message == _NOTHING:
                continue
            if message in _REFUSED or message not in (*_KNOWN, *_TIMES):
                raise ValueError(f"its weights hold {_REFUSED.get(message, 'what Keras does not write')}")
            if flags & 2:
                raise ValueError("its weights hold a type that lies elsewhere")
            if message == _MORE:
                place = reader.number(begin)
                reader.once(place)
                blocks.append((place, reader.number(begin + 8)))
            elif message == _ATTRIBUTE:
                _check_attribute(reader, begin, length)
            else:
                yield message, begin, length


_KNOWN = (_SPACE, _TYPE, _OLD_FILL, _FILL, _LAYOUT, _ATTRIBUTE, _MORE, _TABLE)


def _within(size: int, needed: int) -> None:
    if size < needed:
        raise ValueError("its weights are cut off or damaged: a part is shorter than it says")


def _shape(reader: _Reader, at: int, size: int) -> tuple[int, ...]:
    _within(size, 4)
    version, rank = reader.number(at, 1), reader.number(at + 1, 1)
    head = {1: 8, 2: 4}.get(version)
    if head is None or rank > 32 or (version == 2 and reader.number(at + 3, 1) > 1):
        raise ValueError("its weights hold an array of no shape")
    _within(size, head + 8 * rank)
    return tuple(reader.number(at + head + 8 * axis) for axis in range(rank))


def _type(reader: _Reader, at: int, size: int) -> tuple[int, int]:
    _within(size, 8)
    return reader.number(at, 1) & 15, reader.number(at + 4, 4)


def _read_array(reader: _Reader, space: _Space, at: int, size: int) -> None:
    if space.kind not in (_INTEGER, _FLOAT) or space.item_size not in (1, 2, 4, 8):
        raise ValueError("its weights hold an array of something else than numbers")
    _within(size, 4)
    version, layout = reader.number(at, 1), reader.number(at + 1, 1)
    if version not in (3, 4):
        raise ValueError("its weights hold an array of an unknown layout")
    if layout == _IN_ONE_PIECE:
        _within(size, 18)
        start, found = reader.number(at + 2), reader.number(at + 10)
        if found:
            reader.once(start)
            reader.take(start, found)
    elif layout == _COMPACT:
        found = reader.number(at + 2, 2)
        _within(size, 4 + found)
    else:
        raise ValueError(f"its weights hold {_LAYOUTS.get(layout, 'an array of an unknown layout')}")
    if found != space.num_bytes:
        raise ValueError(f"its weights hold an array that says to be {space.num_bytes:,} bytes and is {found:,}")
    reader.num_bytes += found
    if reader.num_bytes > len(reader.content):
        raise ValueError("its weights hold more than their bytes: some are named twice")
    reader.shapes.append(space.shape)


def _check_attribute(reader: _Reader, at: int, size: int) -> None:
    """A remark on a group or an array, which has to lie within its message, or its text in a heap of the file."""
    _within(size, 8)
    version = reader.number(at, 1)
    name, kind, shape = (reader.number(at + 2 + 2 * part, 2) for part in range(3))
    if version not in (1, 3) or (version == 3 and reader.number(at + 1, 1)):
        raise ValueError("its weights hold a remark in a form that Keras does not write")
    head, padded = (8, lambda part: -(-part // 8) * 8) if version == 1 else (9, int)
    places = [head, head + padded(name), head + padded(name) + padded(kind)]
    data = places[2] + padded(shape)
    _within(size, data)
    space = _Space(*_type(reader, at + places[1], kind), _shape(reader, at + places[2], shape))
    if space.kind not in (_INTEGER, _FLOAT, _TEXT, _ENUMERATION, _OF_ANY_LENGTH):
        raise ValueError("its weights hold a remark that is neither text nor a number")
    _within(size, data + space.num_bytes)
    if space.kind == _OF_ANY_LENGTH:
        if space.item_size != 16 or reader.number(at + places[1] + 1, 1) & 15 != 1:
            raise ValueError("its weights hold a remark that is neither text nor a number")
        for start in range(at + data, at + data + space.num_bytes, 16):
            _check_text(reader, start)


def _check_text(reader: _Reader, at: int) -> None:
    """A text of any length: how long it is, in which heap of the file it lies, and as which of its parts."""
    length, heap = reader.number(at, 4), reader.number(at + 4)
    if not length:
        return
    reader.expect(heap, b"GCOL\x01")
    size = reader.number(heap + 8)
    reader.take(heap, size)
    _within(size, length)


def _entries(reader: _Reader, tree: int, heap: int) -> Iterator[int]:
    """Where each member of a group lies; its name is a plain one, and it is no link to elsewhere."""
    reader.expect(heap, b"HEAP\0")
    names = reader.take(reader.number(heap + 24), reader.number(heap + 8))
    nodes = [(tree, 0)]
    while nodes:
        at, depth = nodes.pop()
        reader.once(at)
        if depth == 0 or bytes(reader.take(at, 4)) == b"TREE":
            reader.expect(at, b"TREE\0")
            count = reader.number(at + 6, 2)
            # A key before each child and one behind the last, of eight bytes each, as the children.
            nodes += [(reader.number(at + 32 + 16 * number), depth + 1) for number in range(count)]
            continue
        reader.expect(at, b"SNOD\x01")
        for number in range(reader.number(at + 6, 2)):
            entry = at + 8 + 40 * number
            _check_name(names, reader.number(entry))
            if reader.number(entry + 16, 4) not in (0, 1):
                raise ValueError("its weights hold a link in place of an array")
            yield reader.number(entry + 8)


def _check_name(names: memoryview, at: int) -> None:
    name = bytes(names[at : at + _LONGEST_NAME + 1]).partition(b"\0")[0]
    if not 0 < len(name) <= _LONGEST_NAME or b"/" in name or name in (b".", b".."):
        raise ValueError("its weights hold a name that is none")
