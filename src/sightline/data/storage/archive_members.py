"""What a zip or a plain tar holds, and the bytes of one member, fetched by its position.

Positions instead of open archives: any number of threads read at once, nothing is
shared, and nothing has to be closed.
"""

from __future__ import annotations

import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from sightline.data.decoding.containers import MAX_BYTES
from sightline.data.decoding.formats import IMAGE_SUFFIXES, why_no_image
from sightline.data.storage.listing import Listing, is_passed_over
from sightline.errors import InvalidSource, UnreadableImage
from sightline.system.text import printable

MOST_MEMBERS = 10_000_000
"""An archive that lists more is refused: each costs memory before anything is read."""

REPEATED = "stands twice in the archive; the last one counts"
"""As when it is unpacked."""

_HEAD_BYTES = 1024
_BLOCK_BYTES = 2**16
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _CRC_FOLLOWS, _UTF8 = 0x1, 0x8, 0x800
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")


def list_zip(path: Path) -> Listing:
    """The members of a zip that may be images; those that lead out of it, links and encrypted ones are left out.

    Returns:
        Names with "/" between their parts, expanded sizes, CRCs, and where each member's header lies.
    """
    with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
        members = archive.infolist()
        _refuse_crowd(path, len(members))
        last = {_zip_name(member.filename): number for number, member in enumerate(members)}
        listing = Listing()
        for number, member in enumerate(members):
            name = _zip_name(member.filename)
            if member.is_dir():
                listing.folders.append(name.rstrip("/"))
            elif not _is_passed_over(name):
                reason = REPEATED if last[name] != number else ""
                reason = reason or _why_not(name, member.file_size) or _why_not_from_zip(member)
                reason = reason or _why_no_image(name, partial(_zip_head, stream, member.header_offset))
                _take(listing, name, reason, (member.file_size, member.CRC, member.header_offset))
    return listing


def list_tar(path: Path) -> Listing:
    """The members of an uncompressed tar that may be images.

    Returns:
        As `list_zip`; times of last change instead of CRCs, and where each member's bytes begin.
    """
    listing, last = Listing(), {}
    num_bytes = path.stat().st_size
    with tarfile.open(path, "r:") as archive, path.open("rb") as stream:
        count = 0
        while (member := archive.next()) is not None:
            count += 1
            _refuse_crowd(path, count)
            vars(archive)["members"] = []  # kept for `getmembers`, a kilobyte each; nobody asks for them
            name = member.name.removeprefix("./")
            if member.isdir():
                listing.folders.append(name)
            elif not _is_passed_over(name):
                reason = _why_not(name, member.size) or _why_not_from_tar(member, num_bytes)
                reason = reason or _why_no_image(name, partial(_tar_head, stream, member))
                if not reason:
                    last[name] = len(listing.names)
                _take(listing, name, reason, (member.size, int(member.mtime), member.offset_data))
    return _without_repeated(listing, last)


def read_zip_member(path: Path, name: str, *, offset: int, num_bytes: int) -> bytes:
    """Exactly `num_bytes` bytes of a member of a zip whose header lies at `offset` and must still bear the name."""
    data = bytearray()
    with path.open("rb") as stream:
        header = _local_header(stream, offset)
        if _zip_name(header.name) != name:
            raise UnreadableImage("the archive has changed since it was opened.")
        try:
            for block in _zip_blocks(stream, header, num_bytes):
                data += block
                if len(data) > num_bytes:
                    raise UnreadableImage(f"expands to more than the {num_bytes:,} bytes that the archive declares.")
        except zlib.error as error:
            raise UnreadableImage("damaged inside the archive.") from error
    if len(data) < num_bytes or (header.crc is not None and zlib.crc32(data) != header.crc):
        raise UnreadableImage(f"damaged inside the archive ({len(data):,} of {num_bytes:,} bytes).")
    return bytes(data)


