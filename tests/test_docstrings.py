"""Docstrings in three tiers, as docs/architecture.md tells them: public, used by another package, inside a package.

The tier of each function and class is derived from `_HOMES`, which lists what is public, and from the imports.
"""

from __future__ import annotations

import ast
import doctest
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import sightline

SOURCE = Path(__file__).resolve().parents[1] / "src" / "sightline"
PUBLIC, SEAM, INSIDE = "public", "seam", "inside"
SECTION = re.compile(r"^ *(Args|Returns|Raises|Example|Source|Attributes):$", re.MULTILINE)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# Whoever catches an error needs no example of one; `compare`, `export`, `similar` and others show what they give.
WITHOUT_EXAMPLE = {"SightlineError", "Comparison", "Export", "Adopted", "Similar", "LearningCurve", "Search"}


@dataclass(frozen=True)
class Described:
    """A function or class with its docstring."""

    module: str
    name: str
    tier: str
    text: str
    is_class: bool


def module_of(path: Path, source: Path) -> str:
    parts = path.relative_to(source.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(module: str) -> str:
    """The folder at the top that a module lies in; of a module at the top, itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else module


def at_home(trees: dict[str, ast.Module], module: str, name: str) -> tuple[str, str]:
    """Where a name is defined that a package hands on."""
    for node in trees[module].body if module in trees else ():
        if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
            return at_home(trees, node.module or "", name)
    return module, name


def taken_elsewhere(trees: dict[str, ast.Module]) -> set[tuple[str, str]]:
    """Module and name of all that a module takes from another package."""
    taken = set()
    for module, tree in trees.items():
        opened = {}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module in trees
                and package_of(node.module) != package_of(module)
            ):
                taken |= {at_home(trees, node.module, alias.name) for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                opened |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                whole = opened.get(node.value.id, "")
                if whole in trees and package_of(whole) != package_of(module):
                    taken.add((whole, node.attr))
    return taken


def described(source: Path, homes: dict[str, str]) -> Iterator[Described]:
    """Every function and class that has a docstring; what lies in a function is inside, whoever calls that."""
    trees = {module_of(path, source): ast.parse(path.read_text(encoding="utf-8")) for path in source.rglob("*.py")}
    taken, public = taken_elsewhere(trees), {at_home(trees, module, name) for name, module in homes.items()}

    def walk(node: ast.AST, module: str, prefix: str, tier: str) -> Iterator[Described]:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, DEFINITIONS):
                continue
            mine = tier if prefix and not child.name.startswith("_") else INSIDE
            if not prefix:
                key = (module, child.name)
                mine = PUBLIC if key in public else SEAM if key in taken else INSIDE
            text = ast.get_docstring(child)
            if text is not None:
                yield Described(module, prefix + child.name, mine, text, isinstance(child, ast.ClassDef))
            below = mine if isinstance(child, ast.ClassDef) else INSIDE
            yield from walk(child, module, f"{prefix}{child.name}.", below)

    for module, tree in trees.items():
        yield from walk(tree, module, "", INSIDE)


ALL = tuple(described(SOURCE, sightline._HOMES))


def sections(one: Described) -> set[str]:
    return set(SECTION.findall(one.text))


def shows_nothing(text: str) -> bool:
    """Whether its examples print nothing at all, or only what the signature says."""
    lines = [line.strip() for line in text.splitlines()]
    if not any(line.startswith(">>>") for line in lines):
        return False
    prompts = (">>>", "...")
    shown = [
        after
        for before, after in itertools.pairwise(lines)
        if before.startswith(prompts) and after and not after.startswith(prompts)
    ]
    return not shown or "inspect." in text


def only_fails(text: str) -> bool:
    """Whether all that its examples print is an error."""
    told = [example for example in doctest.DocTestParser().get_examples(text) if example.want]
    return bool(told) and all(example.exc_msg is not None for example in told)


def named(found: list[Described]) -> list[str]:
    return [f"{one.module}.{one.name}" for one in found]


def test_no_docstring_is_ritual() -> None:
    empty = re.compile(r"(Raises|Returns):\s+(Nothing|None)\.?\s*$", re.MULTILINE)
    assert not named([one for one in ALL if empty.search(one.text) or shows_nothing(one.text) or only_fails(one.text)])


def test_what_is_public_is_told_in_full() -> None:
    for one in (one for one in ALL if one.tier == PUBLIC and "." not in one.name):
        wanted = set() if one.name in WITHOUT_EXAMPLE else {"Example"}
        if not one.is_class:
            wanted.add("Returns")
        assert wanted <= sections(one), f"{one.module}.{one.name} lacks {wanted - sections(one)}"
    public = {one.name for one in ALL if one.tier == PUBLIC}
    assert set(sightline._HOMES) <= public


def test_inside_a_package_nothing_is_told_but_shapes_and_where_it_comes_from() -> None:
    # Examples with numbers teach what a metric is, whoever calls it.
    inside = [one for one in ALL if one.tier == INSIDE and package_of(one.module) != "metrics"]
    assert not named([one for one in inside if sections(one) & {"Raises", "Example"}])


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        ("verb", PUBLIC),
        ("taken", SEAM),
        ("asked", SEAM),
        ("mine", INSIDE),
        ("Kind.method", SEAM),
        ("Kind._own", INSIDE),
    ],
)
def test_the_tier_is_derived_from_homes_and_imports(name: str, tier: str, tmp_path: Path) -> None:
    source = tmp_path / "sightline"
    for folder in ("one", "two"):
        (source / folder).mkdir(parents=True)
    (source / "one" / "a.py").write_text(
        'def verb():\n    "d"\ndef taken():\n    "d"\ndef asked():\n    "d"\ndef mine():\n    "d"\n'
        'class Kind:\n    "d"\n    def method(self):\n        "d"\n    def _own(self):\n        "d"\n'
    )
    (source / "one" / "b.py").write_text("from sightline.one.a import mine\n")
    (source / "two" / "c.py").write_text(
        "from sightline.one.a import taken, Kind\nfrom sightline.one import a\na.asked()\n"
    )
    tiers = {one.name: one.tier for one in described(source, {"verb": "sightline.one.a"})}
    assert tiers[name] == tier


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("No example.", False),
        (">>> f(2)\n4\n", False),
        (">>> f(0)\nTraceback (most recent call last):\nValueError: no\n", True),
        (">>> g = f\n>>> g(0)\nTraceback (most recent call last):\nValueError: no\n", True),
        (">>> f(2)\n4\n>>> f(0)\nTraceback (most recent call last):\nValueError: no\n", False),
    ],
)
def test_an_example_that_shows_only_a_refusal_is_found(text: str, fails: bool) -> None:
    assert only_fails(text) == fails


@pytest.mark.parametrize(
    ("text", "is_empty"),
    [
        ("No example.", False),
        ("Example:\n    >>> f(2)\n    4", False),
        ("Example:\n    >>> f(2)", True),
        ("Example:\n    >>> import inspect\n    >>> list(inspect.signature(f).parameters)\n    ['a']", True),
    ],
)
def test_an_example_that_shows_nothing_is_found(text: str, is_empty: bool) -> None:
    assert shows_nothing(text) == is_empty
