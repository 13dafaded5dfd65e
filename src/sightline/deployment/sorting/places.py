"""Where an image goes by its answer: the folder of its class, or one of three beside them, and its name there."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sightline.errors import InvalidValue
from sightline.system.paths import FreeNames, short_file_name

UNSURE, NOVEL, UNREADABLE = "_unsure", "_novel", "_unreadable"
SPECIAL = (UNSURE, NOVEL, UNREADABLE)
USUAL_PATTERN = "{class}/{name}"
_DATES = ("year", "month", "day")
_FIELDS = ("class", "name", *_DATES)
_UNKNOWN = "unknown"
Date = tuple[int, int, int]


@dataclass(frozen=True)
class Rules:
    """What has to hold for an image to go to the folder of its class.

    Attributes:
        min_confidence: of its answer; 0 for any.
        max_set_size: classes in its set; None for any number.
        pattern: of its path, with {class}, {name}, {year}, {month}, {day}.
    """

    min_confidence: float = 0.0
    max_set_size: int | None = None
    pattern: str = USUAL_PATTERN

    def why(self, row: Mapping[str, Any]) -> str:
        """Which folder an answer goes to: one of the three, or "" for that of its class."""
        if row["error"] is not None:
            return UNREADABLE
        if row.get("novel"):
            return NOVEL
        is_wide = self.max_set_size is not None and len(row.get("set") or ()) > self.max_set_size
        return UNSURE if row.get("unsure") or is_wide or row["confidence"] < self.min_confidence else ""


def check_pattern(pattern: str) -> None:
    """Refuse a pattern that does not name each file, or could lead out of the folder."""
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise InvalidValue(f"--pattern {pattern!r}: {error}. Write it as {USUAL_PATTERN!r}.") from error
    for _, name, spec, conversion in parts:
        if name is not None and (name not in _FIELDS or spec or conversion):
            raise InvalidValue(
                f"--pattern {pattern!r}: it may hold {', '.join(f'{{{one}}}' for one in _FIELDS)}; got {{{name}}}."
            )
    last = PurePosixPath(pattern).name
    if pattern.count("{name}") != 1 or not last.endswith("{name}"):
        raise InvalidValue(f"--pattern {pattern!r}: it has to end in {{name}}, by which files are told apart.")
    plain = re.sub(r"\{[a-z]+\}", "x", pattern)
    if plain.startswith("/") or "\\" in plain or any(part in ("", ".", "..") for part in plain.split("/")):
        raise InvalidValue(f"--pattern {pattern!r}: it has to stay in the folder: no '..', no empty part, no '\\'.")


@dataclass
class Destinations:
    """Hands out a place for each file, no two of them one on any system, and none that is taken.

    Attributes:
        into: the folder that is sorted into.
        class_names: of the bundle.
        pattern: checked.
        folders: class name, or one of `SPECIAL`, to the name of its folder.
    """

    into: Path
    class_names: Sequence[str]
    pattern: str = USUAL_PATTERN
    folders: dict[str, str] = field(init=False)
    _names: dict[str, FreeNames] = field(default_factory=dict, init=False)
    # Of each folder the names without endings, and whether others may share them.
    _stems: dict[str, dict[str, bool]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        # A file there is no folder.
        names = FreeNames(_listed(self.into, lambda path: not path.is_dir()))
        self.folders = {name: names.free(name) for name in self.class_names}
        for special in SPECIAL:
            # A class may bear that name; one more underscore tells them apart.
            self.folders[special] = names.free_by(special, lambda name: f"_{name}")

    def place(self, name: str, of: str, taken_on: Callable[[], Date | None], *, is_alone: bool = True) -> str:
        """A free path of a file of that name in the folder of a class or in one of the three, relative to `into`.

        Where something goes along with it, no other file there bears its name but for the ending.
        """
        folder, _, rest = self.pattern.rpartition("{name}")[0].rpartition("/")
        has_date = any(f"{{{part}}}" in self.pattern for part in _DATES)  # files are read for it
        dates = _dates(taken_on() if has_date else None)
        if of in SPECIAL:
            folder, rest = "{class}", ""  # whatever the pattern, they are looked for here
        filled = [_filled(part, self.folders[of], dates) for part in folder.split("/") if part]
        parent = "/".join(filled)
        stem, ending = _split(f"{_filled_text(rest, self.folders[of], dates)}{name}")
        names, used = self._free(parent), self._stems[parent]
        while True:
            found = names.free(stem, ending)
            key = _split(found)[0].casefold()
            if used.get(key) is not False and (is_alone or key not in used):
                used[key] = is_alone
                return "/".join([*filled, found])

    def _free(self, parent: str) -> FreeNames:
        if parent not in self._names:
            # What lies there already is nobody's to be overwritten.
            there = _listed(self.into / parent)
            self._names[parent] = FreeNames(there)
            self._stems[parent] = {_split(name)[0].casefold(): True for name in there}
        return self._names[parent]

    def companion(self, place: str, name: str) -> str:
        """A free path beside an image for what goes along with it."""
        parent, _, _ = place.rpartition("/")
        return "/".join([*([parent] if parent else []), self._free(parent).free(*_split(name))])


def _listed(folder: Path, which: Callable[[Path], bool] = lambda _: True) -> list[str]:
    try:
        return [path.name for path in folder.iterdir() if which(path)]
    except OSError:
        return []


def _dates(date: Date | None) -> dict[str, str]:
    if date is None:
        return dict.fromkeys(_DATES, _UNKNOWN)
    year, month, day = date
    return {"year": f"{year:04d}", "month": f"{month:02d}", "day": f"{day:02d}"}


def _filled(part: str, folder: str, dates: Mapping[str, str]) -> str:
    return short_file_name(_filled_text(part, folder, dates))


def _filled_text(part: str, folder: str, dates: Mapping[str, str]) -> str:
    return part.format(**{"class": folder, **dates}) if part else ""


def _split(name: str) -> tuple[str, str]:
    stem, dot, ending = name.rpartition(".")
    return (stem, f".{ending}") if stem and dot else (name, "")
