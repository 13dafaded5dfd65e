"""The run behind a fitted estimator: in a folder of its own, which goes where the estimator goes."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sightline.errors import InvalidBundle
from sightline.evaluation.measuring.finished_runs import as_run, read_run
from sightline.records import Run
from sightline.system.files import writing_to
from sightline.system.paths import absolute_path, check_place

# Equal where the bundle is, as it lists the hash of each of its files.
_SEAL = "bundle/manifest.json"


def new_place(out: str | Path | None, *, keep: Iterable[Path] = ()) -> tuple[Path, bool]:
    """A folder that nobody else has, `out/run-001` counted up or a temporary one; and whether it is temporary.

    Nothing is written into what is to be kept.
    """
    if out is None:
        return Path(tempfile.mkdtemp(prefix="sightline-")), True
    parent = absolute_path(out)
    check_place("out", parent, keep=keep)
    with writing_to(parent):
        parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            # Folds may be fitted at once: whoever makes the folder has it.
            with contextlib.suppress(FileExistsError):
                (parent / f"run-{number:03d}").mkdir()
                return parent / f"run-{number:03d}", False
            number += 1


def remove_place(place: Path, *, is_temporary: bool) -> None:
    """Give up a folder of `new_place` after a training that failed; what a run has left in `out` stays."""
    with contextlib.suppress(OSError):
        if is_temporary:
            shutil.rmtree(place)
        else:
            place.rmdir()


class KeptRun:
    """A run, with its temporary folder if it lies in one: that goes with this record.

    Pickled or copied, it takes the files of the run along. They are unpacked into a temporary folder of the copy's
    own, but where the run was kept in a folder and is still there as it was.
    """

    def __init__(self, run: Run, *, is_temporary: bool) -> None:
        self._path, self._is_temporary = run.path, is_temporary
        self._run: Run | None = run
        self._files: dict[str, bytes] = {}
        if is_temporary:
            self._remove_at_end(run.path)

    @property
    def run(self) -> Run:
        """The run, opened where it lies."""
        if self._run is None:
            self._run = self._opened()
            self._path, self._files = self._run.path, {}
        return self._run

    def _opened(self) -> Run:
        with contextlib.suppress(OSError, InvalidBundle):
            if not self._is_temporary and (self._path / _SEAL).read_bytes() == self._files[_SEAL]:
                return as_run(read_run(self._path))
        place, self._is_temporary = Path(tempfile.mkdtemp(prefix="sightline-")), True
        self._remove_at_end(place)
        for name, content in self._files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        return as_run(read_run(place))

    def _remove_at_end(self, place: Path) -> None:
        weakref.finalize(self, _remove, place, os.getpid())

    def __getstate__(self) -> dict[str, Any]:
        return {"path": str(self._path), "is_temporary": self._is_temporary, "files": self._files or self._read()}

    def _read(self) -> dict[str, bytes]:
        try:
            files = {
                path.relative_to(self._path).as_posix(): path.read_bytes()
                for path in sorted(self._path.rglob("*"))
                if path.is_file()
            }
            files[_SEAL]
        except (OSError, KeyError) as error:
            raise InvalidBundle(f"{self._path}: the run of this estimator is no longer there. Fit it again.") from error
        return files

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._path, self._run, self._files = Path(state["path"]), None, state["files"]
        self._is_temporary = state["is_temporary"]


def _remove(place: Path, process: int) -> None:
    # A forked process has the record, too, and ends before whoever made it.
    if os.getpid() == process:
        shutil.rmtree(place, ignore_errors=True)
