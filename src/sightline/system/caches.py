"""What can be made again and is kept: entries that bear Sightline's mark, and one bound on all of them together.

Nothing is removed that does not bear it, and nothing is looked for behind a link.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.errors import CannotWrite, InvalidValue
from sightline.system.files import (
    remove_leftovers,
    staged_folder,
    write_atomically,
    writing_to,
)
from sightline.system.stored import read_json, read_plain

LIMIT_VARIABLE = "SIGHTLINE_CACHE_GIB"
USUAL_LIMIT_GIB = 20.0
# Of an entry, and of the folder that all lie in; the second also tells programs for backups to pass it over.
MARK, ROOT_MARK = "entry.json", "CACHEDIR.TAG"
_MOST_MARK = 2**16
_MADE_BY = "Sightline's cache"
_TAG = f"Signature: 8a477f597d28d172789f06886806bc55\n# {_MADE_BY}: all of it can be made again.\n"


@dataclass(frozen=True)
class Entry:
    """One thing that is kept: of which kind, what it holds, its size in bytes and the time of its last use."""

    place: Path
    kind: str
    holds: str
    num_bytes: int
    used: float


def cache(*, empty: bool = False) -> dict[str, Any]:
    """What Sightline keeps in its cache, and a way to empty it.

    Decoded images, features, unpacked archives, copies that were found and exported backbones lie in one folder,
    `SIGHTLINE_CACHE` or the user's cache folder, within one bound, `SIGHTLINE_CACHE_GIB` or 20 GiB; what was longest
    unused goes first. Where the folder that was chosen holds other things, they lie in `sightline-cache` inside it.

    Args:
        empty: remove all entries. What another command is just writing stays, and what does not bear Sightline's mark.

    Returns:
        `place`, `limit_bytes` (None: no bound), `num_bytes` and `entries`, the latest used first, each with `kind`,
        `holds`, `num_bytes`, `used` (UTC) and `place`; `removed` and `removed_bytes` say what was emptied.

    Raises:
        CannotWrite: there is no folder for a cache.
        InvalidValue: `SIGHTLINE_CACHE_GIB` is no number.

    Example:
        >>> import sightline
        >>> sorted(sightline.cache())
        ['entries', 'limit_bytes', 'num_bytes', 'place', 'removed', 'removed_bytes']
    """
    limit, found = limit_bytes(), list(entries())
    gone = [entry for entry in found if empty and discard(entry.place)]
    if empty:
        _remove_all_leftovers()
    kept = sorted((entry for entry in found if entry not in gone), key=lambda entry: -entry.used)
    return {
        "place": str(cache_root()),
        "limit_bytes": None if limit == sys.maxsize else limit,
        "num_bytes": sum(entry.num_bytes for entry in kept),
        "entries": [_described(entry) for entry in kept],
        "removed": len(gone),
        "removed_bytes": sum(entry.num_bytes for entry in gone),
    }


def limit_bytes(gib: float | None = None) -> int:
    """The bound of the whole cache: what is given, or SIGHTLINE_CACHE_GIB, or 20 GiB; `inf` is none."""
    text = os.environ.get(LIMIT_VARIABLE) or USUAL_LIMIT_GIB
    try:
        limit = float(text) if gib is None else gib
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise InvalidValue(f"{LIMIT_VARIABLE} must be a number of GiB, 0 or more, or inf; got {text!r}.")
    return int(min(limit * 2**30, sys.maxsize))


def cache_root() -> Path:
    """The folder that all entries lie in: `cache_folder()`, or one of its own in it where that holds other things."""
    folder = cache_folder()
    return folder if _is_ours(folder) else folder / "sightline-cache"


def cache_folder() -> Path:
    """Where Sightline keeps what can be made again: SIGHTLINE_CACHE, or the user's cache folder."""
    if chosen := os.environ.get("SIGHTLINE_CACHE"):
        return Path(os.path.abspath(os.path.expanduser(chosen)))  # noqa: PTH100, PTH111  # neither needs a home
    usual = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(usual or Path.home() / ("AppData/Local" if os.name == "nt" else ".cache")) / "sightline"
    except RuntimeError as error:
        raise CannotWrite(
            "there is no home folder to keep a cache in. Set SIGHTLINE_CACHE to a folder, or HOME."
        ) from error


def entries() -> Iterator[Entry]:
    """All that bears the mark, in no order; nothing behind links."""
    for kind in _folders_in(cache_root()):
        for place in _folders_in(kind):
            with contextlib.suppress(OSError):
                if (mark := _mark_of(place)) is not None:
                    sizes = sum(path.lstat().st_size for path in place.iterdir())
                    yield Entry(place, kind.name, str(mark.get("holds", "")), sizes, place.stat().st_mtime)


