"""Draw the house into docs/architecture.md: every package and module in the order in which they may import.

The order and the rule about Keras come from ROWS in tests/test_house.py, the words from the first line of each
docstring. Run it after a change of either; a test compares.
"""

from __future__ import annotations

import ast
import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "sightline"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- house: begin -->\n", "<!-- house: end -->"
NAMES, WIDTH = 20, 118


def main() -> None:
    """Write the picture where the page has it."""
    PAGE.write_text(with_picture(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def with_picture(page: str) -> str:
    """The page with the picture as it is now."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}```text\n{picture()}\n```\n{END}{tail}"


def picture() -> str:
    """A line or more for each package and each module outside one, lowest first."""
    sys.path.insert(0, str(ROOT / "tests"))
    rooms = [room for row in importlib.import_module("test_house").ROWS for room in row]
    return "\n".join(_lines(rooms))


def _lines(rooms: list[Any]) -> Iterator[str]:
    shown: set[str] = set()
    for room in rooms:
        if room.path.endswith("/__init__"):
            continue  # it stands for its folder, which has a line
        if not room.files:
            yield from _entry(room.path, _first_line(SOURCE / f"{room.path}.py"))
            continue
        parts = room.path.split("/")
        for depth in range(len(parts)):
            package = "/".join(parts[: depth + 1])
            # The last is named again where a package comes twice, so that its files do not stand below another's.
            if package not in shown or depth == len(parts) - 1:
                words = _first_line(SOURCE / package / "__init__.py") if package not in shown else "(once more)"
                yield from _entry("  " * depth + parts[depth] + "/", words)
            shown.add(package)
        yield from _entry("", f"[{room.files}]{_keras(room)}")


def _entry(name: str, words: str) -> list[str]:
    margin = " " * NAMES
    return textwrap.wrap(words, WIDTH, initial_indent=name.ljust(NAMES), subsequent_indent=margin)


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        raise SystemExit(f"{path.relative_to(ROOT)}: its docstring has to say what it is.")
    return docstring.splitlines()[0]


def _keras(room: Any) -> str:
    if room.keras_on_use_in:
        return f" Keras inside functions of {room.keras_on_use_in}" + (", else anywhere" if "any" in room.keras else "")
    return "" if room.keras == "never" else f" Keras {room.keras}"


if __name__ == "__main__":
    main()
