"""What classes and pictures are called that are made on the page: names that every system and every source takes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath, PureWindowsPath

from sightline.data.decoding.formats import IMAGE_SUFFIXES, SUFFIXES, ImageFormat
from sightline.data.sources.levels import split_within
from sightline.data.storage.listing import is_passed_over
from sightline.errors import InvalidValue
from sightline.system.paths import why_not_on_windows
from sightline.system.text import printable

# Of a folder, in bytes: a number before a file in it needs some, too.
_LONGEST = 120
_SHOWN = 80
_ENDINGS: dict[ImageFormat, str] = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "PPM": ".ppm",
    "AVIF": ".avif",
    "JPEG2000": ".jp2",
    "HEIF": ".heic",
}
SERIES = r"(series-[0-9]+-[0-9]+)-[0-9]+\.[a-z0-9]+$"
"""Fits what the camera of the page calls its pictures; the bracket names the recording, which is one group."""


def checked_name(name: object, *, kind: str = "class") -> str:
    """The name of a new class, or of a new set, as its folder is called; an InvalidValue says why it is none."""
    if not isinstance(name, str):
        raise InvalidValue(f"a {kind} needs a name, such as cat.")
    found = unicodedata.normalize("NFC", name.strip())
    if why := _why_not(found, kind):
        raise InvalidValue(f"a {kind} cannot be called {printable(found)[:_SHOWN]!r}: {why}. Choose another name.")
    return found


def _why_not(name: str, kind: str) -> str:
    on_windows = why_not_on_windows(name)
    reasons = {
        "it has no letters": not name,
        "it holds letters that cannot be seen": printable(name) != name,
        "it is too long": len(name.encode("utf-8", "surrogatepass")) > _LONGEST,
        f"on some systems it cannot be a folder, since it {on_windows}": bool(on_windows),
        "folders of such a name are hidden, or belong to the system": is_passed_over(name),
        "a folder of that name is taken for a part of a divided set, as train and test are": (
            kind == "class" and split_within(name) is not None
        ),
    }
    return next((why for why, is_so in reasons.items() if is_so), "")


def num_series(names: Iterable[str]) -> int:
    """How many recordings some pictures are of."""
    found = (re.search(SERIES, name) for name in names)
    return len({match[1] for match in found if match is not None})


def picture_name(name: str, picture: ImageFormat) -> tuple[str, str]:
    """The name and the ending of a file, after what its sender calls it; the ending is that of what it is."""
    last = PurePosixPath(PureWindowsPath(name).name).name
    # Files that begin so are hidden, or taken for options.
    shown = unicodedata.normalize("NFC", printable(last)).lstrip("._-~ ")
    stem, dot, rest = shown.rpartition(".")
    ending = f"{dot}{rest}"
    if not stem or ending.lower() not in IMAGE_SUFFIXES:
        stem, ending = shown, _ENDINGS[picture]
    elif ending.lower() not in SUFFIXES[picture]:
        ending = _ENDINGS[picture]
    return stem.strip() or "picture", ending
