"""The page about the house is true: the picture is that of the code, what it links to and names is there."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
LINKS = sorted(set(re.findall(r"\[(`\w+`|[^]`]+)\]\(([^)#:]+)\)", PAGE)))


def names_of(path: Path) -> set[str]:
    """What is defined at the top of a file: functions, classes, constants."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {ast.unparse(target) for target in targets}
    return names


def test_the_picture_is_that_of_the_house() -> None:
    spec = importlib.util.spec_from_file_location("draw_house", ROOT / "tools" / "draw_house.py")
    assert spec is not None
    assert spec.loader is not None
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    assert drawing.with_picture(PAGE) == PAGE, "run: python tools/draw_house.py"


@pytest.mark.parametrize(("words", "target"), LINKS, ids=lambda value: value.strip("`"))
def test_what_the_page_links_to_is_there_and_defines_what_is_named(words: str, target: str) -> None:
    path = (ROOT / "docs" / target).resolve()
    assert path.is_file()
    if words.startswith("`"):
        assert words.strip("`") in names_of(path) | {path.stem}, f"{target} does not define {words}"


def test_a_photograph_gets_to_its_bundle_in_twelve_lines() -> None:
    walk = PAGE.split("## One photograph")[1].split("\n## ")[0]
    assert re.findall(r"^(\d+)\. ", walk, re.MULTILINE) == [str(number) for number in range(1, 13)]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_the_page_is_found_from_where_one_begins(document: str) -> None:
    assert "(docs/architecture.md)" in (ROOT / document).read_text(encoding="utf-8")
