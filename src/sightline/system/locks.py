"""Files and folders that are held while they are written: the system lets go of them however their process ends."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# Where the system cannot say whether somebody is still at it, a leftover goes after so long without a change.
STALE_SECONDS = 24 * 3600
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{8}\.partial")


@contextlib.contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Hold a folder that was just made: as long as it is open, `remove_leftovers` leaves it alone."""
    descriptor = _locked(folder, wait=True)
    try:
        yield
    finally:
        if descriptor is not None:
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


def remove_leftovers(parent: Path, pattern: str = ".*.partial") -> None:
    """Remove half-written files and folders whose process has ended, and never one that somebody is still at."""
    with contextlib.suppress(OSError):
        for found in parent.glob(pattern):
            if _PARTIAL.fullmatch(found.name) and not found.is_symlink() and (found.is_dir() or found.is_file()):
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

    def hold_file(descriptor: int) -> None:
        """Nothing: what is open cannot be removed there."""

    def _locked(place: Path, *, wait: bool) -> int | None:  # noqa: ARG001
        return None  # a folder cannot be opened there, and one with open files cannot be removed
else:
    import fcntl

    def hold_file(descriptor: int) -> None:
        """Hold a file that was just made and is being written: as long as it is open, it is no leftover."""
        with contextlib.suppress(OSError):  # the file system knows no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _locked(place: Path, *, wait: bool) -> int | None:
        """A descriptor that holds the file or folder; None where the file system knows no locks."""
        descriptor = os.open(place, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            os.close(descriptor)
            return None
        return descriptor
