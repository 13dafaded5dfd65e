r"""How text that comes from a stranger is written: on a terminal, in a table, as JSON, in Markdown.

Names of files and classes hold whatever somebody put there: line breaks, terminal codes, formulas,
bytes that are not UTF-8. Each form keeps one line one line and can be encoded as UTF-8.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

# Joiners and marks of direction stand in ordinary Persian, Hindi, Hebrew and emoji; they move no other text.
_NEEDED = "\u200c\u200d\u200e\u200f"
_ACTIVE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
# The full-width forms count, too: spreadsheets set for Chinese or Japanese take them for the narrow ones.
_FORMULA = re.compile(r"'*[-=+@\uff0b\uff0d\uff1d\uff20]")
_LOOKS_ESCAPED = re.compile(r"\\(?=x[0-9a-f]{2})")
# An underscore inside a word begins no emphasis.
_MARKUP = re.compile(r"[\\`*\[\]<&|~$]|(?<!\w)_|_(?!\w)")
# A Path makes one stroke of two.
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://|(https?|ftp|s3|gs|hf|file):/|data:[a-z]+/", re.IGNORECASE)


def printable(text: str) -> str:
    r"""Text that can be shown on one line: whatever acts on a terminal or has no UTF-8 is written out.

    Line breaks, terminal codes, overrides of direction, invisible letters and bytes of a file name that are not
    UTF-8 become \n, \x1b, \u202e, \xe9; the letters of every language are kept.

    Example:
        >>> printable("caf\udce9\n.jpg")
        'caf\\xe9\\n.jpg'
    """
    if text.isprintable():
        return text
    return "".join(_escaped(letter) if _is_active(letter) else letter for letter in text)


def printable_lines(text: str) -> str:
    """`printable` for text of several lines, of which the ends are meant."""
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))


def as_argument(path: object) -> str:
    """A path or name within a command that is told, as a shell takes it for one word, on one line.

    Example:
        >>> as_argument("runs/a"), as_argument("my run; x")
        ('runs/a', "'my run; x'")
    """
    return printable(shlex.quote(str(path)))


def json_line(content: Any) -> str:
    r"""Plain values as one line of JSON, in which a reader finds each text as it was.

    Letters that `printable` writes out are written as \uXXXX; a byte that is not UTF-8 is one of
    \udc80 to \udcff, which `os.fsencode` turns back.
    """
    written = json.dumps(content, ensure_ascii=False, allow_nan=False)
    if written.isprintable():
        return written
    return "".join(json.dumps(letter)[1:-1] if _is_active(letter) else letter for letter in written)


def without_nan(content: Any) -> Any:
    """The same tree of plain values with null where a number is NaN or infinite, which JSON has not."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    if isinstance(content, float) and not abs(content) < float("inf"):
        return None
    return content


def markdown(text: str) -> str:
    r"""A name within a line of Markdown, in which it begins nothing: no cell, link, emphasis, code or HTML.

    Example:
        >>> print(markdown("a|b <img> _c_ snake_case"))
        a\|b &lt;img> \_c\_ snake_case
    """
    return _MARKUP.sub(lambda found: {"<": "&lt;", "&": "&amp;"}.get(found[0], f"\\{found[0]}"), printable(text))


def csv_line(cells: Iterable[str | float | None]) -> str:
    r"""A row of a table as one line without its end, from which `csv` reads each text, and no spreadsheet a formula.

    Text that begins as a formula does gets a ' before it, numbers stay as they are. A byte that is
    not UTF-8, and each byte of what `printable` writes out, is \xHH; where a name holds \xHH of its own,
    its backslash is \x5c, so that the name can be found again.
    """
    return ",".join("" if cell is None else _quoted(_cell(cell)) for cell in cells)


def places_by_name(names: Iterable[str]) -> dict[str, int]:
    """Names to their places, each also as a table of `csv_line` has it; a name itself comes before one as written.

    Example:
        >>> places_by_name(["a.png", "=b.png"])
        {'a.png': 0, "'=b.png": 1, '=b.png': 1}
    """
    named = list(names)
    return {_cell(name): place for place, name in enumerate(named)} | {name: at for at, name in enumerate(named)}


def listed(names: Sequence[str], *, most: int = 3) -> str:
    """Names separated by commas, the rest counted, and what cannot be printed escaped: "a, b, c and 4 more"."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(printable(name) for name in names[:most]) + more


def counted(count: int, one: str, many: str = "") -> str:
    """A count with its noun, "1 image", "2,527 images"; `many` is a plural that is not made with an "s"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def told_p_value(p_value: float) -> str:
    """As behind a "p": "= 0.032", and "< 0.0001" for all that is below, so that none is told as 0."""
    if p_value < 0.0001:
        return "< 0.0001"
    # Two digits, but never a rounding that hides on which side of 0.05 it is.
    return f"= {p_value:.2g}" if f"{p_value:.2g}" != "0.05" else f"= {p_value:.4f}"


def percent(share: float) -> str:
    """A share from 0 to 1 as a whole percentage, "46 %"."""
    return f"{100 * share:.0f} %"


def exact_percent(share: float) -> str:
    """A share as it was typed, as a percentage with all its digits: what is almost 1 is not said to be 100 %.

    Example:
        >>> exact_percent(0.95), exact_percent(0.9999999)
        ('95 %', '99.99999 %')
    """
    return f"{(100 * Decimal(str(float(share)))).normalize():f} %"


def shorten(text: str, fits: Callable[[str], bool]) -> str:
    """As much of the beginning of a line (two thirds) and of its end (one third) as fits, "…" between them.

    Example:
        >>> shorten("predicted container ship (0.98)", lambda words: len(words) <= 22)
        'predicted cont… (0.98)'
    """
    if fits(text):
        return text
    low, high = 0, len(text) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(_without_middle(text, middle)) else (low, middle - 1)
    return _without_middle(text, low)


def is_address(name: str) -> bool:
    """True of "https://..." and its kind, which is no path, and not of "C:/photos/1.jpg"."""
    return _ADDRESS.match(name) is not None


def _is_active(letter: str) -> bool:
    return unicodedata.category(letter) in _ACTIVE and letter not in _NEEDED


def _escaped(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # how Python hands on a byte that is not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


def _cell(cell: str | float) -> str:
    if not isinstance(cell, str):
        return str(cell)
    if os.sep != "\\":
        cell = _LOOKS_ESCAPED.sub(r"\\x5c", cell)
    if not cell.isprintable():
        cell = "".join(_as_bytes(letter) if _is_active(letter) else letter for letter in cell)
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def _as_bytes(letter: str) -> str:
    is_stray = "\udc80" <= letter <= "\udcff"
    data = letter.encode("utf-8", "surrogateescape" if is_stray else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in data)


def _quoted(cell: str) -> str:
    return f'"{cell.replace(chr(34), chr(34) * 2)}"' if set(cell) & set(',"') or cell != cell.strip() else cell


def _without_middle(text: str, num_kept: int) -> str:
    num_tail = num_kept // 3
    return f"{text[: num_kept - num_tail].rstrip()}…{text[len(text) - num_tail :]}"
