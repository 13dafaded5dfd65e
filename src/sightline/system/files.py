"""Writing without loss, and hashes.

Nothing is ever written in place: a file is written beside, flushed to the disk
and renamed, so that a crash or a full disk leaves what was there before. It is held
meanwhile: the system lets go of it however the process ends, and what was left goes then.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from sightline.errors import CannotWrite, OutputExists
from sightline.system.paths import check_place
from sightline.system.stored import open_plain
from sightline.system.text import without_nan

# What a disk says that takes no more; no reading ends so.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REMEDIES = {
    errno.ENOSPC: "the disk is full. Free some space, or choose another place",
    errno.EDQUOT: "your disk quota is used up. Free some space, or choose another place",
    errno.EROFS: "the disk is read-only. Choose another place",
    errno.EFBIG: "the file would be larger than is allowed here. Choose another place",
    errno.EACCES: "no permission to write there. Choose another place",
    errno.EPERM: "no permission to write there. Choose another place",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder. Name a file",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOENT: "no file can be made there. Choose another place",  # of a file system such as /proc
    errno.EINVAL: "no file of that name can be made there. Choose another place",
    errno.EIO: "the disk does not answer. Choose another place",
    errno.ELOOP: "links lead in a circle there. Choose another place",
    errno.EBUSY: "it is in use. Choose another place",
    errno.ENOTSUP: "no file can be made there. Choose another place",
    errno.ENXIO: "nothing reads from this pipe. Start what reads from it, or name a file",
}
# Windows would write each line break as two bytes otherwise.
_BINARY = getattr(os, "O_BINARY", 0)
# Between two commands of one line, the reader of a pipe may be a little later than its writer.
_WAIT_FOR_READER_SECONDS = 5.0
# Where the system cannot say whether somebody is still at it, a leftover goes after so long without a change.
STALE_SECONDS = 24 * 3600
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{8}\.partial")


@contextlib.contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write into a CannotWrite that names the place as its user did."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        raise CannotWrite(f"{place}: {_REMEDIES[error.errno]}. What was there before is untouched.") from error


def write_atomically(path: Path, content: bytes | str, *, permissions: int = 0o666) -> None:
    """Write a whole file, text as UTF-8, beside its place and rename it there; its folder is made if it is missing.

    A file that is replaced keeps its permissions, and a link stays a link: what it leads to is replaced. A pipe
    or a device, such as /dev/null, is written to as it is. What a process that was killed left of the same file
    is removed. A file that was not there gets these permissions, less what the user keeps from others.

    Raises:
        CannotWrite: the disk is full or the folder cannot be written; an old file is untouched.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with writing_to(path):
        mode = _mode(path)
        if mode is not None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            with open_as_it_is(path) as stream:
                stream.write(data)
            return
        place = path.resolve() if path.is_symlink() else path
        place.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(place.parent, f".{glob.escape(place.name)}.*.partial")
        # Never readable for more people than the file that it replaces.
        permissions = permissions if mode is None else stat.S_IMODE(mode)
        temporary, descriptor = _file_beside(place, permissions & 0o666)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            if mode is not None:
                temporary.chmod(permissions)  # what the umask took away
            temporary.replace(place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        flush_folder(place.parent)


def open_as_it_is(path: Path) -> IO[bytes]:
    """A pipe or a device to be written to; a pipe that nothing reads from is refused after a while, not waited for."""
    deadline = time.monotonic() + _WAIT_FOR_READER_SECONDS
    without_waiting = getattr(os, "O_NONBLOCK", 0)
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | without_waiting | _BINARY)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            if without_waiting:
                os.set_blocking(descriptor, True)
            return os.fdopen(descriptor, "wb")


