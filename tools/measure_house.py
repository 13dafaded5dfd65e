"""Measures the house: files a folder, docstrings to code, comments, examples, and the walks that a photograph takes.

    .venv/bin/python tools/measure_house.py          # of this checkout
    .venv/bin/python tools/measure_house.py FOLDER   # of another one, by its own interpreter where it has one

What the figures were before the rooms of today and after stands in docs/decisions/0032-rooms-by-kind.md. A walk counts
what is called in the sources of Sightline while a command runs, once each, without what runs when a module is imported.
"""

from __future__ import annotations

import ast
import dataclasses
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

NO_CODE = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
)
HAS_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclasses.dataclass(frozen=True)
class Counts:
    """Lines of one file, or of all."""

    code: int = 0
    docstring: int = 0
    comment: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.code + other.code, self.docstring + other.docstring, self.comment + other.comment)


def docstrings(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.Constant]]:
    """Every docstring and what it belongs to."""
    for node in ast.walk(tree):
        if isinstance(node, HAS_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            statement = node.body[0]
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                yield node, statement.value


def count_lines(text: str) -> Counts:
    """Lines of code, of docstrings and of comments; a line of code with a comment behind it counts for both."""
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        lines = range(token.start[0], token.end[0] + 1)
        if token.type == tokenize.COMMENT:
            comments |= set(lines)
        elif token.type not in NO_CODE:
            code |= set(lines)
    read: set[int] = set()
    for _, text_of in docstrings(ast.parse(text)):
        read |= set(range(text_of.lineno, (text_of.end_lineno or 0) + 1))
    return Counts(len(code - read), len(read), len(comments))


def examples(docstring: str) -> tuple[int, int]:
    """How many examples it has, and how many show nothing: a signature, or no output at all."""
    lines = [line.strip() for line in docstring.splitlines()]
    if not any(line.startswith(">>>") for line in lines):
        return 0, 0
    shown = [
        line
        for line, before in zip(lines[1:], lines, strict=False)
        if line and not line.startswith((">>>", "...")) and before.startswith((">>>", "..."))
    ]
    is_empty = not shown or "inspect." in docstring
    return 1, int(is_empty)


WALK = """
import inspect, json, os, sys, tempfile, threading
from pathlib import Path
import numpy as np
from PIL import Image
root = Path(tempfile.mkdtemp())
generator = np.random.default_rng(0)
for name in ("blue", "red"):
    (root / "photos" / name).mkdir(parents=True)
    for number in range(40):
        pixels = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "photos" / name / f"{number}.png")
os.chdir(root)
passed = set()
def is_while_importing(frame):
    while frame := frame.f_back:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") != "__main__":
            return True
    return False
def look(frame, event, argument):
    if event == "call":
        name = frame.f_globals.get("__name__", "")
        is_called = "<" not in frame.f_code.co_name and frame.f_code.co_flags & inspect.CO_NEWLOCALS
        if is_called and name.startswith("sightline") and "sightline" in frame.f_code.co_filename:
            function = name, frame.f_code.co_qualname
            if function not in passed and not is_while_importing(frame):
                passed.add(function)
    elif event == "return" and frame.f_code.co_name == LAST and passed:
        if frame.f_globals.get("__name__", "").startswith("sightline.data") and argument is not None:
            raise Enough
class Enough(BaseException):
    pass
LAST, words = json.loads(sys.argv[1])
from sightline.cli.main import main
threading.setprofile(look)
sys.setprofile(look)
try:
    main(words)
except (Enough, SystemExit):
    pass
finally:
    sys.setprofile(None)
    threading.setprofile(None)
sys.stdout = sys.__stdout__
print(json.dumps([len({name for name, _ in passed}), len(passed)]), file=open(root / "told", "w"))
os.write(3, (root / "told").read_bytes())
"""


def walk(python: Path, last: str, words: list[str]) -> tuple[int, int]:
    """Modules and functions of Sightline that a command passes until the function `last` of `data/` returns."""
    with tempfile.TemporaryFile() as told:
        subprocess.run(
            [str(python), "-c", WALK.replace("os.write(3,", f"os.write({told.fileno()},"), json.dumps([last, words])],
            pass_fds=(told.fileno(),),
            check=True,
            env={**os.environ, "SIGHTLINE_CACHE": tempfile.mkdtemp()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        told.seek(0)
        modules, functions = json.loads(told.read())
    return modules, functions


def files_to_touch(root: Path) -> str:
    """How many files each addition takes, as the map says, whose names and links a test keeps true."""
    page = root / "docs" / "architecture.md"
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    found = re.findall(r"^\*\*An? ([^*]+)\*\* \((\d+) files?\)", text, re.MULTILINE)
    return ", ".join(f"{name} {number}" for name, number in found) or "not said"


def measure(root: Path) -> dict[str, object]:
    """All figures of a checkout by name."""
    source = root / "src" / "sightline"
    paths = sorted(source.rglob("*.py"))
    folders = Counter(path.parent for path in paths if path.name != "__init__.py")
    fullest, most = max(folders.items(), key=lambda item: item[1])
    total, num_examples, num_empty = Counts(), 0, 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        total += count_lines(text)
        for _, docstring in docstrings(ast.parse(text)):
            has, is_empty = examples(str(docstring.value))
            num_examples, num_empty = num_examples + has, num_empty + is_empty
    own = root / ".venv" / "bin" / "python"
    python = own if own.exists() else Path(sys.executable)
    return {
        "files a folder, most": f"{most} ({fullest.relative_to(source)})",
        "modules at the top": sum(path.parent == source for path in paths),
        "files": len(paths),
        "lines of code": total.code,
        "lines of docstring": total.docstring,
        "docstring to code": round(total.docstring / total.code, 3),
        "comments a hundred lines of code": round(100 * total.comment / total.code, 2),
        "examples": num_examples,
        "examples that show nothing": num_empty,
        "files to touch to add": files_to_touch(root),
        "train photos to the splits: modules, functions": walk(python, "split", ["train", "photos", "--quiet"]),
        "predict: modules, functions": walk(python, "", ["predict", "imagenet", "photos/red/1.png", "--quiet"]),
    }


if __name__ == "__main__":
    for name, value in measure(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent)).items():
        print(f"{name:48} {value}")
