"""A zip or tar of photographs, read in place: nothing is unpacked beside it, nothing outside it is touched."""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from sightline.data.sources.assembly import LabelledFiles, to_dataset
from sightline.data.sources.layout import arrange
from sightline.data.sources.several import as_several
from sightline.data.storage.archive_members import REPEATED, list_tar, list_zip
from sightline.data.storage.listing import Listing
from sightline.data.storage.stores import TarStore, ZipStore, status_of
from sightline.errors import CannotWrite, InvalidSource, OutputExists
from sightline.records import Dataset
from sightline.system.caches import LIMIT_VARIABLE, cache_root, discard, find_entry, limit_bytes, make_room, new_entry
from sightline.system.progress import Bar, reporter
from sightline.system.stored import open_plain, read_plain
from sightline.system.text import printable

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
"""Lower-case endings of archives."""

# An archive that expands beyond this is a bomb, or for its owner to unpack.
MOST_EXPANDED_BYTES = 200 * 2**30
# Photographs hardly compress, drawings of one colour about 100 times. Small archives may do as they like.
MOST_RATIO = 200
FREE_BYTES = 10 * 10**9
_BLOCK_BYTES = 4 * 2**20
# Held against its checksum when it is opened, a fraction of what unpacking takes.
_PLAIN, _SUM = "plain.tar", "plain.crc32"
# ValueError and OverflowError: sizes and places that no file can have.
_DAMAGED = (
    *(OSError, EOFError, ValueError, OverflowError, NotImplementedError),
    *(zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile),
)


def read_archive(
    path: Path,
    *,
    label_from: str = "first",
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    several: bool = False,
) -> Dataset:
    """Open a zip or tar of photographs; it is laid out as a folder is.

    Args:
        path: a zip, a tar, or a compressed tar, which is unpacked once to a plain one in the
            cache. What it is, is told from its content. A folder around all is passed through.
        label_from: "first" or "last", as for folders.
        name: short name; that of the file if None.
        class_names: their order; sorted by name if None.
        several: whether an image that lies in several folders has all of their classes.
    """
    typed = printable(str(path))
    listing, store, place, status = _listed(path)
    found = arrange(listing, typed=typed, label_from=label_from, several=several)
    stamps = np.array(listing.stamps, dtype=np.int64)[found.rows]
    files = store(
        place=place.absolute(),
        names=tuple(listing.names[row] for row in found.rows.tolist()),
        num_bytes=np.array(listing.num_bytes, dtype=np.int64)[found.rows],
        arrivals=found.rows,
        offsets=np.array(listing.offsets, dtype=np.int64)[found.rows],
    )
    # A zip has a checksum for each member; of a tar only the whole can tell that bytes have changed.
    seal = f"{status.st_size} {status.st_mtime_ns}" if store is TarStore else ""
    labelled = LabelledFiles(
        files,
        found.classes,
        found.splits,
        stamps,
        remarks=(*found.remarks, *_repeated(found.left_out)),
        left_out=found.left_out,
        seal=seal,
    )
    if several:
        labelled = as_several(labelled)
    return to_dataset(labelled, typed=typed, name=name or _stem(path), class_names=class_names, remedy=found.remedy)


def members_of(path: Path) -> tuple[ZipStore | TarStore, tuple[tuple[str, str], ...]]:
    """All images of a zip or tar, whatever folders they lie in, in its order; and (name, reason) of what is none.

    Raises:
        InvalidSource: it is no archive, or would expand without end, or holds no image.
    """
    typed = printable(str(path))
    listing, store, place, _ = _listed(path)
    if not listing.names:
        raise InvalidSource(f"{typed}: there is no image in this archive. Name one with images.")
    files = store(
        place=place.absolute(),
        names=tuple(listing.names),
        num_bytes=np.array(listing.num_bytes, dtype=np.int64),
        arrivals=np.arange(len(listing.names)),
        offsets=np.array(listing.offsets, dtype=np.int64),
    )
    return files, tuple(listing.left_out)


def _listed(path: Path) -> tuple[Listing, type[ZipStore | TarStore], Path, os.stat_result]:
    typed = printable(str(path))
    try:
        status = path.stat()
        store, place = _store_and_place(path)
        listing = list_zip(place) if store is ZipStore else list_tar(place)
    except _DAMAGED as error:
        reason = getattr(error, "strerror", None) or printable(str(error)) or type(error).__name__
        raise InvalidSource(f"{typed}: cannot be read as an archive ({reason}).") from error
    _refuse_bomb(typed, sum(listing.num_bytes), status.st_size)
    return listing, store, place, status


def _repeated(left_out: Sequence[tuple[str, str]]) -> Iterator[str]:
    names = [name for name, reason in left_out if reason == REPEATED]
    if names:
        many = f"{len(names):,} members of the archive have the name of a later one" if len(names) > 1 else ""
        yield f"{many or 'a member of the archive has the name of a later one'}, which counts, such as '{names[0]}'"