def _file_beside(place: Path, permissions: int) -> tuple[Path, int]:
    """A new file, and a descriptor to write to it, which holds it."""
    while True:
        temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}.partial")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, permissions)
        hold_file(descriptor)
        # Whoever clears up may come between these two lines.
        if temporary.exists():
            return temporary, descriptor
        os.close(descriptor)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def write_json(path: Path, content: Any) -> None:
    """Write plain values as indented JSON, as `write_atomically`; NaN becomes null, since JSON has no NaN."""
    write_atomically(path, json.dumps(without_nan(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_arrays(path: Path, **arrays: Any) -> int:
    """Write arrays by name as a compressed `.npz`, as `write_atomically`; how many bytes it has."""
    import numpy as np  # here, as the command line imports this file and does not wait for NumPy

    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    write_atomically(path, stream.getvalue())
    return len(stream.getvalue())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits; an OSError where it cannot be read."""
    with open_plain(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_free(out: Path, *, keep: Iterable[str | Path] = ()) -> None:
    """Refuse a folder to be written that is neither missing nor empty, before any work is done for it.

    Args:
        out: the folder.
        keep: files and folders that are read for it; nothing in them is written.

    Raises:
        OutputExists: it is a file, or a folder with something in it.
        CannotWrite: it cannot be looked into.
        InvalidValue: it lies in a bundle, which one more file would make useless, or in one of `keep`.
    """
    check_place("out", out, keep=keep)
    with writing_to(out):
        if out.is_dir() and not any(out.iterdir()):
            return
        is_taken = out.exists() or out.is_symlink()
    if is_taken:
        what = "a folder that is not empty" if out.is_dir() else "a file"
        raise OutputExists(f"{out} is {what}; nothing in it was changed. Choose another place, or move it away.")


@contextlib.contextmanager
def staged_folder(final: Path) -> Iterator[Path]:
    """A folder beside its place that appears under its name only when it is whole, and is removed on an error.

    What a process that was killed left of the same folder is removed; what another one is still writing stays.

    Raises:
        OutputExists: `final` exists, or somebody else made it meanwhile.
        CannotWrite: the disk is full or read-only. Errors that have to do with other files stay what they are.
    """
    with writing_to(final):
        if final.exists():
            raise _taken(final)
        remove_leftovers(final.parent, f".{glob.escape(final.name)}.*.partial")
    with _staging(final, final, lambda temporary: _rename(temporary, final)) as temporary:
        yield temporary
    with writing_to(final):
        flush_folder(final.parent)


@contextlib.contextmanager
def staged_files(folder: Path) -> Iterator[Path]:
    """A folder whose files are moved into another at its end, each in place of the one of its name; on an error none.

    That other folder is made then, with those above it, if it is missing.

    Raises:
        CannotWrite: the disk is full or read-only. Errors that have to do with other files stay what they are.
    """
    near = folder
    while not near.exists() and near != near.parent:
        near = near.parent
    if near.exists() and not near.is_dir():
        with writing_to(folder):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(near))
    # In the folder itself where it is there: it may be the root of another disk.
    beside = near / "files"
    remove_leftovers(near, f".{beside.name}.*.partial")

    def move(temporary: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for path in list(temporary.iterdir()):
            place = folder / path.name
            if path.is_dir() and place.is_dir() and not place.is_symlink():
                place.rename(temporary / f".{path.name}.old")  # no folder replaces one that is not empty
            path.replace(place)

    with _staging(beside, folder, move) as temporary:
        yield temporary
    with writing_to(folder):
        flush_folder(folder)


@contextlib.contextmanager
def _staging(beside: Path, final: Path, put: Callable[[Path], object]) -> Iterator[Path]:
    """A folder in the making beside a path; `put` brings what was written to its place, if all went well."""
    with contextlib.ExitStack() as held:
        temporary = _made_beside(beside, final, held)
        try:
            with _writing_in(temporary, final):
                yield temporary
            with writing_to(final):
                _flush_files(temporary)
                put(temporary)
        finally:
            # Of a folder that was renamed as a whole nothing is left here.
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _writing_in(temporary: Path, final: Path) -> Iterator[None]:
    """Turn refusals to write into a temporary folder into a sentence about the place that it is for."""
    try:
        yield
    except CannotWrite as error:
        raise CannotWrite(str(error).replace(str(temporary), str(final))) from error
    except OSError as error:
        # What is missing in a folder that is there was forgotten, not refused.
        if error.errno != errno.ENOENT and _is_about(error, temporary):
            with writing_to(final):
                raise
        raise


def _flush_files(folder: Path) -> None:
    for path in filter(Path.is_file, folder.iterdir()):
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())


def _made_beside(beside: Path, final: Path, held: contextlib.ExitStack) -> Path:
    while True:
        temporary = beside.with_name(f".{beside.name}.{secrets.token_hex(4)}.partial")
        with writing_to(final):
            temporary.mkdir(parents=True)
            # Whoever clears up may come between these two lines; then there is nothing to hold.
            with contextlib.suppress(FileNotFoundError):
                descriptor = _locked(temporary, wait=True)
                if descriptor is not None:
                    held.callback(os.close, descriptor)
            if temporary.exists():
                return temporary


def _is_about(error: OSError, folder: Path) -> bool:
    """Whether an error within a block is of what it writes: a file in the folder, or a full disk that names none."""
    if isinstance(error.filename, str | bytes):
        return Path(os.fsdecode(error.filename)).is_relative_to(folder)
    return error.errno in _FULL


def _rename(temporary: Path, final: Path) -> None:
    try:
        temporary.rename(final)
    except OSError as error:
        # Onto a folder that somebody else made meanwhile: each system has an error of its own for that.
        if final.exists():
            raise _taken(final) from error
        raise


def _taken(final: Path) -> OutputExists:
    return OutputExists(f"{final} exists; nothing in it was changed. Choose another place.")


def flush_folder(folder: Path) -> None:
    """Flush which names it holds: without this a power cut can lose a rename. Windows cannot open folders."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_unless_held(place: Path) -> None:
    """Remove a file if it is there; a BlockingIOError where somebody is still writing it."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = _locked(place, wait=False)
        try:
            place.unlink()
        finally:
            if descriptor is not None:
                os.close(descriptor)


@contextlib.contextmanager
def held(place: Path) -> Iterator[None]:
    """Hold a file or folder while it is open; a BlockingIOError where somebody else does. Not known on Windows."""
    with contextlib.ExitStack() as open_now:
        if (descriptor := _locked(place, wait=False)) is not None:
            open_now.callback(os.close, descriptor)
        yield


def is_leftover(place: Path) -> bool:
    """Whether it is a half-written file or folder, of a process that has ended or is still at it."""
    return _PARTIAL.fullmatch(place.name) is not None


def remove_leftovers(parent: Path, pattern: str = ".*.partial") -> None:
    """Remove half-written files and folders whose process has ended, and never one that somebody is still at."""
    with contextlib.suppress(OSError):
        for found in parent.glob(pattern):
            if is_leftover(found) and not found.is_symlink() and (found.is_dir() or found.is_file()):
                with contextlib.suppress(OSError):  # of one of them
                    _remove_if_left(found)


def _remove_if_left(place: Path) -> None:
    try:
        descriptor = _locked(place, wait=False)
    except BlockingIOError:
        return
    try:
        # Removed while it is held, so that nobody begins to write there meanwhile.
        if descriptor is not None or time.time() - _last_change(place) > STALE_SECONDS:
            if place.is_dir():
                shutil.rmtree(place, ignore_errors=True)
            else:
                place.unlink()
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _last_change(place: Path) -> float:
    inside = place.iterdir() if place.is_dir() else ()
    times: list[float] = [path.lstat().st_mtime for path in (place, *inside)]
    return max(times)


if sys.platform == "win32":
    import msvcrt

    def is_held(lock: Path) -> bool:
        """Whether somebody holds a file of no content that is there to be held."""
        try:
            with lock.open("a") as stream:
                msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return True
        return False

    def hold_file(descriptor: int) -> None:
        """Nothing: what is open cannot be removed there."""

    def is_free_to_hold(descriptor: int) -> bool:  # noqa: ARG001
        """Whether nobody else holds an open file, which is held from here on; not known there."""
        return True

    def _locked(place: Path, *, wait: bool) -> int | None:  # noqa: ARG001
        return None  # a folder cannot be opened there, and one with open files cannot be removed
else:
    import fcntl

    def is_held(lock: Path) -> bool:
        """Whether somebody holds a file of no content that is there to be held."""
        with contextlib.suppress(OSError):  # it vanished, or may not be read
            try:
                descriptor = _locked(lock, wait=False)
            except BlockingIOError:
                return True
            if descriptor is not None:
                os.close(descriptor)
        return False

    def hold_file(descriptor: int) -> None:
        """Hold a file that was just made and is being written: as long as it is open, it is no leftover."""
        with contextlib.suppress(OSError):  # the file system knows no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)

    def is_free_to_hold(descriptor: int) -> bool:
        """Whether nobody else holds an open file; then it is held as long as it is open."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:  # any other says that the file system knows no locks
            return not isinstance(error, BlockingIOError)
        return True

    def _locked(place: Path, *, wait: bool) -> int | None:
        """A descriptor that holds the file or folder; None where the file system knows no locks."""
        descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would be waited for
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            os.close(descriptor)
            return None
        return descriptor
