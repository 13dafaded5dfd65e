"""What is in a set: a folder with a folder for each class, and loose pictures right in it that have no class yet."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sightline.data.decoding.decoder import decode_image
from sightline.data.decoding.formats import IMAGE_SUFFIXES
from sightline.data.sources.assembly import named_alike
from sightline.data.sources.levels import split_within
from sightline.data.storage.listing import is_passed_over
from sightline.deployment.sorting.journal import is_inside
from sightline.deployment.sorting.steps import leads_out
from sightline.deployment.workshop.folders import RUNS, Root
from sightline.deployment.workshop.sets.naming import checked_name, num_series
from sightline.errors import InvalidValue, OutputExists, UnreadableImage
from sightline.reporting.pages.miniatures import SIDE, Miniature, miniature_of
from sightline.system.files import writing_to
from sightline.system.paths import check_place
from sightline.system.text import listed, printable

_MOST_CLASSES, _NUM_SHOWN, _NUM_OF_A_PAGE = 200, 12, 48
_MOST_THUMBNAILS, _MOST_LARGE, _LARGE_SIDE = 48, 2, 720
# More files of one class are not looked at, so that a folder of millions holds nobody up.
_MOST_FILES = 100_000
# A folder with one of these was written by Sightline.
_OUTPUTS = ("recipe.json", "manifest.json")


def set_at(root: Root, named: object) -> Path:
    """The folder of a set that a page names; an InvalidValue where it is none, or is kept by Sightline or a system."""
    place = root.inside(named)
    name = root.name_of(place)
    if not place.is_dir():
        raise InvalidValue(f"{printable(name)}: there is no such folder. Choose another one, or make it anew.")
    parts = name.split("/") if name else []
    if any(map(is_passed_over, parts)) or parts[:1] == [RUNS] or _is_output(place):
        raise InvalidValue(f"{printable(name)}: this folder is no place for pictures. Choose another one.")
    check_place("the set", place)
    return place


def begin_set(root: Root, above: object, name: object) -> Path:
    """Make the folder of a new set in another folder."""
    place = root.inside(above) / checked_name(name, kind="set")
    if place == root.place / RUNS:
        raise InvalidValue(f"a set cannot be called {RUNS!r}: trainings are kept there. Choose another name.")
    set_at(root, above)
    with writing_to(place):
        try:
            place.mkdir()
        except FileExistsError as error:
            raise OutputExists(f"{printable(place.name)} is there already. Choose another name.") from error
    return set_at(root, root.name_of(place))


def class_folders(root: Root, place: Path) -> list[str]:
    """The folders right in a set that are classes, by name; what a link leads to is none."""
    found = [entry.name for entry in _entries(place) if entry.is_dir(follow_symlinks=False)]
    if place == root.place:
        found = [name for name in found if name != RUNS]
    return sorted((name for name in found if not _is_output(place / name)), key=str.casefold)


def check_undivided(names: Iterable[str]) -> None:
    """Refuse to put pictures into folders that are splits: they belong one level deeper."""
    if splits := [name for name in names if split_within(name)]:
        raise InvalidValue(
            f"the folders {listed(splits)} are parts of a divided set, not classes. Open one of them, and go on there."
        )


def existing_class(root: Root, place: Path, name: object) -> Path:
    """The folder of a class that is there."""
    if not isinstance(name, str) or name not in (names := class_folders(root, place)):
        shown = printable(str(name))[:80]
        raise InvalidValue(f"there is no class {shown!r} any more. Choose another one, or make it anew.")
    check_undivided(names)
    return place / name


def folder_of_class(root: Root, place: Path, name: object) -> str:
    """The name of the folder of a class, which may be one that is not there yet."""
    names = class_folders(root, place)
    check_undivided(names)
    if isinstance(name, str) and name in names:
        return name
    found = checked_name(name)
    refuse_alike(place, found)
    return found


def refuse_alike(place: Path, name: str, *, but: str = "") -> None:
    """Refuse a name for a class that another entry has, but for case or accents; but a class may change its own."""
    others = [entry for entry in _listed(place) if entry != but]
    if alike := next((entry for entry in others if named_alike(entry) == named_alike(name)), None):
        raise OutputExists(f"{printable(alike)!r} is there already. Choose another name, or use that one.")


def make_class(root: Root, place: Path, name: object) -> str:
    """Make the folder of a class that is not there."""
    check_undivided(class_folders(root, place))
    found = checked_name(name)
    if place == root.place and found == RUNS:
        raise InvalidValue(f"a class cannot be called {RUNS!r} here: trainings are kept there. Choose another name.")
    refuse_alike(place, found)
    with writing_to(place / found):
        (place / found).mkdir()
    return found


def look_at_set(root: Root, place: Path) -> dict[str, Any]:
    """The classes with counts and their latest pictures, and the loose pictures."""
    names = class_folders(root, place)
    splits = [name for name in names if split_within(name)]
    classes = [] if splits else names[:_MOST_CLASSES]
    loose = loose_pictures(place)
    found = {name: pictures_below(place / name) for name in classes}
    return {
        "set": root.name_of(place),
        "classes": [{"name": name, **_told(name, files)} for name, files in found.items()],
        "num_series": num_series(file for files in (*found.values(), loose) for file in files),
        "num_more": 0 if splits else len(names) - len(classes),
        "splits": splits,
        "loose": _told("", loose),
    }


def page_of_class(root: Root, place: Path, name: str, first: int) -> list[str]:
    """Some of the pictures of a class, "" for the loose ones, the latest first, as paths in the set."""
    files = pictures_below(existing_class(root, place, name)) if name else loose_pictures(place)
    return [f"{name}/{file}" if name else file for file in files[first : first + _NUM_OF_A_PAGE]]


def _told(name: str, files: Sequence[str]) -> dict[str, Any]:
    shown = [f"{name}/{file}" if name else file for file in files[:_NUM_SHOWN]]
    return {"count": len(files), "files": shown}


def pictures_below(folder: Path) -> list[str]:
    """Files called as images in a folder and below it, the latest first; links are not followed."""
    found: list[tuple[int, str]] = []
    for current, folders, _ in os.walk(folder):
        folders[:] = [name for name in folders if not is_passed_over(name)]
        within = Path(current).relative_to(folder).as_posix()
        found += [(time, name if within == "." else f"{within}/{name}") for time, name in _images(Path(current))]
        if len(found) > _MOST_FILES:
            break
    return _latest_first(found[:_MOST_FILES])


def loose_pictures(place: Path) -> list[str]:
    """Files called as images right in a folder, the latest first."""
    return _latest_first(_images(place))


def _latest_first(found: list[tuple[int, str]]) -> list[str]:
    return [name for _, name in sorted(found, key=lambda one: (-one[0], one[1]))]


def _images(folder: Path) -> list[tuple[int, str]]:
    found = []
    for entry in _entries(folder):
        if entry.name[entry.name.rfind(".") :].lower() in IMAGE_SUFFIXES and entry.is_file(follow_symlinks=False):
            try:
                found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
            except OSError:  # it vanished
                continue
    return found


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not is_passed_over(entry.name))
    except OSError as error:
        raise InvalidValue(
            f"{printable(folder.name)}: cannot be looked into ({error.strerror}). Choose another folder."
        ) from error


def _listed(place: Path) -> list[str]:
    try:
        return os.listdir(place)  # noqa: PTH208  # hidden ones, too: they take names
    except OSError as error:
        raise InvalidValue(f"{printable(place.name)}: cannot be looked into ({error.strerror}).") from error


def _is_output(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _OUTPUTS)


def file_in(place: Path, named: object) -> Path:
    """A file of a set that a page names by its path there; an InvalidValue where it is none, or a link leads out."""
    if not isinstance(named, str) or not is_inside(named) or any(map(is_passed_over, named.split("/"))):
        raise InvalidValue("the path of a picture in the set is needed, such as cat/1.jpg.")
    path = place / named
    try:
        is_file = stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        is_file = False
    if not is_file or leads_out(place, path):
        raise InvalidValue(f"{printable(named)}: it is not there any more. Look at the set again.")
    return path


def thumbnails(place: Path, files: Iterable[object], *, is_large: bool = False) -> list[dict[str, Any] | None]:
    """Small pictures of files of a set, or a few large ones; None of what is none, or cannot be read."""
    most, side = (_MOST_LARGE, _LARGE_SIDE) if is_large else (_MOST_THUMBNAILS, SIDE)
    return [_thumbnail(place, file, side) for file in list(files)[:most]]


def _thumbnail(place: Path, file: object, side: int) -> dict[str, Any] | None:
    try:
        pixels = decode_image(file_in(place, file), color_mode="rgb", minimum_size=(side, side))
    except (InvalidValue, UnreadableImage):
        return None
    return shown(miniature_of(pixels, side=side))


def shown(picture: Miniature) -> dict[str, Any]:
    """A small picture as the page takes it."""
    return {"address": picture.address, "is_small": picture.is_small}
