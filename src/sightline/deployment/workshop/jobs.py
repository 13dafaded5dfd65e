"""Commands at work: each a process of its own, written down in a folder, so that it outlives page and studio."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sightline.deployment.workshop.folders import Root
from sightline.errors import CannotWrite, InvalidValue
from sightline.system.files import hold_file, is_held, write_atomically, write_json, writing_to
from sightline.system.stored import open_plain, parse_json, read_json
from sightline.system.text import printable

FOLDER = ".sightline-studio"
# In the arguments of a command, the folder of its job; no path holds this letter.
HERE = "\0job"
# Two of these at one run would be in each other's way.
_MAKE_RUNS = ("train", "resume")
_STARTED, _ENDED, _RESULT, _LOG, _LOCK = "job.json", "ended.json", "result.json", "log.txt", "lock"
# There as soon as somebody asked it to stop.
_STOP = "stop"
MOST_JOBS = 100
"""So many are kept; with each that begins, older ones that are over go."""
_NO_FILES: Mapping[str, str] = MappingProxyType({})
_MOST_LINES, _MOST_LOG, _MOST_RESULT = 40, 2**16, 2**26
_STATES = {0: "done", 1: "done", 2: "refused", 129: "stopped", 130: "stopped", 143: "stopped"}


class Jobs:
    """The jobs of one folder, those of earlier studios among them."""

    def __init__(self, root: Root) -> None:
        """Begin with what is written down."""
        self._root, self._folder = root, root.place / FOLDER
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self.num_begun = 0
        self._turn = threading.Lock()

    def start(
        self, kind: str, arguments: Sequence[str], about: Mapping[str, Any], *, files: Mapping[str, str] = _NO_FILES
    ) -> str:
        """Start `sightline` with these arguments in the studio's folder, and return by which name the job goes.

        What it reads from the folder of the job is written there first, by the name of the file.
        """
        with self._turn:
            self._check_free(kind, about)
            place = self._new_place()
            for name, content in files.items():
                write_atomically(place / name, content)
            words = [word.replace(HERE, self._root.name_of(place)) for word in arguments]
            child = self._begin(place, words)
            told = {"kind": kind, "arguments": words, "about": dict(about), "pid": child.pid, "started": time.time()}
            try:
                write_json(place / _STARTED, told)
            except BaseException:
                # What is not written down could be neither seen nor stopped.
                _end(child.pid)
                child.wait()
                raise
            self._children[place.name] = child
            self.num_begun += 1
            self._forget_old()
        threading.Thread(target=_note_end, args=(child, place), daemon=True).start()
        return place.name

    def _check_free(self, kind: str, about: Mapping[str, Any]) -> None:
        for job in self.all() if kind in _MAKE_RUNS else ():
            is_at_it = job["kind"] in _MAKE_RUNS and job["about"].get("run") == about.get("run")
            if is_at_it and job["state"] == "running":
                run = printable(str(about.get("run")))
                raise InvalidValue(f"{run} is being trained already. Look at it under Runs, or stop it first.")

    def _new_place(self) -> Path:
        if self._folder.is_symlink():
            raise CannotWrite(f"{FOLDER} is a link, and nothing is written behind links. Remove it.")
        with writing_to(self._folder):
            self._folder.mkdir(exist_ok=True)
            number = max((int(path.name) for path in self._numbered()), default=0) + 1
            place = self._folder / f"{number:04d}"
            place.mkdir()
        return place

    def _numbered(self) -> list[Path]:
        if not self._folder.is_dir() or self._folder.is_symlink():
            return []
        found = [path for path in self._folder.iterdir() if path.name.isascii() and path.name.isdecimal()]
        return sorted(found, key=lambda path: int(path.name), reverse=True)

    def _places(self) -> list[Path]:
        """Those of jobs, the last one first; what a link leads to is none."""
        return [path for path in self._numbered() if path.is_dir() and not path.is_symlink()]

    def _forget_old(self) -> None:
        for place in self._places()[MOST_JOBS:]:
            if self._state(place)[0] != "running":
                self._children.pop(place.name, None)
                shutil.rmtree(place, ignore_errors=True)

    def _begin(self, place: Path, words: Sequence[str]) -> subprocess.Popen[bytes]:
        # -P: nothing of the studio's folder is taken for a module.
        command = [sys.executable, "-P", "-m", "sightline", *words, "--json"]
        with (
            writing_to(place),
            (place / _RESULT).open("wb") as result,
            (place / _LOG).open("wb") as log,
            (place / _LOCK).open("wb") as lock,
        ):
            # The child has the lock from its first moment to its last, whatever becomes of the studio.
            hold_file(lock.fileno())
            kept = () if sys.platform == "win32" else (lock.fileno(),)
            return subprocess.Popen(
                command,
                cwd=self._root.place,
                stdin=subprocess.DEVNULL,
                stdout=result,
                stderr=log,
                start_new_session=True,
                pass_fds=kept,
            )

    def of(self, name: object) -> dict[str, Any]:
        """A job as the page is told of it, with its result; an InvalidValue where there is none of that name."""
        place = self._place(name)
        return {**self._told(place), "lines": _last_lines(place / _LOG), "result": _result(place / _RESULT)}

    def all(self) -> list[dict[str, Any]]:
        """The latest ones, without their results, the last one first."""
        found = []
        for place in self._places()[:MOST_JOBS]:
            with contextlib.suppress(InvalidValue):
                found.append(self._told(place))
        return found

    def stop(self, name: object, *, at_once: bool = False) -> None:
        """Ask a job to end, which lets a training keep where it is; or end it and all that it started."""
        place = self._place(name)
        told = self._told(place)
        if told["state"] != "running":
            return
        with writing_to(place), contextlib.suppress(FileExistsError):
            os.close(os.open(place / _STOP, os.O_WRONLY | os.O_CREAT | os.O_EXCL))  # so, no link is followed
        pid = int(read_json(_own(place / _STARTED))["pid"])
        # It runs, so the number is still its own; and its session bears its number.
        with contextlib.suppress(ProcessLookupError):
            if at_once:
                _end(pid)
            else:
                os.kill(pid, signal.SIGTERM)

    def file_of(self, name: object, file: str) -> Path:
        """A file that a job wrote into its folder."""
        return self._place(name) / file

    def _place(self, name: object) -> Path:
        place = self._folder / str(name)
        if not (isinstance(name, str) and name.isascii() and name.isdecimal() and place in self._places()):
            raise InvalidValue(f"no job is called {printable(str(name))[:50]!r}. Look at the list of jobs.")
        return place

    def _told(self, place: Path) -> dict[str, Any]:
        try:
            told = read_json(_own(place / _STARTED))
            words, kind, about = [str(word) for word in told["arguments"]], str(told["kind"]), dict(told["about"])
            started = float(told["started"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InvalidValue(f"job {place.name} cannot be read: it was not written down whole.") from error
        state, code, ended = self._state(place)
        return {
            "name": place.name,
            "kind": kind,
            "about": about,
            "command": command_line(words),
            "started": started,
            "state": state,
            "code": code,
            "ended": ended,
        }

    def _state(self, place: Path) -> tuple[str, int | None, float | None]:
        child = self._children.get(place.name)
        if child is not None and child.poll() is None:
            return "running", None, None
        if child is None and not (place / _LOCK).is_symlink() and is_held(place / _LOCK):
            return "running", None, None
        broken = "stopped" if os.path.lexists(place / _STOP) else "failed"
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            ended = read_json(_own(place / _ENDED))
            return _ending(place, int(ended["code"]), broken), int(ended["code"]), float(ended["ended"])
        if child is not None:
            return _ending(place, _exit_code(child), broken), _exit_code(child), time.time()
        # It ended while no studio was there to hear how; whole JSON is written by who came to the end.
        unheard = "stopped" if broken == "stopped" else "unheard"
        return ("done" if _result(place / _RESULT) is not None else unheard), None, None


def command_line(words: Sequence[str]) -> str:
    """What somebody would type in the studio's folder, on one line."""
    shown = [word.replace(f"{HERE}/", "") for word in words]
    return printable(shlex.join(["sightline", *shown]))


