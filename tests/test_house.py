"""Rules that hold for the whole house: who may import whom, where Keras is, how files are named."""

from __future__ import annotations

import ast
import importlib.metadata
import io
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "sightline"
SOURCE_FILES = sorted(SOURCE.rglob("*.py"))

NEVER, ON_USE, AT_ONCE = "never", "inside functions only", "anywhere"
HEAVY = {"keras", "tensorflow", "jax", "torch"}
HAS_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True)
class Room:
    """A module, or a package with its files in the order in which they may import one another."""

    name: str
    files: str = ""
    keras: str = NEVER
    keras_on_use_in: str = ""


# A module imports only from the rows above it; inside a package, only from files listed before it.
ROWS: tuple[tuple[Room, ...], ...] = (
    (Room("_version"), Room("errors"), Room("text"), Room("interruption"), Room("stored")),
    (Room("records"), Room("graphs")),
    (Room("results"), Room("catalog"), Room("architectures")),
    (Room("schema"),),
    (Room("conflicts"),),
    (Room("config"), Room("backends", keras=ON_USE)),
    (Room("locks"),),
    (Room("outputs"),),
    (Room("files"), Room("progress"), Room("workers")),
    (Room("run_folders"),),
    (Room("metrics", "scores intervals grouped multiplicity calibration committees"),),
    (
        Room(
            "data",
            "signatures tiff jpeg jpeg2000 netpbm containers costs colors images isolation caches identities kept "
            "labelled split_names levels listings layout walking folders members archives cells tables ranges arrays "
            "backgrounds builtin downloads sources stores thumbnails likeness copies duplicates remembered grouping "
            "shortages splits resizing pixels batches",
            keras_on_use_in="downloads",  # keras.datasets
        ),
    ),
    (Room("quality", "kinds wording findings cameras ranges survey pictures classes copies shortcuts inspection"),),
    (
        Room(
            "reporting",
            "fonts grids sheets series canvas confusion curves overlay rates charts miniatures page_style audit_page",
        ),
    ),
    (Room("backbones", "embedded layout"),),
    (Room("bundle_checks"),),
    (Room("bundle"), Room("sessions")),
    (Room("given_images"), Room("parity")),
    (Room("identity"),),
    (Room("inference"), Room("answer_tables"), Room("features"), Room("finished")),
    (Room("judging"),),
    (Room("evaluation"), Room("similarity"), Room("pairing")),
    (Room("networks", "sizes layers classic convnet lite0 applications build", keras=AT_ONCE),),
    (
        Room(
            "training",
            "mirrors strengths recipes optimizers warping coloring randaugment augmentation normalization mixing views "
            "onnx_export saving card preparation bundling teacher lessons feed learner scalars watching fit range_test "
            "budget head activations transfer fitting committee differences members planning boosting souping "
            "ensembles resuming run distillation shared_rows choosing reopening combining",
            keras=AT_ONCE,
            # A wrong name is refused before Keras is imported.
            keras_on_use_in="mirrors strengths recipes onnx_export card preparation teacher resuming run distillation "
            "shared_rows choosing reopening combining",
        ),
    ),
    (Room("learning_rates", keras=ON_USE),),
    (Room("preview", keras=ON_USE), Room("tables", keras=ON_USE), Room("doctor", keras=ON_USE), Room("comparison")),
    (Room("__init__"),),
    (Room("cli", "opening streams printing parser listing looking answering learning main"),),
    (Room("__main__"),),
)

# `sightline.train` would be replaced by a module of that name as soon as it is imported.
PUBLIC_FUNCTIONS = (
    "show audit find_learning_rate train combine distil evaluate predict similar compare explain export sort serve "
    "models datasets recipes cache load split recipe"
)
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base"}


@dataclass(frozen=True)
class Import:
    """One imported module, where it stands, and whether it waits for a call."""

    module: str
    line: int
    inside_function: bool


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in SOURCE_FILES}


def imports_of(path: Path) -> list[Import]:
    return list(_imports(ast.parse(path.read_text(encoding="utf-8")), inside_function=False))


def _imports(node: ast.AST, inside_function: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        within = inside_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for module in _named_by(child):
            yield Import(module, child.lineno, within)
        yield from _imports(child, within)


def _named_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports hide the direction"
        package = node.module or ""
        full = [f"{package}.{alias.name}" for alias in node.names]
        return [name if name in MODULES else package for name in full]
    # importlib.import_module("keras") and require("keras", ...) import just as well.
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "require"):
        return [first.value for first in node.args[:1] if isinstance(first, ast.Constant)]
    return []


def place_of(module: str) -> tuple[int, Room, int] | None:
    """Row, room and position within the room; None where the table does not know it."""
    _, _, inner = module.partition(".")
    name, _, file = inner.partition(".")
    for row, rooms in enumerate(ROWS):
        for room in rooms:
            if room.name == (name or "__init__"):
                files = room.files.split()
                if not file:
                    return row, room, -1
                return (row, room, files.index(file)) if file in files else None
    return None


def keras_rule(module: str) -> str:
    place = place_of(module)
    if place is None:
        return NEVER
    _, room, _ = place
    return ON_USE if module.split(".")[-1] in room.keras_on_use_in.split() else room.keras


