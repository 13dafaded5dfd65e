"""The folder of parts: what is planned, what is there, and, when all of it is, what it holds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sightline._version import __version__
from sightline.bundles.answers.formats import format_of_table
from sightline.bundles.answers.notes import differences
from sightline.data.storage.blobs import BlobStore
from sightline.data.storage.stores import ArchiveStore, FolderStore
from sightline.deployment.bulk.images import BulkImages
from sightline.deployment.bulk.parts import (
    OtherFiles,
    Part,
    PartNote,
    PartStep,
    cut_parts,
    file_of,
    names_digest,
    note_of,
    parts_at,
    sizes_of,
)
from sightline.errors import CannotWrite, InvalidValue, NotReached, OutputExists
from sightline.system.files import held, is_leftover, remove_leftovers, write_atomically, writing_to
from sightline.system.paths import absolute_path
from sightline.system.progress import reporter
from sightline.system.stored import read_json
from sightline.system.text import counted, json_line, printable
from sightline.system.workers import Map

PARTS, PLAN, MANIFEST = ".parts", "plan.json", "manifest.json"
_VERSION, _END = 1, object()
_IN_ORDER = "It has to give each result once, in the order of its items."
# A file system over the network tells of others' files a little later.
_SEEN_WITHIN_SECONDS = 10.0
_MOST_PLAN_BYTES = 2**28
_PART = re.compile(r"part-\d{5,}\.(jsonl|note\.json)")


def format_of_parts(target: Path) -> str:
    """The format of the file that parts are joined in, by its ending; without one they stay parts of JSON Lines."""
    return format_of_table(target) if target.suffix else "jsonl"


@dataclass(frozen=True)
class PartFolder:
    """A folder whose parts are planned, and some of which may be there.

    Attributes:
        path: from the root.
        typed: as its user called it.
        cuts: first and last row of each part.
    """

    path: Path
    typed: Path
    cuts: tuple[tuple[int, int], ...]

    def notes(self, step: PartStep, images: BulkImages, *, each: Map) -> Iterator[PartNote]:
        """Make the parts that are not there, and give the notes of all, in order."""
        given = iter(each(step, parts_at(images, self.cuts)))
        for number in range(len(self.cuts)):
            yield self._checked(next(given, None), number, step)
        if next(given, _END) is not _END:
            raise InvalidValue(f"map gave more results than there are parts. {_IN_ORDER}")

    def _checked(self, found: Any, number: int, step: PartStep) -> PartNote:
        if isinstance(found, OtherFiles):
            # What changed here since it was looked up is answered as it is, as one machine would.
            found = step(_as_it_is_here(found))
        first, last = self.cuts[number]
        if not isinstance(found, PartNote) or (found.number, found.rows) != (number, last - first):
            raise InvalidValue(f"map gave no answer to part {number:,}. {_IN_ORDER}")
        path, deadline = self.path / file_of(number), time.monotonic() + _SEEN_WITHIN_SECONDS
        while not (path.is_file() and path.stat().st_size == found.bytes):
            if time.monotonic() > deadline:
                raise NotReached(
                    f"{self.typed}: {path.name} was written by another machine and is not seen here. Name a place that "
                    "all machines have under the same path."
                )
            time.sleep(0.1)
        return found

    def content(self, number: int, note: PartNote) -> bytes:
        """The lines of a part, which are those that its note tells of."""
        content = (self.path / file_of(number)).read_bytes()
        if hashlib.sha256(content).hexdigest() != note.sha256:
            raise CannotWrite(f"{self.typed}: {file_of(number)} was changed meanwhile. Run the same command once more.")
        return content

    def finish(self, notes: Sequence[PartNote], asked: Mapping[str, Any]) -> None:
        """Write down what all parts hold; with that the folder is whole, and their notes go."""
        parts = [
            {"file": file_of(number), "rows": note.rows, "bytes": note.bytes, "sha256": note.sha256}
            for number, note in enumerate(notes)
        ]
        whole = {"format": _VERSION, "sightline": __version__, **asked, "num_images": sum(note.rows for note in notes)}
        write_atomically(self.path / MANIFEST, f"{json_line({**whole, 'parts': parts})}\n")
        for number in range(len(parts)):
            (self.path / note_of(number)).unlink(missing_ok=True)
        remove_leftovers(self.path)

    def remove(self) -> None:
        """All of it that is ours, and the folder if nothing else is in it."""
        _clear(self.path)
        with contextlib.suppress(OSError):
            self.path.rmdir()


def _as_it_is_here(found: OtherFiles) -> Part:
    """The part as its files are here now; refused where they are as planned, and that machine has others."""
    part = found.part
    store, row, size = part.piece.store, found.row, part.sizes[found.row]
    if sizes_of(part.piece)[row] != size:
        return replace(part, is_as_it_is=True)
    path = Path(part.piece.names[row])
    if isinstance(store, ArchiveStore | FolderStore):
        path = store.place if isinstance(store, ArchiveStore) else store.place / path
    elif isinstance(store, BlobStore):
        path = store.blobs[int(store.blob_of[row])].place() or path
    there = "there is no such file" if found.found < 0 else f"it has {found.found:,} bytes there"
    here = "none here" if size < 0 else f"{size:,} here"
    raise NotReached(
        f"{found.node} has other files than this machine: {printable(str(absolute_path(path)))}: {there}, and {here}. "
        "Bring them under the same path on each node, and run the same command once more: what is finished is kept."
    )


@contextlib.contextmanager
def part_folder(typed: Path, images: BulkImages, asked: Mapping[str, Any], *, overwrite: bool) -> Iterator[PartFolder]:
    """The folder of parts of these images, held while it is worked at: begun, or taken up where one was stopped."""
    path = absolute_path(typed)
    told = json.loads(json.dumps({**asked, "names_sha256": names_digest(images.names(0, len(images)))}))
    with writing_to(typed):
        if path.exists() and not path.is_dir():
            raise OutputExists(f"{typed} is a file; it was not changed. Name a folder.")
        if strangers := [entry.name for entry in path.iterdir() if not _is_ours(entry)] if path.is_dir() else []:
            raise OutputExists(
                f"{typed} is a folder that holds something else, such as {printable(min(strangers))}; nothing in it "
                "was changed. Choose another place."
            )
        path.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(path))
        except BlockingIOError as error:
            raise OutputExists(f"{typed}: another command is writing it. Wait for its end, or name another.") from error
        folder = PartFolder(path, typed, _planned(path, typed, images, told, overwrite=overwrite))
        try:
            yield folder
        except BaseException:
            if kept := sum((path / note_of(number)).exists() for number in range(len(folder.cuts))):
                planned = counted(len(folder.cuts), "part")
                reporter().say(f"{kept:,} of {planned} are kept in {typed}; the same command goes on with the others")
            else:
                folder.remove()
            raise


def _planned(
    path: Path, typed: Path, images: BulkImages, told: Mapping[str, Any], *, overwrite: bool
) -> tuple[tuple[int, int], ...]:
    """The cuts of the plan that is there, if it is the same one; else those of a new plan."""
    remedy = "Move it away, or add --overwrite to lose it."
    left = f"{typed} holds answers of a command that was stopped"
    try:
        if (path / MANIFEST).exists():
            raise OutputExists(f"{typed} holds all answers of a command that came to its end. {remedy}")
        if (path / PLAN).exists():
            before = _read_plan(path / PLAN)
            if before is None:
                raise OutputExists(f"{left}, and no plan to read. {remedy}")
            if changes := differences(before[0], told):
                raise OutputExists(f"{left}. They were asked otherwise, or of other images: {changes}. {remedy}")
            return before[1]
    except OutputExists:
        if not overwrite:
            raise
    _clear(path)
    cuts = tuple(cut_parts(images))
    plan = {"format": _VERSION, "asked": told, "num_images": len(images), "parts": cuts}
    write_atomically(path / PLAN, f"{json_line(plan)}\n")
    return cuts


def _read_plan(path: Path) -> tuple[dict[str, Any], tuple[tuple[int, int], ...]] | None:
    """What was asked, and the cuts; None where it is no plan that has each image in one part."""
    try:
        plan = read_json(path, most_bytes=_MOST_PLAN_BYTES)
        asked, cuts = dict(plan["asked"]), tuple((int(first), int(last)) for first, last in plan["parts"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    ends = [0, *(last for _, last in cuts)]
    is_whole = plan.get("format") == _VERSION and all(first < last for first, last in cuts)
    if "names_sha256" in asked and ends[:-1] == [first for first, _ in cuts] and is_whole:
        # Those of other images are told by their names.
        return asked, cuts
    return None


def _is_ours(entry: Path) -> bool:
    return entry.name in (PLAN, MANIFEST) or _PART.fullmatch(entry.name) is not None or is_leftover(entry)


def _clear(path: Path) -> None:
    # The plan goes last: what has none is no folder of parts.
    ours = [entry for entry in path.iterdir() if _is_ours(entry) and entry.is_file()]
    for entry in sorted(ours, key=lambda entry: entry.name == PLAN):
        entry.unlink(missing_ok=True)