def find_entry(kind: str, key: str) -> Path | None:
    """An entry that is there; that it was used is noted. None too where there is no folder for a cache."""
    with contextlib.suppress(OSError, CannotWrite):
        folder = cache_root() / kind
        place = folder / key
        if not folder.is_symlink() and not place.is_symlink() and _mark_of(place) is not None:
            note_use(place)
            return place
    return None


def note_use(place: Path) -> None:
    """The last use decides which entry goes first."""
    with contextlib.suppress(OSError):
        os.utime(place)


@contextlib.contextmanager
def new_entry(kind: str, key: str, *, holds: str, num_bytes: int, limit: int | None = None) -> Iterator[Path]:
    """A folder to write files into, which becomes an entry when the block is left; room is made for it first.

    Args:
        kind: of what is kept, a folder of its own.
        key: what it depends on, as a name of a folder.
        holds: for who looks at the cache.
        num_bytes: how large it becomes.
        limit: bound of the whole cache in bytes; the usual one if left out.

    Raises:
        OutputExists: it is there, or another process was faster.
        CannotWrite: it is larger than the bound, the disk is full, or the place is not Sightline's to write to.
    """
    bound = limit_bytes() if limit is None else limit
    if num_bytes > bound:
        gib = 2**30
        raise CannotWrite(f"{num_bytes / gib:.3g} GiB are needed and the cache is bounded to {bound / gib:.3g} GiB.")
    folder = _claimed_root() / kind
    if folder.is_symlink():
        raise CannotWrite(f"{folder} is a link, and nothing is written behind links. Set SIGHTLINE_CACHE instead.")
    make_room(bound - num_bytes)
    with staged_folder(folder / key) as staged:
        yield staged
        mark = json.dumps({"made_by": _MADE_BY, "holds": holds}, indent=2, ensure_ascii=False)
        (staged / MARK).write_bytes(f"{mark}\n".encode())  # the folder itself appears at one stroke


def make_room(budget_bytes: int) -> None:
    """Remove what ended processes left half-written, then what was longest unused, until at most so much is kept.

    A mapped file that another run still reads stays readable for it until it lets go.
    """
    _remove_all_leftovers()
    kept = sorted(entries(), key=lambda entry: entry.used)
    total = sum(entry.num_bytes for entry in kept)
    for entry in kept:
        if total <= budget_bytes:
            return
        total -= entry.num_bytes if discard(entry.place) else 0


def discard(place: Path) -> bool:
    """Remove an entry, if it bears the mark; whether it is gone."""
    try:
        if _mark_of(place) is None:
            return False
        # Gone at one stroke for whoever looks for it meanwhile.
        leaving = place.with_name(f".{place.name}.{secrets.token_hex(4)}.partial")
        place.rename(leaving)
    except OSError:
        return False
    shutil.rmtree(leaving, ignore_errors=True)
    return True


def _is_ours(folder: Path) -> bool:
    """Whether a folder bears the mark, or is free to be marked."""
    with contextlib.suppress(OSError):
        # Listed before the mark is looked for: whoever puts something there puts the mark first.
        holds_others = any(not name.startswith(f".{ROOT_MARK}.") for name in os.listdir(folder))  # noqa: PTH208
        return not holds_others or _MADE_BY.encode() in read_plain(folder / ROOT_MARK, most_bytes=_MOST_MARK)
    return not os.path.lexists(folder)


def _claimed_root() -> Path:
    root = cache_root()
    with writing_to(root):
        if not _is_ours(root):
            raise CannotWrite(f"{root} holds what is not Sightline's. Set SIGHTLINE_CACHE to an empty or a new folder.")
        if not (root / ROOT_MARK).exists():
            write_atomically(root / ROOT_MARK, _TAG)
    return root


def _folders_in(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    return []


def _remove_all_leftovers() -> None:
    for kind in _folders_in(cache_root()):
        remove_leftovers(kind)


def _mark_of(place: Path) -> dict[str, Any] | None:
    """The mark of an entry, or None where there is none: then it is not Sightline's."""
    try:
        mark = read_json(place / MARK, most_bytes=_MOST_MARK)
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) and mark.get("made_by") == _MADE_BY else None


def _described(entry: Entry) -> dict[str, Any]:
    used = datetime.datetime.fromtimestamp(entry.used, datetime.UTC).isoformat(timespec="seconds")
    described = {"kind": entry.kind, "holds": entry.holds, "num_bytes": entry.num_bytes}
    return {**described, "used": used, "place": str(entry.place)}
