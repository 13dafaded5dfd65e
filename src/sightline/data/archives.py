"""A zip or a tar of photographs, read in place: nothing is unpacked beside it, nothing outside it is touched."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sightline.data.containers import MAX_BYTES
from sightline.data.layout import JUNK, Found, Origin, arrange, printable
from sightline.errors import InvalidSource
from sightline.files import cache_folder, staged_folder
from sightline.progress import reporter
from sightline.records import Dataset

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
# An archive that claims to expand beyond this is a bomb or needs to be unpacked by its owner.
MOST_EXPANDED_BYTES = 200 * 2**30


def read_archive(path: Path, *, label_from: str = "first", name: str | None = None) -> Dataset:
    """Open a zip or tar of photographs; it is laid out as a folder is.

    Args:
        path: a .zip, .tar, or compressed .tar, which is unpacked once to a plain tar in the cache.
        label_from: "first" or "last", as for folders.
        name: short name; that of the file if None.

    Returns:
        One row a member in a class folder. Members with absolute paths or "..", links,
        devices and encrypted members are in `left_out`.

    Raises:
        InvalidSource: it is damaged, expands without end, or has no class folders.

    Example:
        >>> read_archive(Path("nowhere.zip"))
        Traceback (most recent call last):
        sightline.errors.InvalidSource: nowhere.zip: cannot be read as an archive (No such file or directory).
    """
    left_out: list[tuple[str, str]] = []
    try:
        if zipfile.is_zipfile(path):
            kind, place, found = "zip", path, list(_zip_members(path, left_out))
        else:
            kind, place = "tar", _plain_tar(path)
            found = list(_tar_members(place, left_out))
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidSource(f"{path}: cannot be read as an archive ({reason}).") from error
    stem = next((path.name[: -len(suffix)] for suffix in SUFFIXES if path.name.lower().endswith(suffix)), path.stem)
    return arrange(found, Origin(place, kind, name or stem), label_from=label_from, left_out=tuple(left_out))


def _zip_members(path: Path, left_out: list[tuple[str, str]]) -> Iterator[Found]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _refuse_bomb(path, sum(member.file_size for member in members))
        for number, member in enumerate(members):
            if member.is_dir() or _is_hidden(member.filename):
                continue
            reason = _why_not(member.filename, member.file_size)
            if member.flag_bits & 1:
                reason = "is encrypted"
            elif (member.external_attr >> 16) & 0o170000 == 0o120000:
                reason = "is a link"
            if reason:
                left_out.append((printable(member.filename), reason))
            else:
                yield Found(member.filename, member.file_size, number)


def _tar_members(path: Path, left_out: list[tuple[str, str]]) -> Iterator[Found]:
    with tarfile.open(path, "r:") as archive:
        for number, member in enumerate(archive):
            name = member.name.removeprefix("./")
            if member.isdir() or _is_hidden(name):
                continue
            reason = _why_not(member.name, member.size) if member.isreg() else "is a link or a device"
            if member.issparse():
                reason = "is a sparse file"
            if reason:
                left_out.append((printable(name), reason))
            else:
                yield Found(name, member.size, number, member.offset_data)


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name.removeprefix("./")).parts
    return any(part in JUNK or (part.startswith(".") and part != "..") for part in parts)


def _why_not(name: str, num_bytes: int) -> str:
    parts = PurePosixPath(name).parts
    if name.startswith(("/", "\\")) or ".." in parts or (parts and ":" in parts[0]):
        return "its path leads out of the archive"
    if num_bytes > MAX_BYTES:
        return f"{num_bytes:,} bytes; images of more than {MAX_BYTES:,} are not opened"
    return ""


def _refuse_bomb(path: Path, num_bytes: int) -> None:
    if num_bytes > MOST_EXPANDED_BYTES:
        raise InvalidSource(
            f"{path}: would expand to {num_bytes / 2**30:,.0f} GiB; archives of more than "
            f"{MOST_EXPANDED_BYTES / 2**30:,.0f} GiB are not opened. Unpack it and name the folder."
        )


def _plain_tar(path: Path) -> Path:
    """The tar itself, or, if it is compressed, its plain form in the cache: it cannot be read at random otherwise."""
    with path.open("rb") as stream:
        head = stream.read(6)
    if not head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")):
        return path
    status = path.stat()
    key = hashlib.sha256(f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()[:32]
    folder = cache_folder() / "archives" / key
    if not (folder / "plain.tar").is_file():
        with staged_folder(folder) as staged:
            _expand(path, staged / "plain.tar", head)
    return folder / "plain.tar"


def _expand(path: Path, plain: Path, head: bytes) -> None:
    import bz2
    import gzip
    import lzma

    opener = gzip.open if head.startswith(b"\x1f\x8b") else bz2.open if head.startswith(b"BZh") else lzma.open
    size = path.stat().st_size
    bar_of_bytes = reporter().bar(f"unpacking {path.name}", total=size, unit="bytes")
    with path.open("rb") as raw, opener(raw, "rb") as stream, plain.open("xb") as out, bar_of_bytes as bar:
        while block := stream.read(4 * 2**20):
            out.write(block)
            _refuse_bomb(path, out.tell())
            bar.advance(raw.tell() - bar.done)
