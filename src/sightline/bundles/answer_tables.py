"""The table of `predict --csv`: it grows beside its place as the answers come, so that nothing that is done is lost."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from sightline.errors import CannotWrite, OutputExists
from sightline.system.files import hold_file, open_as_it_is, remove_unless_held, writing_to
from sightline.system.paths import absolute_path
from sightline.system.progress import reporter
from sightline.system.text import csv_line
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.task import Task

PARTIAL = ".partial"
NOTE = ".partial.jsonl"
# Windows would write each line break as two bytes otherwise.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class AnswerTable:
    """Rows of answers, appended to `<name>.partial` portion by portion, which is renamed when all are there.

    What ends it early leaves that file, and beside it a note, `<name>.partial.jsonl`: its first line says what was
    asked, each further one how many rows and bytes of the table are whole, and size and time (in ns) of each of
    their files, null where there is none. So whoever goes on knows where, and what has changed since.
    """

    def __init__(
        self,
        path: Path,
        task: Task = SINGLE_LABEL,
        *,
        most_classes: int,
        asked: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        """A table at `path` that names so many classes a row; the note begins with `asked`."""
        self.task = task
        self.path = absolute_path(path)
        self.typed = path
        self.most_classes, self.asked, self.overwrite = most_classes, dict(asked or {}), overwrite
        self.num_rows = 0
        # A pipe or a device has no place beside it; that of a shell, /dev/fd/63, has no other path either.
        self._is_plain = not path.exists() or path.is_file()
        self._asked_for: tuple[str, ...] = ()
        self._table: IO[bytes]
        self._note: IO[bytes] | None = None

    @property
    def partial(self) -> Path:
        """Where the rows stand until all are there."""
        return self.typed.with_name(self.typed.name + PARTIAL)

    def __enter__(self) -> AnswerTable:
        with writing_to(self.typed):
            if not self._is_plain:
                self._table = open_as_it_is(self.typed)
                return self
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial, note = self._beside(PARTIAL), self._beside(NOTE)
            # Never readable for more people than the file that it replaces.
            mode = self.path.stat().st_mode if self.path.exists() else None
            self._clear(partial, note)
            try:
                descriptor = os.open(partial, _NEW, 0o666 if mode is None else mode & 0o666)
            except FileExistsError as error:
                raise self._taken(PARTIAL) from error
            hold_file(descriptor)
            self._table = os.fdopen(descriptor, "wb")
        try:
            with writing_to(self.typed):
                self._note = note.open("wb")
            self._write_note(self.asked)
        except BaseException:  # nobody calls `__exit__` of what was not entered
            self._give_up()
            raise
        return self

    def _clear(self, partial: Path, note: Path) -> None:
        """Make room for what lies beside the table, as far as its user said so and nobody writes it."""
        if not self.overwrite:
            if taken := next((ending for ending in (PARTIAL, NOTE) if self._beside(ending).exists()), None):
                raise self._taken(taken)
            return
        try:
            remove_unless_held(partial)
        except BlockingIOError as error:
            raise OutputExists(
                f"{self.partial}: another command is writing it. Wait for its end, or name another file."
            ) from error
        note.unlink(missing_ok=True)

    def _taken(self, ending: str) -> OutputExists:
        return OutputExists(
            f"{self.typed.with_name(self.typed.name + ending)} holds answers of a command that was stopped or still "
            "runs. Move it away, or add --overwrite to lose them."
        )

    def add(self, rows: Sequence[Mapping[str, Any]], *, asked_for: Sequence[str] = ()) -> None:
        """Append rows as `predict --json` prints them; those keys of them, too, that not every answer has."""
        with writing_to(self.typed):
            if self.num_rows == 0:
                self._asked_for = tuple(asked_for)
                self._write_line(self._columns())
            for row in rows:
                self._write_line(self._cells(row))
            self._table.flush()
        self.num_rows += len(rows)
        if self._note is not None:
            files = [_size_and_time(row["path"]) for row in rows]
            self._write_note({"rows": self.num_rows, "bytes": self._table.tell(), "files": files})

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
            reporter().say(f"the first {self.num_rows:,} answers are kept in {self.partial}")
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
            if self.path.exists():
                partial.chmod(stat.S_IMODE(self.path.stat().st_mode))
            partial.replace(self.path)
            self._beside(NOTE).unlink(missing_ok=True)

    def _close(self) -> None:
        # What could not be written is tried again by each, and the one shall not keep the other from it.
        with self._table, self._note or contextlib.nullcontext():
            pass

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)

    def _write_line(self, cells: Sequence[str | float | None]) -> None:
        self._table.write(f"{csv_line(cells)}\n".encode())

    def _write_note(self, content: Mapping[str, Any]) -> None:
        if self._note is not None:
            with writing_to(self.typed):
                self._note.write(f"{json.dumps(content)}\n".encode())
                self._note.flush()

    def _columns(self) -> list[str]:
        answer = self.task.columns(self.most_classes)
        return ["path", *answer, *self._asked_for, "notice", "error"]

    def _cells(self, row: Mapping[str, Any]) -> list[str | float | None]:
        asked = [_cell(row.get(key)) for key in self._asked_for]
        return [row["path"], *self.task.cells(row, self.most_classes), *asked, row.get("notice"), row["error"]]


def _cell(value: Any) -> str | float | None:
    """As JSON says it where it is a list or a boolean: names may hold whatever would part them."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | bool) else value


def _size_and_time(path: str) -> list[int] | None:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns]
