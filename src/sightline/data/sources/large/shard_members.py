"""One pass over a tar shard: its samples, `key.jpg` beside `key.cls`, `key.txt` or `key.json`, as WebDataset writes."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sightline.data.decoding.containers import MAX_BYTES
from sightline.data.decoding.formats import IMAGE_SUFFIXES
from sightline.data.sources.local.cells import cell_text
from sightline.data.sources.local.tables import COLUMNS, Columns
from sightline.data.storage.archive_members import MOST_MEMBERS
from sightline.data.storage.blobs import Blob
from sightline.data.storage.listing import is_passed_over
from sightline.errors import UnreadableImage
from sightline.system.stored import parse_json, raise_if_exhausted
from sightline.system.text import printable

_LABEL_SUFFIXES = ("cls", "json", "txt")
MEANINGS = ("label", "split", "group")
"""What a sample may say of itself."""

# A class is named in a few words; a description of a picture may be long.
_MOST_LABEL_BYTES = 2**20
_BLOCK_BYTES = 4 * 2**20
REPEATED = "stands twice in its shard; the last one counts"
CUT_OFF = "was cut off, or is damaged, behind {}"
# Errors that damaged archives bring tarfile to raise.
_DAMAGED = (tarfile.TarError, EOFError, ValueError, OverflowError, zlib.error)


@dataclass
class OneShard:
    """What one shard holds; as `ShardIndex`."""

    names: list[str] = field(default_factory=list)
    num_bytes: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    told: dict[str, list[str]] = field(default_factory=lambda: {meaning: [] for meaning in MEANINGS})
    left_out: list[tuple[str, str]] = field(default_factory=list)
    content: int = 0
    fault: str = ""


@dataclass
class _Sample:
    """All members of one key: endings of images with (name, size, offset), and endings of labels with their text."""

    images: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


def is_shard(path: Path) -> bool:
    """Whether a tar holds samples: among its first members, an image and a label of one key, or a class number."""
    try:
        with tarfile.open(path, "r:") as archive:
            seen: dict[str, set[bool]] = {}
            for _, member in zip(range(64), _members(archive), strict=False):
                key, ending = _parted(member.name)
                if ending == "cls":
                    return True
                if member.isreg() and (_is_image(ending) or ending in _LABEL_SUFFIXES):
                    seen.setdefault(key, set()).add(_is_image(ending))
            return any(len(kinds) == 2 for kinds in seen.values())
    except (OSError, *_DAMAGED):
        return False


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        vars(archive)["members"] = []  # kept for `getmembers`, a kilobyte each; nobody asks for them
        yield member


def _parted(name: str) -> tuple[str, str]:
    """Key and ending of a member: what stands before the first dot of its last part, and behind it."""
    folder, slash, file = name.removeprefix("./").rpartition("/")
    stem, _, ending = file.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _is_image(ending: str) -> bool:
    return f".{ending.rpartition('.')[2]}" in IMAGE_SUFFIXES


def told_of(blob: Blob, columns: Columns) -> OneShard:
    """What one shard holds; a fault instead where it cannot be read at all."""
    shard = OneShard()
    try:
        with blob.open() as stream:
            _refuse_packed(stream)
            _pass_over(blob, stream, shard, columns)
        if blob.stamp == 0:
            shard.content = _checksum(blob)
    except (*_DAMAGED, UnreadableImage) as error:
        shard.fault = f"is no tar that can be read ({printable(str(error)).rstrip('.') or type(error).__name__})"
    except OSError as error:
        raise_if_exhausted(error)
        shard.fault = f"cannot be read ({error.strerror or error})"
    return shard


def _refuse_packed(stream: BinaryIO) -> None:
    head = stream.read(6)
    stream.seek(0)
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")):
        raise ValueError("it is compressed, and its images could be reached from its beginning alone; unpack it")


def _pass_over(blob: Blob, stream: BinaryIO, shard: OneShard, columns: Columns) -> None:
    samples: dict[str, _Sample] = {}
    last, end = "", 0
    try:
        # The stream is handed over, not its name: it may lie anywhere.
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for count, member in enumerate(_members(archive)):
                if count >= MOST_MEMBERS:
                    raise ValueError(f"it holds more than {MOST_MEMBERS:,} members")
                _take(blob, stream, member, samples, shard)
                last, end = member.name, member.offset_data + _in_blocks(member.size if member.isreg() else 0)
    except tarfile.TarError:
        if not last:
            raise
    for key, sample in samples.items():
        _add(shard, key, sample, columns)
    # Whoever writes a tar to its end puts blocks of zeros there.
    stream.seek(min(end, blob.num_bytes))
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        shard.fault = CUT_OFF.format(printable(repr(last)) if last else "its beginning")


def _in_blocks(num_bytes: int) -> int:
    return -(-num_bytes // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _take(blob: Blob, stream: BinaryIO, member: tarfile.TarInfo, samples: dict[str, _Sample], shard: OneShard) -> None:
    name = member.name.removeprefix("./")
    if member.isdir() or any(is_passed_over(part) for part in name.split("/")):
        return
    key, ending = _parted(name)
    sample = samples.setdefault(key, _Sample())
    if not (_is_image(ending) or ending in _LABEL_SUFFIXES):
        return  # other things that are known of a sample
    if not member.isreg() or member.issparse():
        shard.left_out.append((printable(name), "is a link, a device or a sparse file"))
    elif _is_image(ending):
        if member.size > MAX_BYTES:
            reason = f"{member.size:,} bytes; at most {MAX_BYTES:,} are read; save it smaller"
            shard.left_out.append((printable(name), reason))
            return
        if ending in sample.images:
            shard.left_out.append((printable(name), REPEATED))
        sample.images[ending] = (name, member.size, member.offset_data)
    elif member.size > _MOST_LABEL_BYTES:
        shard.left_out.append((printable(name), f"{member.size:,} bytes, too many for a label"))
    elif member.offset_data + member.size <= blob.num_bytes:
        stream.seek(member.offset_data)
        sample.labels[ending] = stream.read(member.size).decode("utf-8", "replace")


def _add(shard: OneShard, key: str, sample: _Sample, columns: Columns) -> None:
    if not sample.images:
        if sample.labels:
            shard.left_out.append((printable(key), "has a label and no image"))
        return
    # Of several pictures of one sample, the one that is called by its format alone is the picture.
    plain = [ending for ending in sample.images if "." not in ending]
    if len(plain) != 1 and len(sample.images) > 1:
        endings = ", ".join(sorted(sample.images))
        shard.left_out.append((printable(key), f"has {len(sample.images)} images ({endings}); keep one of them"))
        return
    name, num_bytes, offset = sample.images[(plain or list(sample.images))[0]]
    told = _told(sample.labels, columns)
    shard.names.append(name)
    shard.num_bytes.append(num_bytes)
    shard.offsets.append(offset)
    for meaning in MEANINGS:
        shard.told[meaning].append(told.get(meaning, ""))


def _told(labels: Mapping[str, str], columns: Columns) -> dict[str, str]:
    """What a sample says: by its class number, else by its JSON, else by its text."""
    told: dict[str, str] = {}
    with contextlib.suppress(ValueError):
        content = parse_json(labels["json"]) if "json" in labels else {}
        if isinstance(content, dict):
            lowered = {str(name).lower(): value for name, value in content.items()}
            for meaning in MEANINGS:
                chosen = columns.get(meaning, COLUMNS[meaning])
                wanted = (chosen,) if isinstance(chosen, str) else chosen
                values = (lowered[name.lower()] for name in wanted if name.lower() in lowered)
                value = next(values, None)
                told[meaning] = "" if isinstance(value, dict) else cell_text(value)
        elif isinstance(content, str | int):
            told["label"] = cell_text(content)
    if "label" in columns:  # whoever names a key of the JSON means that
        return told
    for ending in ("cls", "txt"):
        if text := labels.get(ending, "").strip("\ufeff \t\r\n\0"):
            if ending == "cls" or not told.get("label"):
                told["label"] = text
            break
    return told


def _checksum(blob: Blob) -> int:
    """Of all its bytes, as a number that is not 0."""
    digest = hashlib.blake2b(digest_size=7)
    with blob.open() as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return int.from_bytes(digest.digest(), "big") or 1
