"""Answers in parts: files of at most 2,048 images each, made anywhere, by whoever has one to make, and the same."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sightline.bundles.answers.formats import TABLE_FORMATS, Columns
from sightline.bundles.answers.notes import Tally
from sightline.bundles.prediction import CHUNK
from sightline.data.storage.blobs import BlobStore
from sightline.data.storage.stores import ArchiveStore
from sightline.deployment.bulk.images import BulkImages, Piece, Stamp
from sightline.deployment.bulk.step import PART, AnswerStep
from sightline.system.files import sha256_of, write_atomically
from sightline.system.stored import read_json
from sightline.system.text import json_line
from sightline.system.workers import node_name
from sightline.tasks.task import Task

# Of the files of a part: what a worker that is lost has to do again takes as long for few large images as for many.
PART_BYTES = 2**28
_MOST_NOTE_BYTES = 2**24


@dataclass(frozen=True)
class Part:
    """Some of the images, one behind the other.

    Attributes:
        number: of the part, from 0.
        piece: its images.
        sizes: bytes of the files that they lie in, as they were seen where the plan was made; -1 where there is none.
        is_as_it_is: answer what is there, whatever sizes it has.
    """

    number: int
    piece: Piece
    sizes: tuple[int, ...]
    is_as_it_is: bool = False


@dataclass(frozen=True)
class OtherFiles:
    """Why a part was not answered: on that machine there are other files than where the plan was made, or none.

    Attributes:
        part: as it was handed over.
        row: of its first such image.
        node: the machine.
        found: bytes of the file there; -1 where there is none.
    """

    part: Part
    row: int
    node: str
    found: int


@dataclass(frozen=True)
class PartNote:
    """What is known of a part that is written.

    Attributes:
        number: of the part.
        rows, bytes, sha256: of its file.
        images: SHA-256 of the names, and of sizes and times of the files, from before they were read.
        asked_for: what its rows have that not every answer has.
        classes, flags: as `Tally`.
        was_there: it was written by a command before this one.
    """

    number: int
    rows: int
    bytes: int
    sha256: str
    images: str
    asked_for: tuple[str, ...] = ()
    classes: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    was_there: bool = False

    @property
    def tally(self) -> Tally:
        """Of its rows."""
        return Tally(Counter(self.classes), Counter(self.flags))


def file_of(number: int) -> str:
    """What the file of a part is called."""
    return f"part-{number:05d}.jsonl"


def note_of(number: int) -> str:
    """What its note is called, as long as not all parts are there."""
    return f"part-{number:05d}.note.json"


@dataclass(frozen=True)
class PartStep:
    """Answers a part into its file, written beside and renamed; what is there already and the same is left.

    Attributes:
        answers: what answers its images.
        folder: of the parts.
        task: of the bundle.
        columns: what a row tells.
        form: of the lines, in `TABLE_FORMATS`; without the head that a table begins with.
    """

    answers: AnswerStep
    folder: Path
    task: Task
    columns: Columns
    form: str = "jsonl"

    def __call__(self, part: Part) -> PartNote | OtherFiles:
        """What was written, or why nothing was."""
        seen = stamps_of(part.piece)
        images = _known_by(part.piece.names, seen)
        if (there := read_note(self.folder, part.number)) is not None and there.images == images:
            return there
        if not part.is_as_it_is:
            for row, (stamp, size) in enumerate(zip(seen, part.sizes, strict=True)):
                if (found := -1 if stamp is None else stamp[0]) != size:
                    return OtherFiles(part, row, node_name(), found)
        lines, tally, asked_for = [], Tally(), list[str]()
        line = TABLE_FORMATS[self.form].line
        for portion in self.answers(part.piece):
            asked_for = asked_for or portion.asked_for
            lines += [line(row, self.columns, self.task, portion.asked_for) for row in portion.rows]
            tally.add(Tally.of(portion.rows))
        content = "".join(lines).encode()
        write_atomically(self.folder / file_of(part.number), content)
        digest = hashlib.sha256(content).hexdigest()
        told = (tuple(asked_for), dict(tally.classes), dict(tally.flags))
        note = PartNote(part.number, len(part.piece), len(content), digest, images, *told)
        # Behind the file: a part without a note is made anew.
        write_atomically(self.folder / note_of(part.number), json_line(asdict(note)))
        return note


def read_note(folder: Path, number: int) -> PartNote | None:
    """What is known of a part whose file is whole; None where it is to be made."""
    try:
        told = read_json(folder / note_of(number), most_bytes=_MOST_NOTE_BYTES)
        note = PartNote(**{**told, "asked_for": tuple(told["asked_for"]), "was_there": True})
        path = folder / file_of(number)
        is_whole = path.stat().st_size == note.bytes and sha256_of(path) == note.sha256
        note.tally.add(Tally())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return note if is_whole and note.number == number else None


def stamps_of(piece: Piece) -> list[Stamp]:
    """Size and time of the files of images, as they are on this machine: of each, or of their archive alone."""
    store = piece.store
    if isinstance(store, ArchiveStore):
        return [piece.stamp(0)]
    if not isinstance(store, BlobStore):
        return [piece.stamp(row) for row in range(len(piece))]
    # What such a store tells by itself is how its files were when it was opened, on another machine perhaps.
    is_there = {number: store.blobs[number].version() is not None for number in set(store.blob_of.tolist())}
    return [piece.stamp(row) if is_there[number] else None for row, number in enumerate(store.blob_of.tolist())]


def sizes_of(piece: Piece) -> tuple[int, ...]:
    """Bytes of these files; -1 where there is none."""
    return tuple(-1 if stamp is None else stamp[0] for stamp in stamps_of(piece))


def cut_parts(images: BulkImages) -> Iterator[tuple[int, int]]:
    """First and last row of each part: at most 2,048 images and 256 MB, of one place.

    They end where the network is given a new portion, so that answers are the same wherever a part ends.
    """
    begin = 0
    for piece in images.pieces:
        sizes = sizes_of(piece) if piece.store is None else piece.store.num_bytes.tolist()
        yield from ((begin + first, begin + last) for first, last in _cut(sizes))
        begin += len(piece)


def _cut(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    first, num_bytes = 0, 0
    for chunk in range(0, len(sizes), CHUNK):
        more = sum(max(0, size) for size in sizes[chunk : chunk + CHUNK])
        if chunk > first and (chunk - first >= PART or num_bytes + more > PART_BYTES):
            yield first, chunk
            first, num_bytes = chunk, 0
        num_bytes += more
    if len(sizes) > first:
        yield first, len(sizes)


def parts_at(images: BulkImages, cuts: Sequence[tuple[int, int]]) -> Iterator[Part]:
    """The parts, as they are needed."""
    ends = list(itertools.accumulate(map(len, images.pieces)))
    for number, (first, last) in enumerate(cuts):
        place = next(at for at, end in enumerate(ends) if first < end)
        begin = ends[place] - len(images.pieces[place])
        piece = images.pieces[place].part(first - begin, last - begin)
        yield Part(number, piece, sizes_of(piece))


def names_digest(names: Iterable[str]) -> str:
    """SHA-256 of the names of images, in their order."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _known_by(names: Sequence[str], stamps: Sequence[Stamp]) -> str:
    return names_digest([*names, json.dumps(stamps)])
