"""Room for caches: a bound on what they take, and the oldest removed first."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

LIMIT_VARIABLE = "SIGHTLINE_CACHE_GIB"
USUAL_LIMIT_GIB = 20.0
# What is left behind by a run that was killed is removed after this time.
STALE_SECONDS = 24 * 3600


def usual_limit_gib() -> float:
    """The bound of the cache: SIGHTLINE_CACHE_GIB, or 20 GiB.

    Returns:
        GiB, not negative; 20 where the variable is not a number.

    Raises:
        Nothing.

    Example:
        >>> usual_limit_gib() >= 0
        True
    """
    try:
        limit = float(os.environ.get(LIMIT_VARIABLE, USUAL_LIMIT_GIB))
    except ValueError:
        return USUAL_LIMIT_GIB
    return limit if limit >= 0 else USUAL_LIMIT_GIB


def make_room(folder: Path, budget_bytes: int) -> None:
    """Remove what killed runs left behind, then what was longest unused, until at most `budget_bytes` are kept.

    A mapped file that another run still reads stays readable for it until it lets go.

    Args:
        folder: whose sub-folders are one cache each; may be missing.
        budget_bytes: what may stay.

    Raises:
        Nothing: what cannot be removed stays.

    Example:
        >>> make_room(Path("not-there"), 0)
    """
    kept = []
    for entry in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(OSError):
            used = entry.stat().st_mtime
            if not entry.name.startswith("."):
                kept.append((used, sum(path.stat().st_size for path in entry.iterdir()), entry))
            elif time.time() - used > STALE_SECONDS:
                shutil.rmtree(entry, ignore_errors=True)
    total = sum(size for _, size, _ in kept)
    for _, size, entry in sorted(kept, key=lambda item: item[0]):
        if total <= budget_bytes:
            return
        shutil.rmtree(entry, ignore_errors=True)
        total -= size


def reserve(descriptor: int, num_bytes: int) -> None:
    """Take the room for a file now, so that a full disk is found out before an hour of work, not after it.

    Args:
        descriptor: of a file opened for writing.
        num_bytes: its size to be.

    Raises:
        OSError: the disk is full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryFile() as stream:
        ...     reserve(stream.fileno(), 10)
        ...     os.fstat(stream.fileno()).st_size
        10
    """
    if num_bytes and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, num_bytes)
    else:
        os.truncate(descriptor, num_bytes)
