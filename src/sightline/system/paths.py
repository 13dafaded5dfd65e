"""Where things lie: paths from the root, and one rule for every file that somebody asks to be written.

What others made is never lost for it: nothing is written into a bundle or into what is read for it, and a file that is
there is replaced only where it bears the mark of Sightline or its user says so. Tables bear none: they are made to be
edited by hand.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sightline.errors import InvalidValue, OutputExists

GONE = "the current folder was removed. Change to another one, and start again there."

# What PNG files and pages of ours hold near their beginning.
PNG_MARK = ("Software", "Sightline")
PAGE_MARK = '<meta name="generator" content="Sightline">'
_MARKS = ("\0".join(PNG_MARK).encode(), PAGE_MARK.encode())
_HEAD = 4096
_STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_BUNDLE = ("manifest.json", "labels.json")
_RUN = ("recipe.json", "metrics.json")
# What Windows takes for a device, in any case and with any ending; and what no name may hold or end in there.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{kind}{digit}" for kind in ("com", "lpt") for digit in "0123456789¹²³")}
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_AT_END = ". "
# File systems take 255 bytes a name; a number of ours before it and a device's mark in it need a few.
_MOST_BYTES = 200


def is_here_gone() -> bool:
    """Whether the current folder was removed."""
    try:
        os.getcwd()  # noqa: PTH109  # the same in fewer words
    except FileNotFoundError:
        return True
    return False


def absolute_path(path: str | Path, *, follow_links: bool = True) -> Path:
    """A path from the root; an InvalidValue where it begins in a current folder that was removed."""
    try:
        # Path.resolve raises where links lead in a circle.
        return Path(os.path.realpath(path) if follow_links else os.path.abspath(path))  # noqa: PTH100
    except FileNotFoundError as error:
        raise InvalidValue(GONE) from error


def why_not_on_windows(name: str) -> str:
    """Why Windows makes no file of that name; "" where it does. Elsewhere such files are made, and cannot be copied."""
    if (device := name.partition(".")[0].rstrip(" ").lower()) in _DEVICES:
        return f"is called as the device {device!r}"
    if found := _FORBIDDEN.search(name):
        return f"holds {found[0]!a}"
    return f"ends in {name[-1]!r}" if name and name[-1] in _AT_END else ""


def portable_name(text: str) -> str:
    """A name of a file or folder of ours that every system makes as it is; the text itself where that is one.

    Example:
        >>> portable_name("nul.photos"), portable_name("a:b. "), portable_name("photos")
        ('nul_.photos', 'a-b', 'photos')
    """
    name = _FORBIDDEN.sub("-", text).rstrip(_AT_END)
    first, dot, rest = name.partition(".")
    return f"{first}_{dot}{rest}" if why_not_on_windows(name) else name


def short_file_name(text: str, ending: str = "", *, most_bytes: int = _MOST_BYTES) -> str:
    """A `portable_name` of at most so many bytes: as many whole letters as fit before an ending, which is kept.

    Example:
        >>> short_file_name("a long name", ".png", most_bytes=10), short_file_name("猫" * 100, most_bytes=10)
        ('a long.png', '猫猫猫')
    """
    if len(ending.encode("utf-8", "surrogatepass")) > most_bytes // 2:
        text, ending = text + ending, ""
    room = most_bytes - len(ending.encode("utf-8", "surrogatepass"))
    while len(text.encode("utf-8", "surrogatepass")) > room:
        text = text[: min(room, len(text) - 1)]
    return portable_name(text + ending) or "_"


class FreeNames:
    """Names of files of one folder of ours, no two of them one name on any system."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        """With those that are not free."""
        self._taken = {_as_one(name) for name in taken}
        self._counts = Counter[str]()

    def take(self, names: Iterable[str]) -> None:
        """Some more that are not free."""
        self._taken.update(map(_as_one, names))

    def free(self, text: str, ending: str = "") -> str:
        """The name, or where it is taken, the same behind the first number with which it is not."""
        plain = name = short_file_name(text, ending)
        while (key := _as_one(name)) in self._taken:
            self._counts[_as_one(plain)] += 1
            name = short_file_name(f"{self._counts[_as_one(plain)] + 1:04d} {text}", ending)
        self._taken.add(key)
        return name

    def free_by(self, name: str, other: Callable[[str], str]) -> str:
        """The name, or where it is taken, what is made of it until it is free."""
        while _as_one(name) in self._taken:
            name = other(name)
        return self.free(name)


def _as_one(name: str) -> str:
    """Alike for names that are one file where case does not count, or how accents are written."""
    return unicodedata.normalize("NFC", name).casefold()


def check_output(option: str, target: Path | None, *, keep: Iterable[str | Path] = (), overwrite: bool = False) -> None:
    """Refuse a file to be written before any work is done for it.

    Args:
        option: as it is typed, "--csv", or "out" of a function.
        target: the file, or None for none.
        keep: files and folders that the command reads; nothing in them is written.
        overwrite: whether the user said that a file there may be lost.

    Raises:
        InvalidValue: the target is standard output, is one of `keep`, or lies in one, in a bundle, or beside the
            files of a run.
        OutputExists: it is a folder, or a file that Sightline did not write.
    """
    if target is None:
        return
    if str(target) in _STDOUT:
        raise InvalidValue(f"{option} {target}: standard output takes what the command says itself. Name a file.")
    check_place(option, target, keep=keep)
    # Its own pictures bear the mark, too. A folder of its own is welcome in a run.
    _refuse_in(absolute_path(target).parent, _RUN, f"{option} {target} belongs to the run")
    if os.path.isdir(target):  # noqa: PTH112  # Path's own raises where a folder may not be entered
        raise OutputExists(f"{option} {target} is a folder. Name a file.")
    # A pipe or a device, such as /dev/null, is written to as it is.
    if os.path.isfile(target) and not overwrite and not _is_ours(target):  # noqa: PTH113
        whose = "exists, and tables are edited by hand" if target.suffix.lower() == ".csv" else "exists and is not ours"
        remedy = "add --overwrite" if option.startswith("--") else "pass overwrite=True"
        raise OutputExists(f"{option} {target} {whose}; it was not changed. Name another file, or {remedy}.")


def places_of(source: Any) -> list[Path]:
    """Where the images of a source lie, as far as it says so: a path itself, or what a Dataset was opened from."""
    if isinstance(source, str | Path):
        return [Path(source)]
    store: Any = getattr(source, "images", None)
    return [*store.places()] if hasattr(store, "places") else []  # an array lies nowhere


def check_place(option: str, target: Path, *, keep: Iterable[str | Path] = ()) -> None:
    """Refuse a file or folder to be written inside a bundle or inside what the command reads, or that Windows lacks."""
    place = absolute_path(target)
    _refuse_device(option, target, is_windows=os.name == "nt")
    for name in keep:
        kept = absolute_path(name)
        if os.path.exists(kept) and (place == kept or kept in place.parents):  # noqa: PTH110
            raise InvalidValue(f"{option} {target} belongs to {name}, which is never changed. Choose another place.")
    for folder in (place, *place.parents):
        _refuse_in(folder, _BUNDLE, f"{option} {target} belongs to the bundle")


def _refuse_device(option: str, target: Path, *, is_windows: bool) -> None:
    """On Windows, a file called as a device would be written into that, and no other program would find it."""
    if is_windows and (fault := why_not_on_windows(target.name)):
        raise InvalidValue(f"{option} {target}: a name that {fault} is none on Windows. Choose another name.")


def _refuse_in(folder: Path, signs: tuple[str, ...], what: str) -> None:
    if all(os.path.isfile(folder / name) for name in signs):  # noqa: PTH113
        raise InvalidValue(f"{what} {folder}, which is never changed. Choose another place.")


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError:
        return False
    return any(mark in head for mark in _MARKS)


def default_output(source: str | Path, what: str, *, keep: Iterable[str | Path]) -> Path:
    """A free name for a picture that nobody named: in the current folder, or above what the command reads.

    Args:
        source: what it shows, after which it is called: "photos.png", "photos-2.png", ...
        what: behind that name, "-similar" for instance, or "".
        keep: files and folders that the command reads.
    """
    place = absolute_path(source)
    name = portable_name(place.name if os.path.isdir(place) else place.stem) or "images"  # noqa: PTH112
    kept, here = [absolute_path(one) for one in keep], absolute_path(".")
    inside = [folder for folder in (here, *here.parents) if folder in kept]
    folder = Path(os.path.relpath(inside[-1].parent)) if inside else Path()
    number, candidate = 1, folder / f"{name}{what}.png"
    while os.path.lexists(candidate):
        number += 1
        candidate = folder / f"{name}{what}-{number}.png"
    return candidate


def leads_elsewhere(folder: Path) -> str | None:
    """What in a folder is neither a file nor a folder of its own, in words: what is written there may come elsewhere.

    That is a link that leads out of it, or a pipe, socket or device. None where there is nothing of the kind.
    """
    root = folder.resolve()
    for current, folders, names in os.walk(folder):
        for name in (*folders, *names):
            place = Path(current) / name
            mode = place.lstat().st_mode
            if stat.S_ISLNK(mode) and not place.resolve().is_relative_to(root):
                return f"{place.relative_to(folder)} is a link that leads out of it"
            if not (stat.S_ISLNK(mode) or stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                return f"{place.relative_to(folder)} is a pipe, socket or device"
    return None