def read_tar_member(path: Path, *, offset: int, num_bytes: int) -> bytes:
    """Exactly `num_bytes` bytes of a member of an uncompressed tar, from `offset` on."""
    with path.open("rb") as stream:
        stream.seek(offset - tarfile.BLOCKSIZE)
        try:
            header = tarfile.TarInfo.frombuf(stream.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise UnreadableImage("the archive has changed since it was opened.") from error
        if header.size not in (0, num_bytes):  # 0 where an extended header says it
            raise UnreadableImage("the archive has changed since it was opened.")
        data = stream.read(num_bytes)
    if len(data) < num_bytes:
        raise UnreadableImage(f"the archive ends after {len(data):,} of {num_bytes:,} bytes of it.")
    return data


def _take(listing: Listing, name: str, reason: str, entry: tuple[int, int, int]) -> None:
    if reason:
        listing.left_out.append((printable(name), reason))
    else:
        listing.add(name, *entry)


def _zip_name(name: str) -> str:
    # Windows' own zips of old have backslashes; an absolute path must stay one, to be refused.
    return name.replace("\\", "/").removeprefix("./")


def _is_passed_over(name: str) -> bool:
    return any(is_passed_over(part) for part in name.split("/") if part != "..")


def _refuse_crowd(path: Path, count: int) -> None:
    if count > MOST_MEMBERS:
        raise InvalidSource(f"{path}: holds more than {MOST_MEMBERS:,} members. Unpack it and name the folder.")


def _why_not(name: str, num_bytes: int) -> str:
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or ":" in parts[0]:
        return "its path leads out of the archive"
    if "" in parts or "." in parts:
        return "its path holds an empty part"
    if num_bytes > MAX_BYTES:
        return f"{num_bytes:,} bytes; at most {MAX_BYTES:,} are read; save it smaller"
    return ""


def _why_not_from_zip(member: zipfile.ZipInfo) -> str:
    mode = member.external_attr >> 16
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted; unpack the archive with its password and name the folder"
    if stat.S_ISLNK(mode):
        return "is a link or a device"
    if member.compress_type not in (_STORED, _DEFLATED):
        return "is compressed in an unusual way; pack it again as an ordinary zip"
    return ""


def _why_not_from_tar(member: tarfile.TarInfo, num_bytes: int) -> str:
    if not member.isreg():
        return "is a link or a device"
    if member.issparse():
        return "is a sparse file"
    if member.offset_data + member.size > num_bytes:
        return "the archive ends before it does"
    return ""


def _why_no_image(name: str, head: Callable[[], bytes]) -> str:
    """What a member is that is neither called an image nor begins like one; "" if it may be one."""
    if name[name.rfind(".") :].lower() in IMAGE_SUFFIXES:
        return ""
    try:
        return why_no_image(head())
    except UnreadableImage as error:
        return str(error)
    except (OSError, zlib.error):
        return "is damaged inside the archive"


@dataclass(frozen=True)
class _LocalHeader:
    """What stands before a member's bytes; its sizes may be missing, so they are not kept."""

    name: str
    method: int
    crc: int | None
    start: int


def _local_header(stream: BinaryIO, offset: int) -> _LocalHeader:
    stream.seek(offset)
    raw = stream.read(_LOCAL_HEADER.size)
    if len(raw) < _LOCAL_HEADER.size or not raw.startswith(b"PK\x03\x04"):
        raise UnreadableImage("the archive has changed since it was opened.")
    _, _, flags, method, _, _, crc, _, _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(raw)
    name = stream.read(name_bytes).partition(b"\0")[0].decode("utf-8" if flags & _UTF8 else "cp437", "replace")
    start = offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
    return _LocalHeader(name, method, None if flags & _CRC_FOLLOWS else crc, start)


def _zip_blocks(stream: BinaryIO, header: _LocalHeader, num_bytes: int) -> Iterator[bytes]:
    """A member's bytes, a block at a time; more than `num_bytes` if there are more, but not all of them."""
    stream.seek(header.start)
    if header.method == _STORED:
        yield stream.read(num_bytes)
        return
    # Where a compressed member ends is told by itself, whatever the archive declares.
    expander = zlib.decompressobj(-zlib.MAX_WBITS)
    while not expander.eof and (block := stream.read(_BLOCK_BYTES)):
        yield expander.decompress(block, num_bytes + 1)


def _zip_head(stream: BinaryIO, offset: int) -> bytes:
    return next(_zip_blocks(stream, _local_header(stream, offset), _HEAD_BYTES), b"")


def _tar_head(stream: BinaryIO, member: tarfile.TarInfo) -> bytes:
    stream.seek(member.offset_data)
    return stream.read(min(member.size, _HEAD_BYTES))


def _without_repeated(listing: Listing, last: dict[str, int]) -> Listing:
    """Of two members with one name the last counts, as when it is unpacked."""
    if len(last) == len(listing.names):
        return listing
    kept = Listing(folders=listing.folders, left_out=listing.left_out)
    for row, name in enumerate(listing.names):
        reason = "" if last[name] == row else REPEATED
        _take(kept, name, reason, (listing.num_bytes[row], listing.stamps[row], listing.offsets[row]))
    return kept