def test_every_source_file_has_a_place_in_the_table_of_rooms() -> None:
    homeless = [path for path in SOURCE_FILES if place_of(module_of(path)) is None]
    assert not homeless, (
        f"not in ROWS of {Path(__file__).name}: {', '.join(str(path.relative_to(ROOT)) for path in homeless)}. "
        "Add each to the row it belongs to, below all that it imports."
    )


def test_every_file_in_the_table_of_rooms_exists() -> None:
    listed = {
        f"sightline.{room.name}.{file}" if file else f"sightline.{room.name}".removesuffix(".__init__")
        for rooms in ROWS
        for room in rooms
        for file in room.files.split() or [""]
    }
    assert not listed - MODULES, f"in ROWS of {Path(__file__).name}, but not in src: {sorted(listed - MODULES)}"


@pytest.mark.parametrize("path", SOURCE_FILES, ids=module_of)
def test_imports_point_up(path: Path) -> None:
    here = place_of(module_of(path))
    if here is None:
        pytest.skip("reported by the test of the table itself")
    row, room, position = here
    for found in imports_of(path):
        if found.module.split(".")[0] != "sightline":
            continue
        there = place_of(found.module)
        assert there is not None, f"{path}:{found.line} imports {found.module}, which no row of the table holds"
        above = there[0] < row or (there[1] is room and there[2] < position)
        assert above, f"{path}:{found.line} imports {found.module}, which does not stand above it in the table of rooms"


@pytest.mark.parametrize("path", SOURCE_FILES, ids=module_of)
def test_keras_is_imported_only_where_the_table_says(path: Path) -> None:
    rule = keras_rule(module_of(path))
    for found in imports_of(path):
        if found.module.split(".")[0] not in HEAVY or rule == AT_ONCE:
            continue
        allowed = rule == ON_USE and found.inside_function
        assert allowed, f"{path}:{found.line} imports {found.module}; here that is allowed {rule}"


def test_no_module_bears_the_name_of_a_public_function() -> None:
    # Only direct children of the package can hide a function of the package.
    names = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert not names & set(PUBLIC_FUNCTIONS.split())


def test_no_file_has_a_name_that_says_nothing() -> None:
    vague = [path for path in SOURCE.rglob("*") if path.stem.strip("_").lower() in VAGUE_NAMES]
    assert not vague, f"name each after what lives there: {vague}"


def lines_of_code(path: Path) -> int:
    """Lines that hold code; blank ones, comments and docstrings are read, not maintained, and do not count."""
    text = path.read_text(encoding="utf-8")
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            code |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, HAS_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            code -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(code)


def test_no_source_file_has_more_than_300_lines_of_code() -> None:
    lengths = {module_of(path): lines_of_code(path) for path in SOURCE_FILES}
    assert not {module: length for module, length in lengths.items() if length > 300}


def test_lines_of_code_leave_out_what_is_only_read(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        '"""Two\nlines."""\n\n# a comment\nTEXT = """\ncode\n"""\n\n\ndef f():\n    """Doc."""\n    return 1\n'
    )
    assert lines_of_code(path) == 5


@pytest.mark.parametrize(
    "statement",
    [
        "import sightline",
        "import sightline.bundle, sightline.inference, sightline.evaluation",
        "from sightline.cli.main import main; stop(main, ['--help'])",
        "from sightline.cli.main import main; stop(main, ['predict', 'no-such-bundle', 'no-such-image.png'])",
    ],
)
def test_help_and_prediction_do_not_wait_for_keras(statement: str, tmp_path: Path) -> None:
    program = f"""
import sys
def stop(main, arguments):
    try:
        main(arguments)
    except SystemExit:
        pass
{statement}
heavy = {HEAVY!r} & set(sys.modules)
sys.exit(f"imported {{sorted(heavy)}}" if heavy else 0)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_installed_version_is_the_one_in_the_source() -> None:
    from sightline._version import __version__

    assert importlib.metadata.version("sightline") == __version__


def test_no_tracked_file_holds_the_address_of_a_package_registry() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    # In two parts, so that this file does not hold one itself.
    hosts = [
        ".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"))
    ]
    hosts += [".".join(parts) for parts in (("anaconda", "org"), ("deb.debian", "org"), ("download.pytorch", "org"))]
    hosts += ["index" + "-url", "find" + "-links"]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    paths = [ROOT / name.decode() for name in listed if name]
    found = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in paths
        if path.is_file()
        for host in hosts
        if host.encode() in path.read_bytes()
    ]
    assert not found


def test_the_lowest_versions_that_are_tested_are_the_declared_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["tensorflow"]]
    declared += project["optional-dependencies"]["jax"]
    bounds = {match for line in declared if (match := re.match(r"([a-z0-9-]+)>=([0-9.]+)", line))}
    tested = re.findall(r"^([a-z0-9-]+)==([0-9.]+)", (ROOT / "constraints/lowest.txt").read_text("utf-8"), re.MULTILINE)
    assert sorted(tested) == sorted(match.groups() for match in bounds)
