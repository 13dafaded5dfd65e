"""Files of annotations, which may be a stranger's: text, JSON and XML of bounded size, of which nothing is expanded."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn
from xml.parsers import expat

from sightline.errors import InvalidSource
from sightline.system.stored import MOST_TABLE_BYTES, open_plain, parse_json, read_plain
from sightline.system.text import printable

MOST_JSON_BYTES = 256 * 2**20
"""A million images with a box each have about 200 MB; it is parsed whole, which takes some ten times of it."""
_MOST_PARTS = 20_000_000
_MOST_DEPTH = 32
_BLOCK_BYTES = 2**20
_HEAD_BYTES = 2**18

Event = tuple[str, Mapping[str, str] | None]
"""An element that begins, with its attributes, or that ends, with None."""


def head_of(path: Path) -> str:
    """The first letters of a file without a mark of their order, by which its kind is told; "" where it has none."""
    try:
        with open_plain(path) as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return ""
    is_wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return head.decode("utf-16" if is_wide else "utf-8-sig", "ignore").lstrip()


def read_text(path: Path, typed: str, *, most_bytes: int = MOST_TABLE_BYTES) -> str:
    """A file as text: UTF-8, or UTF-16 with the mark that says so."""
    try:
        data = read_plain(path, most_bytes=most_bytes)
        is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if is_wide else "utf-8-sig")
    except OSError as error:
        raise InvalidSource(f"{typed}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InvalidSource(f"{typed}: is not UTF-8 (byte {error.start:,}). Save it as UTF-8.") from error


def read_document(path: Path, typed: str) -> Any:
    """The content of a JSON file, plain values."""
    try:
        return parse_json(read_text(path, typed, most_bytes=MOST_JSON_BYTES), allow_nan=True, most_parts=_MOST_PARTS)
    except ValueError as error:
        raise InvalidSource(f"{typed}: is no readable JSON ({printable(str(error))}). Export it again.") from error


def read_elements(path: Path, typed: str) -> Iterator[Event]:
    """The elements of an XML file in their order, a block of it in memory at a time; text is passed over."""
    collected = _Elements(typed)
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = collected.begin, collected.end
    # It may define entities that expand without end or name other files; no tool for labelling writes one.
    parser.StartDoctypeDeclHandler = collected.refuse
    try:
        with open_plain(path) as stream:
            is_last = False
            while not is_last:
                block = stream.read(_BLOCK_BYTES)
                is_last = not block
                parser.Parse(block, is_last)
                yield from collected.events
                collected.events.clear()
    except OSError as error:
        raise InvalidSource(f"{typed}: cannot be read ({error.strerror}).") from error
    except (expat.ExpatError, ValueError, LookupError) as error:  # LookupError: an encoding that there is not
        raise InvalidSource(f"{typed}: is no readable XML ({printable(str(error))}). Export it again.") from error


class _Elements:
    """What the parser has seen since it was last asked, and how deep it is."""

    def __init__(self, typed: str) -> None:
        self.events: list[Event] = []
        self._typed = typed
        self._depth = 0

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise InvalidSource(f"{self._typed}: its elements are nested more than {_MOST_DEPTH} deep.")
        self.events.append((name, attributes))

    def end(self, name: str) -> None:
        self._depth -= 1
        self.events.append((name, None))

    def refuse(self, *_: Any) -> NoReturn:
        raise InvalidSource(f"{self._typed}: declares a document type, which nothing is read from. Export it again.")