def _stem(path: Path) -> str:
    ending = next((suffix for suffix in reversed(ARCHIVE_SUFFIXES) if path.name.lower().endswith(suffix)), path.suffix)
    return printable(path.name[: len(path.name) - len(ending)]) or "archive"


def _store_and_place(path: Path) -> tuple[type[ZipStore | TarStore], Path]:
    with path.open("rb") as stream:
        head = stream.read(6)
    if head.startswith(b"PK") or zipfile.is_zipfile(path):
        return ZipStore, path
    openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
    opener = next((opener for magic, opener in openers.items() if head.startswith(magic)), None)
    if opener is None:
        return TarStore, path
    with path.open("rb") as raw, opener(raw, "rb") as stream:  # type: ignore[operator]  # three functions of one shape
        return TarStore, _plain_tar(path, raw, stream)


def _plain_tar(path: Path, raw: IO[bytes], stream: IO[bytes]) -> Path:
    """The uncompressed form in the cache, made if it is not there: members are fetched in any order."""
    status = path.stat()
    identity = repr((str(path.absolute()), *status_of(path)))
    key = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    if (plain := _kept(key)) is not None:
        return plain
    first = stream.read(_BLOCK_BYTES)
    _refuse_other_content(first)
    limit, holds = limit_bytes(), printable(path.name)
    try:
        with (
            new_entry("archives", key, holds=holds, num_bytes=min(status.st_size, limit), limit=limit) as staged,
            (staged / _PLAIN).open("xb") as out,
            reporter().bar(f"unpacking {holds}", total=status.st_size, unit="bytes") as bar,
        ):
            checksum = _expand(path, first, (raw, stream, out), limit=limit, bar=bar)
            (staged / _SUM).write_text(str(checksum), encoding="utf-8")
    except (OutputExists, CannotWrite, OSError) as error:
        if (plain := _kept(key)) is not None:  # another run was faster; its bytes are the same
            return plain
        if isinstance(error, OSError) and error.errno is None:
            raise  # what is packed is damaged; writing went well
        raise CannotWrite(
            f"{printable(str(path))}: a compressed tar is unpacked once into the cache, and that failed: {error} "
            "Set SIGHTLINE_CACHE to a folder with room, or unpack the archive yourself and name the folder."
        ) from error
    make_room(limit)
    return cache_root() / "archives" / key / _PLAIN


def _kept(key: str) -> Path | None:
    """The plain tar that was made before, if it is still what was written then; else it goes."""
    if (place := find_entry("archives", key)) is None:
        return None
    try:
        checksum = str(_checksum(place / _PLAIN, status_of(place / _PLAIN)))
        if read_plain(place / _SUM, most_bytes=len(checksum)) == checksum.encode():
            return place / _PLAIN
    except (OSError, ValueError):
        pass
    reporter().say(f"{place}: damaged since it was written; the archive is unpacked again")
    discard(place)
    return None


@functools.lru_cache(maxsize=16)
def _checksum(path: Path, _status: tuple[int, ...]) -> int:
    """Of a whole file, computed once a process for as long as its size, times and number stay."""
    checksum = 0
    with open_plain(path) as stream:
        while block := stream.read(_BLOCK_BYTES):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _refuse_other_content(first: bytes) -> None:
    # A page of noise must not be unpacked to its end only to learn that it is no tar.
    try:
        tarfile.TarInfo.frombuf(first[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise tarfile.ReadError("compressed, and no tar inside") from error


def _expand(path: Path, first: bytes, streams: tuple[IO[bytes], IO[bytes], IO[bytes]], *, limit: int, bar: Bar) -> int:
    """Unpack to the end; the checksum of what was written."""
    raw, stream, out = streams
    num_bytes, written, read, block, checksum = path.stat().st_size, 0, 0, first, 0
    while block:
        written += len(block)
        _refuse_bomb(printable(str(path)), written, num_bytes)
        if written > limit:
            raise InvalidSource(
                f"{printable(str(path))}: expands to more than the {limit / 2**30:.4g} GiB that the cache may hold. "
                f"Unpack it yourself and name the folder, or set {LIMIT_VARIABLE} higher."
            )
        out.write(block)
        checksum = zlib.crc32(block, checksum)
        bar.advance(raw.tell() - read)
        read = raw.tell()
        block = stream.read(_BLOCK_BYTES)
    return checksum


def _refuse_bomb(typed: str, expanded: int, packed: int) -> None:
    if expanded > MOST_EXPANDED_BYTES or (expanded > FREE_BYTES and expanded > MOST_RATIO * packed):
        raise InvalidSource(
            f"{typed}: {packed:,} bytes that expand to {expanded / 1e9:,.1f} GB or more, as an archive made to do harm "
            "does. If you trust it, unpack it and name the folder."
        )
