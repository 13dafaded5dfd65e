"""Where an image goes by its answer: the folder of its class, or of each of its labels, or one of those beside them."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sightline.errors import InvalidValue
from sightline.system.paths import FreeNames, short_file_name

UNSURE, NOVEL, UNREADABLE, NO_LABEL = "_unsure", "_novel", "_unreadable", "_no_label"
SPECIAL = (UNSURE, NOVEL, UNREADABLE, NO_LABEL)
USUAL_PATTERN = "{class}/{name}"
_DATES = ("year", "month", "day")
_FIELDS = ("class", "name", *_DATES)
_UNKNOWN = "unknown"
Date = tuple[int, int, int]


@dataclass(frozen=True)
class Rules:
    """What has to hold for an image to go to the folder of its class.

    Attributes:
        min_confidence: of its answer, or of each of its labels; 0 for any.
        max_set_size: classes in its set; None for any number.
        pattern: of its path, with {class}, {name}, {year}, {month}, {day}.
    """

    min_confidence: float = 0.0
    max_set_size: int | None = None
    pattern: str = USUAL_PATTERN

    def why(self, row: Mapping[str, Any]) -> str:
        """Which folder an answer goes to: one of `SPECIAL`, or "" for that of its class, or those of its labels."""
        if row["error"] is not None:
            return UNREADABLE
        if row.get("novel"):
            return NOVEL
        if row.get("unsure") or (self.max_set_size is not None and len(row.get("set") or ()) > self.max_set_size):
            return UNSURE
        if "labels" in row and not row["labels"]:
            return NO_LABEL
        return "" if self.classes(row) else UNSURE

    def classes(self, row: Mapping[str, Any]) -> list[str]:
        """Its class, or those of its labels, that are sure enough."""
        found = row.get("labels", (row,))
        return [str(one["label"]) for one in found if one["confidence"] >= self.min_confidence]


def check_pattern(pattern: str, *, has_several_labels: bool = False) -> None:
    """Refuse a pattern that does not name each file, could lead out of the folder, or names one file differently."""
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
    if has_several_labels and "{class}" in last:
        raise InvalidValue(
            f"--pattern {pattern!r}: an image with several labels has one name in all of their folders: {{class}} may "
            f"stand before the last '/' alone. Write it as {USUAL_PATTERN!r}."
        )
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
        has_several_labels: whether a file may go to several folders. Then it has one name in all of them, which no
            other file has in any: `train` takes files of one name and content for one image.
        folders: class name, or one of `SPECIAL`, to the name of its folder.
    """

    into: Path
    class_names: Sequence[str]
    pattern: str = USUAL_PATTERN
    has_several_labels: bool = False
    folders: dict[str, str] = field(init=False)
    _names: dict[str, FreeNames] = field(default_factory=dict, init=False)
    _listed: set[str] = field(default_factory=set, init=False)
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
        """A free path of a file of that name in the folder of a class or in one of `SPECIAL`, relative to `into`.

        Where something goes along with it, no other file there bears its name but for the ending.
        """
        return self.places(name, [of], taken_on, is_alone=is_alone)[0]

    def places(
        self, name: str, ofs: Sequence[str], taken_on: Callable[[], Date | None], *, is_alone: bool = True
    ) -> list[str]:
        """The same in the folder of each of some labels, under one name."""
        folder, _, rest = self.pattern.rpartition("{name}")[0].rpartition("/")
        has_date = any(f"{{{part}}}" in self.pattern for part in _DATES)  # files are read for it
        dates = _dates(taken_on() if has_date else None)
        if ofs[0] in SPECIAL:
            folder, rest = "{class}", ""  # whatever the pattern, they are looked for here
        filled = [[_filled(part, self.folders[of], dates) for part in folder.split("/") if part] for of in ofs]
        # A pattern without {class} has one folder for all of them.
        parents = list(dict.fromkeys("/".join(parts) for parts in filled))
        stem, ending = _split(f"{_filled_text(rest, self.folders[ofs[0]], dates)}{name}")
        for parent in parents:
            # Under one name in all of them, so that none may be taken in any.
            names = self._free(parent)
        used = self._stems[self._key(parents[0])]
        while True:
            found = names.free(stem, ending)
            key = _split(found)[0].casefold()
            if used.get(key) is not False and (is_alone or key not in used):
                used[key] = is_alone
                return ["/".join([*([parent] if parent else []), found]) for parent in parents]

    def _key(self, parent: str) -> str:
        return "" if self.has_several_labels else parent

    def _free(self, parent: str) -> FreeNames:
        key = self._key(parent)
        if parent not in self._listed:
            # What lies there already is nobody's to be overwritten.
            there = _listed(self.into / parent)
            self._listed.add(parent)
            names = self._names.setdefault(key, FreeNames())
            names.take(there)
            self._stems.setdefault(key, {}).update({_split(name)[0].casefold(): True for name in there})
        return self._names[key]

    def companions(self, targets: Sequence[str], name: str) -> list[str]:
        """A free path beside each place of an image for what goes along with it, under one name."""
        first = self.companion(targets[0], name)
        alone = first.rpartition("/")[2]
        parents = [target.rpartition("/")[0] for target in targets[1:]]
        return [first, *("/".join([*([parent] if parent else []), alone]) for parent in parents)]

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