def _ending(place: Path, code: int, broken: str) -> str:
    # With 1 ends what has findings, which it tells, and also what could not write or was never begun by Python.
    return broken if code == 1 and not _is_told(place / _RESULT) else _STATES.get(code, broken)


def _own(path: Path) -> Path:
    """A file of a job, unless it is a link: a folder that came from elsewhere may hold some that lead out of it."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link, and none is followed here", str(path))
    return path


def _is_told(path: Path) -> bool:
    """Whether a file ends as JSON does: the whole of a long one is not read whenever its job is looked at."""
    with contextlib.suppress(OSError), open_plain(_own(path)) as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - 2))
        return stream.read(2).rstrip().endswith((b"}", b"]"))
    return False


def _end(pid: int) -> None:
    """End a command and all that it started."""
    if sys.platform == "win32":
        os.kill(pid, signal.SIGTERM)
    else:
        os.killpg(pid, signal.SIGKILL)


def _exit_code(child: subprocess.Popen[bytes]) -> int:
    """As a shell tells it."""
    code = child.returncode
    return 128 - code if code < 0 else code


def _note_end(child: subprocess.Popen[bytes], place: Path) -> None:
    child.wait()
    with contextlib.suppress(Exception):  # the disk is full, or the folder was removed: then it is not known later
        write_json(_own(place / _ENDED), {"code": _exit_code(child), "ended": time.time()})


def _last_lines(path: Path) -> list[str]:
    try:
        with open_plain(_own(path)) as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _MOST_LOG))
            text = stream.read(_MOST_LOG).decode("utf-8", "replace")
    except OSError:
        return []
    return [printable(line) for line in text.splitlines()[-_MOST_LINES:]]


def _result(path: Path) -> Any:
    """The JSON that a command printed; None where it printed none, or not all of it."""
    try:
        with open_plain(_own(path)) as stream:
            content = stream.read(_MOST_RESULT + 1)
        return parse_json(content.decode("utf-8")) if 0 < len(content) <= _MOST_RESULT else None
    except (OSError, ValueError, json.JSONDecodeError):
        return None
