"""The table of `predict --out`: it grows beside its place as the answers come; a stopped one is gone on with."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from sightline.bundles.answers.formats import TABLE_FORMATS, Columns
from sightline.bundles.answers.notes import KeptAnswers, Tally, differences, file_stamp, read_note
from sightline.errors import CannotWrite, InvalidValue, OutputExists
from sightline.system.files import hold_file, is_free_to_hold, open_as_it_is, remove_unless_held, writing_to
from sightline.system.paths import absolute_path
from sightline.system.progress import reporter
from sightline.system.text import json_line
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.task import Task

PARTIAL = ".partial"
NOTE = ".partial.jsonl"
# Windows would write each line break as two bytes otherwise.
_BINARY = getattr(os, "O_BINARY", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY


class AnswerTable:
    """Rows of answers, appended to `<name>.partial` portion by portion, which is renamed when all are there.

    What ends it early leaves that file, and beside it a note, `<name>.partial.jsonl`: its first line says what was
    asked, each further one tells of a portion: how many rows and bytes of the table are whole with it, the hash of all
    names so far, its tally, and size and time (in ns) of each of its files, null where there is none. Whoever asks the
    same again goes on behind them: `num_rows` says how many there are, and `kept` of which files, for its user to look
    whether they changed.

    Attributes:
        form: its format's name.
        asked_for: what its rows have that not every answer has, since the first of them.
        tally: of all its rows.
    """

    def __init__(
        self,
        path: Path,
        task: Task = SINGLE_LABEL,
        *,
        columns: Columns,
        form: str = "csv",
        asked: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        """A table at `path` with such columns, in a format of `TABLE_FORMATS`; the note begins with `asked`."""
        self.task, self.columns = task, columns
        self.path = absolute_path(path)
        self.typed = path
        self.asked, self.overwrite = dict(asked or {}), overwrite
        self.num_rows = 0
        self.kept: KeptAnswers | None = None
        self.tally = Tally()
        # A pipe or a device has no place beside it; that of a shell, /dev/fd/63, has no other path either.
        self._is_plain = not path.exists() or path.is_file()
        self._was_there = False
        self.form, self._format = form, TABLE_FORMATS[form]
        self._names = hashlib.sha256()
        self.asked_for: tuple[str, ...] = ()
        self._table: IO[bytes]
        self._note: IO[bytes] | None = None

    @property
    def partial(self) -> Path:
        """Where the rows stand until all are there."""
        return self.typed.with_name(self.typed.name + PARTIAL)

    def __enter__(self) -> AnswerTable:
        with writing_to(self.typed):
            if not self._is_plain:
                if self._format.finish is not None:
                    raise InvalidValue(f"{self.typed}: a pipe or a device takes lines. Name a file, or .jsonl or .csv.")
                self._table = open_as_it_is(self.typed)
                return self
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial, note = self._beside(PARTIAL), self._beside(NOTE)
            self._was_there = self.path.exists()
            if not self._goes_on(partial, note):
                self._begin(partial, note)
        return self

    def _goes_on(self, partial: Path, note: Path) -> bool:
        """Take up what a stopped command left, if it was asked the same; else it goes, if its user said so."""
        there = [ending for ending in (PARTIAL, NOTE) if os.path.lexists(self._beside(ending))]
        if not there:
            return False
        try:
            if len(there) < 2 or partial.is_symlink() or note.is_symlink():
                raise self._taken(there[0], "It is no table that can be gone on with.")
            self._go_on(partial, note)
        except OutputExists:
            if not self.overwrite:
                raise
            self._clear(partial, note)
            return False
        return True

    def begin_anew(self, why: str) -> None:
        """Lose what was taken up, if its user said so; an OutputExists that says why it cannot be gone on with else."""
        if not self.overwrite:
            raise self._taken(PARTIAL, why)
        self._close()
        self.kept, self.num_rows, self.tally, self.asked_for = None, 0, Tally(), ()
        self._names = hashlib.sha256()
        with writing_to(self.typed):
            partial, note = self._beside(PARTIAL), self._beside(NOTE)
            self._clear(partial, note)
            self._begin(partial, note)

    def _begin(self, partial: Path, note: Path) -> None:
        # Never readable for more people than the file that it replaces.
        mode = self.path.stat().st_mode if self.path.exists() else None
        try:
            descriptor = os.open(partial, _NEW, 0o666 if mode is None else mode & 0o666)
        except FileExistsError as error:
            raise self._busy() from error
        hold_file(descriptor)
        self._table = os.fdopen(descriptor, "wb")
        try:
            self._note = os.fdopen(os.open(note, _NEW, 0o666), "wb")
            self._write_note(self.asked)
        except BaseException:  # nobody calls `__exit__` of what was not entered
            self._give_up()
            raise

    def _go_on(self, partial: Path, note: Path) -> None:
        """Take up what a stopped command of the same kind had written, and cut off what it had not noted yet."""
        descriptor = os.open(partial, os.O_RDWR | _BINARY | getattr(os, "O_NOFOLLOW", 0))
        self._table = os.fdopen(descriptor, "rb+")
        try:
            if not is_free_to_hold(descriptor):
                raise self._busy()
            kept = read_note(note, os.fstat(descriptor).st_size)
            if kept is None:
                raise self._taken(NOTE, "It cannot be read.")
            if changes := differences(kept.asked, self.asked):
                raise self._taken(PARTIAL, f"They were asked otherwise: {changes}.")
            self._table.truncate(kept.num_bytes)
            self._table.seek(kept.num_bytes)
            self.kept, self.num_rows = kept, kept.num_rows
            self.tally.add(kept.tally)
            self.asked_for = kept.asked_for
            self._note = note.open("rb+")
            self._note.truncate(kept.note_bytes)
            self._note.seek(kept.note_bytes)
        except BaseException:
            self._table.close()
            raise

    def _clear(self, partial: Path, note: Path) -> None:
        """Make room for what lies beside the table, as its user said so, unless somebody writes it."""
        try:
            if partial.is_symlink():
                partial.unlink()
            remove_unless_held(partial)
        except BlockingIOError as error:
            raise self._busy() from error
        note.unlink(missing_ok=True)

    def _busy(self) -> OutputExists:
        return OutputExists(f"{self.partial}: another command is writing it. Wait for its end, or name another file.")

    def _taken(self, ending: str, why: str) -> OutputExists:
        return OutputExists(
            f"{self.typed.with_name(self.typed.name + ending)} holds answers of a command that was stopped. {why} "
            "Move it away, or add --overwrite to lose them."
        )

    def pass_over(self, names: Iterable[str]) -> bool:
        """Whether the rows that are there already are those of these names; called once, before the first `add`."""
        self._note_names(names)
        return self.kept is not None and self._names.hexdigest() == self.kept.names

    def add(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        asked_for: Sequence[str] = (),
        stamps: Sequence[list[int] | None] | None = None,
    ) -> None:
        """Append rows as `predict --json` prints them; those keys of them, too, that not every answer has."""
        with writing_to(self.typed):
            self.asked_for = self.asked_for or tuple(asked_for)
            if self.num_rows == 0:
                self._write(self._format.head(self.columns, self.task, self.asked_for))
            for row in rows:
                self._write(self._format.line(row, self.columns, self.task, self.asked_for))
            self._table.flush()
        if stamps is None:
            stamps = [] if self._note is None else [file_stamp(row["path"]) for row in rows]
        self._note_portion([row["path"] for row in rows], Tally.of(rows), stamps)

    def add_lines(self, content: bytes, names: Sequence[str], tally: Tally, *, asked_for: Sequence[str]) -> None:
        """Append rows that are lines of this format already; of which files is nobody's to go by afterwards."""
        with writing_to(self.typed):
            if self.num_rows == 0:
                self.asked_for = tuple(asked_for)
                self._write(self._format.head(self.columns, self.task, self.asked_for))
            self._table.write(content)
            self._table.flush()
        self._note_portion(names, tally, [None] * len(names))

    def _note_portion(self, names: Sequence[str], tally: Tally, files: Sequence[list[int] | None]) -> None:
        self._note_names(names)
        num_rows = self.num_rows + len(names)
        self.tally.add(tally)
        if self._note is not None:
            told = {"rows": num_rows, "bytes": self._table.tell(), "names": self._names.hexdigest()}
            told["asked_for"] = self.asked_for
            counts = {"classes": tally.classes, "flags": tally.flags}
            self._write_note({**told, "files": list(files), "tally": counts})
        self.num_rows = num_rows

    def _note_names(self, names: Iterable[str]) -> None:
        for name in names:
            self._names.update(name.encode("utf-8", "surrogatepass") + b"\0")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_plain:
            # What could not be written is tried again here; after a refusal it was told.
            with writing_to(self.typed) if kind is None else contextlib.suppress(OSError):
                self._table.close()
            return
        if kind is None:
            self._finish()
            return
        self._give_up()

    def _give_up(self) -> None:
        with contextlib.suppress(OSError):
            self._close()
        if self.num_rows:
            reporter().say(
                f"the first {self.num_rows:,} answers are kept in {self.partial}; the same command goes on behind them"
            )
        else:
            for ending in (PARTIAL, NOTE):
                self._beside(ending).unlink(missing_ok=True)

    def _finish(self) -> None:
        with writing_to(self.typed):
            self._table.flush()
            os.fsync(self._table.fileno())
            partial, written = self._beside(PARTIAL), os.fstat(self._table.fileno())
            self._close()
            # Where the system knows no locks, or somebody removed it, what has its name is not what was written.
            if not partial.exists() or not os.path.samestat(written, partial.stat()):
                raise CannotWrite(f"{self.typed}: {self.partial} was removed or replaced meanwhile. Run it once more.")
            if self.path.exists() and not (self._was_there or self.overwrite):
                raise OutputExists(
                    f"{self.typed} was made by somebody else meanwhile; it was not changed. All answers are in "
                    f"{self.partial}. Move the other away, and run the same command once more."
                )
            finish = self._format.finish
            made = partial if finish is None else finish(partial, self.columns, self.task, self.asked_for)
            made.chmod(stat.S_IMODE((self.path if self.path.exists() else partial).stat().st_mode))
            made.replace(self.path)
            for ending in (PARTIAL, NOTE):
                self._beside(ending).unlink(missing_ok=True)

    def _close(self) -> None:
        # What could not be written is tried again by each, and the one shall not keep the other from it.
        with self._table, self._note or contextlib.nullcontext():
            pass

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)

    def _write(self, line: str) -> None:
        self._table.write(line.encode())

    def _write_note(self, content: Mapping[str, Any]) -> None:
        if self._note is not None:
            with writing_to(self.typed):
                self._note.write(f"{json_line(content)}\n".encode())
                self._note.flush()
