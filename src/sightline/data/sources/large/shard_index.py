"""What tar shards hold, told by one pass over each and kept in the cache: where each image begins, and its label."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.data.sources.large.shard_members import MEANINGS, OneShard, told_of
from sightline.data.sources.local.tables import Columns
from sightline.data.storage.blobs import Blob
from sightline.data.storage.packed_names import PackedNames
from sightline.errors import CannotWrite, OutputExists
from sightline.system.caches import cache_root, discard, find_entry, new_entry
from sightline.system.progress import reporter
from sightline.system.stored import read_arrays
from sightline.system.text import printable
from sightline.system.workers import map_in_order

_KIND, _FILE = "indexes", "index.npz"
# Of the index; another one is made anew.
_FORMAT = "1"
_THREADS = 8


@dataclass(frozen=True, eq=False)
class Coded:
    """Texts of which many are the same: the different ones, and (num_images,) int32 which of them each is."""

    values: tuple[str, ...]
    codes: NDArray[np.int32]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Coded:
        """Of the texts themselves."""
        number = {text: code for code, text in enumerate(dict.fromkeys(texts))}
        return cls(tuple(number), np.fromiter((number[text] for text in texts), np.int32, len(texts)))

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> list[str]:
        return [self.values[code] for code in self.codes[rows].tolist()]


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """What some shards hold, one behind the other.

    Attributes:
        names: (num_images,) of the members, as they are called in their shard.
        num_bytes: (num_images,) int64.
        offsets: (num_images,) int64, where the bytes of each begin.
        told: "label", "split" and "group" to what each sample says of it, "" where it says nothing.
        shard_of: (num_images,) int32.
        contents: (num_shards,) int64, a checksum of each whose times mean nothing; else 0.
        faults: (num_shards,) why a shard cannot be read, or not to its end; "" where it can.
        left_out: (shard, member, reason) of what is no row.
    """

    names: PackedNames
    num_bytes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    told: Mapping[str, Coded]
    shard_of: NDArray[np.int32]
    contents: NDArray[np.int64]
    faults: tuple[str, ...]
    left_out: tuple[tuple[int, str, str], ...]

    def take_shards(self, numbers: Sequence[int]) -> list[OneShard]:
        """Some of them, each for itself."""
        found = []
        bounds = np.searchsorted(self.shard_of, np.arange(len(self.faults) + 1))
        for number in numbers:
            rows = slice(int(bounds[number]), int(bounds[number + 1]))
            one = OneShard(content=int(self.contents[number]), fault=self.faults[number])
            one.names, one.num_bytes = list(self.names[rows]), self.num_bytes[rows].tolist()
            one.offsets = self.offsets[rows].tolist()
            one.told = {meaning: values[rows] for meaning, values in self.told.items()}
            one.left_out = [(name, reason) for shard, name, reason in self.left_out if shard == number]
            found.append(one)
        return found


def index_of(blobs: Sequence[Blob], *, where: str, columns: Columns | None = None) -> ShardIndex:
    """The index of some shards: from the cache, where they are as they were; made anew for those that are not.

    Args:
        blobs: the shards.
        where: the source as it is found again, which the index is kept by.
        columns: what the keys of a sample's JSON are called, where they are not label, split and group.
    """
    said = repr((_FORMAT, where, sorted((key, names) for key, names in (columns or {}).items())))
    place = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    versions = [_digest(blob.version()) for blob in blobs]
    if (kept := _read(find_entry(_KIND, _key(place, versions)))) is not None and kept[1] == versions:
        return kept[0]
    known = _known_shards(place)
    missing = [number for number, version in enumerate(versions) if version not in known]
    made: dict[int, OneShard] = {}
    try:
        with reporter().bar("indexing", total=len(missing), unit="shards") as bar:
            one = partial(told_of, columns=columns or {})
            looked = map_in_order(one, [blobs[number] for number in missing], workers=min(_THREADS, len(missing)))
            with contextlib.closing(looked):
                for number, shard in zip(missing, looked, strict=True):
                    made[number] = shard
                    bar.advance(1)
    except BaseException:
        done = [number for number, version in enumerate(versions) if number in made or version in known]
        if made:
            whole = _joined([made[number] if number in made else known[versions[number]] for number in done])
            _keep(whole, [versions[number] for number in done], where=where, place=place)
        raise
    shards = [made[number] if number in made else known[versions[number]] for number in range(len(blobs))]
    index = _joined(shards)
    _keep(index, versions, where=where, place=place)
    return index


def _key(place: str, versions: Sequence[str]) -> str:
    return f"{place}-{hashlib.sha256(repr(list(versions)).encode()).hexdigest()[:16]}"


def _digest(version: tuple[Any, ...] | None) -> str:
    return hashlib.blake2b(repr(version).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _joined(shards: Sequence[OneShard]) -> ShardIndex:
    def flat(parts: Iterable[Sequence[int]]) -> NDArray[np.int64]:
        return np.fromiter((value for part in parts for value in part), np.int64)

    return ShardIndex(
        names=PackedNames.of(name for shard in shards for name in shard.names),
        num_bytes=flat(shard.num_bytes for shard in shards),
        offsets=flat(shard.offsets for shard in shards),
        told={meaning: Coded.of([value for shard in shards for value in shard.told[meaning]]) for meaning in MEANINGS},
        shard_of=np.repeat(np.arange(len(shards), dtype=np.int32), [len(shard.names) for shard in shards]),
        contents=np.array([shard.content for shard in shards], np.int64),
        faults=tuple(shard.fault for shard in shards),
        left_out=tuple(
            (number, name, reason) for number, shard in enumerate(shards) for name, reason in shard.left_out
        ),
    )


def _keep(index: ShardIndex, versions: Sequence[str], *, where: str, place: str) -> None:
    """Keep it, in place of what was kept of the same source before; without a cache it is made each time."""
    arrays: dict[str, Any] = {
        "versions": np.array(versions, "S32"),
        "names": np.frombuffer(index.names.text, np.uint8),
        "ends": index.names.ends,
        "num_bytes": index.num_bytes,
        "offsets": index.offsets,
        "shard_of": index.shard_of,
        "contents": index.contents,
        "faults": _packed(index.faults),
        "left_out_shards": np.array([number for number, _, _ in index.left_out], np.int64),
        "left_out_names": _packed([name for _, name, _ in index.left_out]),
        "left_out_reasons": _packed([reason for _, _, reason in index.left_out]),
    }
    for meaning, coded in index.told.items():
        arrays[f"{meaning}_values"], arrays[f"{meaning}_codes"] = _packed(coded.values), coded.codes
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    before, key = _entries(place), _key(place, versions)
    try:
        with new_entry(_KIND, key, holds=f"index of {printable(where)}", num_bytes=stream.tell()) as staged:
            (staged / _FILE).write_bytes(stream.getbuffer())
    except OutputExists:
        return
    except (CannotWrite, OSError) as error:
        reporter().say(
            f"note: the index of these shards is made again next time, since the cache does not take it: {error}"
        )
        return
    for entry in before:
        if entry.name != key:
            discard(entry)


def _packed(texts: Iterable[str]) -> NDArray[np.uint8]:
    """Texts as one array of bytes, each behind its length."""
    parts = []
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        parts.append(len(encoded).to_bytes(4, "little") + encoded)
    return np.frombuffer(b"".join(parts), np.uint8)


def _unpacked(array: NDArray[np.uint8]) -> list[str]:
    data, texts, at = array.tobytes(), list[str](), 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        texts.append(data[at + 4 : at + 4 + size].decode("utf-8", "surrogatepass"))
        at += 4 + size
    return texts


def _entries(place: str) -> list[Path]:
    with contextlib.suppress(OSError, CannotWrite):
        return sorted((cache_root() / _KIND).glob(f"{place}-*"))
    return []


def _known_shards(place: str) -> dict[str, OneShard]:
    """By its version, each shard that an index of the same source tells of."""
    known: dict[str, OneShard] = {}
    for entry in _entries(place):
        if (kept := _read(find_entry(_KIND, entry.name))) is not None:
            index, versions = kept
            known |= dict(zip(versions, index.take_shards(range(len(versions))), strict=True))
    return known


def _read(entry: Path | None) -> tuple[ShardIndex, list[str]] | None:
    """An index that was kept, and the versions of its shards; None where there is none, or it is damaged."""
    if entry is None:
        return None
    try:
        kept = read_arrays(entry / _FILE)
        told = {
            meaning: Coded(tuple(_unpacked(kept[f"{meaning}_values"])), kept[f"{meaning}_codes"])
            for meaning in MEANINGS
        }
        index = ShardIndex(
            names=PackedNames(kept["names"].tobytes(), kept["ends"]),
            num_bytes=kept["num_bytes"],
            offsets=kept["offsets"],
            told=told,
            shard_of=kept["shard_of"],
            contents=kept["contents"],
            faults=tuple(_unpacked(kept["faults"])),
            left_out=tuple(
                zip(
                    kept["left_out_shards"].tolist(),
                    _unpacked(kept["left_out_names"]),
                    _unpacked(kept["left_out_reasons"]),
                    strict=True,
                )
            ),
        )
        return index, [version.decode() for version in kept["versions"].tolist()]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        discard(entry)
        return None
