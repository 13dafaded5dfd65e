"""Archives of Keras, looked at by their bytes: three members, stored as they are, and nothing else."""

from __future__ import annotations

import functools
import math
import mmap
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from sightline.bundles.vetting.configs import check_config
from sightline.bundles.vetting.hdf5 import stored_shapes
from sightline.system.stored import as_value_error, open_plain, parse_json

CONFIG, WEIGHTS, NOTES = "config.json", "model.weights.h5", "metadata.json"
# An ensemble of a hundred EfficientNet-Lite0 has 15 million bytes of description.
MOST_CONFIG_BYTES = 64 * 2**20
_END_BYTES, _MOST_TABLE_BYTES = 22, 2**16
# Of weights that a network makes room for, in proportion to those that are there: layers may be shared.
_MOST_SHARED, _ROOM = 4, 2**20


def check_network_archive(path: Path, *, others: str = "") -> None:
    """Refuse a `.keras` file that is more than a network, by an OSError or a ValueError in words.

    `others` are layers beyond those of Sightline's networks that it may have, by their names.
    """
    _read(path, functools.partial(_check_network, others=others))


def check_weights_archive(path: Path) -> None:
    """Refuse a `.keras` file of which not even the weights can be taken; what else it describes is not looked at."""
    _read(path, _check_weights)


def check_weights_hdf5(path: Path) -> None:
    """Refuse a `.h5` file that is more than plain arrays of numbers."""
    _read(path, _check_hdf5)


def _read(path: Path, work: Callable[[mmap.mmap, memoryview], None]) -> None:
    with (
        open_plain(path) as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        reason = _refusal(content, view, work)
    if reason is not None:
        raise ValueError(reason)


def _refusal(content: mmap.mmap, view: memoryview, work: Callable[[mmap.mmap, memoryview], None]) -> str | None:
    # In words alone: an error keeps parts of the file in use, which then could not be closed.
    try:
        work(content, view)
    except ValueError as error:
        return str(error)
    return None


def _check_hdf5(_: mmap.mmap, view: memoryview) -> None:
    stored_shapes(view)


def _check_weights(content: mmap.mmap, view: memoryview) -> None:
    start, size = _members(content, view)[WEIGHTS]
    stored_shapes(view[start : start + size])


def _check_network(content: mmap.mmap, view: memoryview, *, others: str) -> None:
    places = _members(content, view)
    start, size = places[CONFIG]
    if size > MOST_CONFIG_BYTES:
        raise ValueError(f"its {CONFIG} has more than {MOST_CONFIG_BYTES:,} bytes")
    # Infinity stands in descriptions of ensembles, where a class has no vote.
    needed = check_config(parse_json(bytes(view[start : start + size]).decode("utf-8"), allow_nan=True), others=others)
    start, size = places[WEIGHTS]
    stored = sum(math.prod(shape) for shape in stored_shapes(view[start : start + size]))
    if needed > _MOST_SHARED * stored + _ROOM:
        raise ValueError(f"it makes room for {needed:,} weights and holds {stored:,}")


def _members(content: mmap.mmap, view: memoryview) -> dict[str, tuple[int, int]]:
    """Where the members of the archive lie, which are Keras' three, stored as they are."""
    _check_table(view)
    places: dict[str, tuple[int, int]] = {}
    # Of a damaged one, `zipfile` raises errors of its own and of many others' kinds.
    with as_value_error(), zipfile.ZipFile(content) as archive:  # type: ignore[call-overload]  # it is read as a file is
        for member in archive.infolist():
            name = member.filename
            if name not in (CONFIG, WEIGHTS, NOTES) or name in places:
                raise ValueError(f"its archive holds {ascii(name)[:80]}, which Keras does not write, or twice")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise ValueError(f"its member {name} is a link")
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise ValueError(f"its member {name} is compressed or encrypted, which Keras does not do")
            places[name] = _place(view, member)
    missing = [name for name in (CONFIG, WEIGHTS) if name not in places]
    if missing:
        raise ValueError(f"its archive lacks {missing[0]}")
    return places


def _check_table(view: memoryview) -> None:
    """The list of members is a short one at the very end, so that whoever reads the archive finds the same."""
    end = bytes(view[-_END_BYTES:])
    count, size, start = (int.from_bytes(end[at : at + width], "little") for at, width in ((10, 2), (12, 4), (16, 4)))
    if end[:4] != b"PK\5\6" or end[20:] != b"\0\0" or bytes(view[:4]) != b"PK\3\4":
        raise ValueError("it is no archive of Keras, or cut off or damaged")
    if count > 3 or size > _MOST_TABLE_BYTES or start + size + _END_BYTES != len(view):
        raise ValueError("its archive holds more than Keras writes")


def _place(view: memoryview, member: zipfile.ZipInfo) -> tuple[int, int]:
    head, size = member.header_offset, member.file_size
    lengths = [int.from_bytes(view[at : at + 2], "little") for at in (head + 26, head + 28)]
    start = head + 30 + sum(lengths)
    name = bytes(view[head + 30 : head + 30 + lengths[0]])
    if bytes(view[head : head + 4]) != b"PK\3\4" or name != member.filename.encode() or start + size > len(view):
        raise ValueError(f"its member {member.filename} is not where the archive says")
    if size != member.compress_size or zlib.crc32(view[start : start + size]) != member.CRC:
        raise ValueError(f"its member {member.filename} is damaged")
    return start, size
