"""Which font can write a caption: the one inside Pillow, else the best one on this machine.

Pillow's embedded font knows ASCII and little more, so "Käfer" and "猫" need
another: the DejaVu Sans that comes with matplotlib, then the usual system fonts
of Linux, macOS and Windows. Nothing is downloaded. A character that no font
found here knows is drawn as an empty box: the reader sees that something
stands there, and nothing is left out or transliterated. A note says so once.
"""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from sightline.errors import MissingPackage
from sightline.system.progress import reporter

BOX = "\u25a1"
_PROBE_SIZE = 16
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "segoeui.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "malgun.ttf",
    "YuGothR.ttc",
    "simsun.ttc",
)


def plain_text(text: str) -> str:
    r"""One line that can be drawn: nothing in it breaks a line or reverses its direction.

    Args:
        text: any string, also one with undecodable bytes of a file name in it.
    """
    return "".join(_plain_character(character) for character in text)


def _plain_character(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Zl", "Zp", "Zs"):
        return " "
    if category == "Cf":
        return ""
    return "\ufffd" if category in ("Cs", "Cn", "Co") else character


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """The font that can draw most of a text, as `plain_text` returns it, with letters `size` pixels high."""
    if _num_missing(text, None) == 0:
        return _opened(None, size)
    return _opened(_best((None, *font_files()), text), size)


def file_for(text: str) -> str | None:
    """The font file that can draw most of a text, for libraries that want a path; None if there is none."""
    return _best(font_files() or (None,), text)


def _best(paths: Sequence[str | None], text: str) -> str | None:
    """The first of the fonts that lack least of a text; says what all of them lack."""
    best = min(paths, key=lambda path: _num_missing(text, path))
    for character in text:
        if character.isalpha() and not _has_glyph(character, best):
            _say_lacking(unicodedata.name(character, "UNKNOWN").split()[0])
    return best


@lru_cache(maxsize=64)
def _say_lacking(script: str) -> None:
    """Once a process for each script, by the first word of its characters' names: CJK, HANGUL, THAI."""
    advice = ""
    if script in ("CJK", "HANGUL", "HIRAGANA", "KATAKANA"):
        advice = " Install Noto Sans CJK (Linux: fonts-noto-cjk)."
    script = "Chinese" if script == "CJK" else script.title()
    reporter().say(
        f"note: no font known here writes {script}: pictures show an empty box for each letter of it.{advice}"
    )


def with_boxes(text: str, path: str | None) -> str:
    r"""Write an empty box for each character that the font at `path` does not know; None for the one inside Pillow."""
    return "".join(character if _has_glyph(character, path) else BOX for character in text)


def text_width(text: str, path: str | None, size: int) -> float:
    """How many pixels wide a text will be; the font as for `with_boxes`, `size` as for `font_for`."""
    return _opened(path, size).getlength(text)


@lru_cache(maxsize=1)
def font_files() -> tuple[str, ...]:
    """The known font files that exist on this machine, most preferred first."""
    return tuple(path for name in (_matplotlib_font(), *_SYSTEM_FONTS) if (path := _found(name)))


def _matplotlib_font() -> str:
    # Finding the package does not import it: sheets are drawn without matplotlib.
    spec = importlib.util.find_spec("matplotlib")
    folders = (spec.submodule_search_locations if spec else None) or []
    return str(Path(next(iter(folders), "")) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


def _found(name: str) -> str | None:
    try:
        font = ImageFont.truetype(name, _PROBE_SIZE)
    except (OSError, ImportError):
        return None
    return str(font.path)


@lru_cache(maxsize=64)
def _opened(path: str | None, size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise MissingPackage("captions need a Pillow with FreeType. Run: pip install --force-reinstall pillow")
    return font


def _num_missing(text: str, path: str | None) -> int:
    return sum(not _has_glyph(character, path) for character in text)


@lru_cache(maxsize=8192)
def _has_glyph(character: str, path: str | None) -> bool:
    if character == " ":
        return True
    font = _opened(path, _PROBE_SIZE)
    # Pillow has no question for this; a font draws what it lacks as its glyph 0,
    # and no font has a glyph for the last code point, which is no character.
    drawn, lacking = font.getmask(character), font.getmask("\U0010ffff")
    return drawn.size != lacking.size or bytes(drawn) != bytes(lacking)
