"""Change the source in one place after the other, and look whether a test notices: a share of changes, drawn by chance.

Usage: python tools/mutate.py [--group metrics] [--count 100] [--seed 0] [--out mutants.jsonl]

It needs `pip install cosmic-ray`, which makes the changes. Places are drawn evenly, each with one of the changes that
cosmic-ray knows there; annotations and docstrings are left out. A copy of the repository is changed, never itself. Each
change is tried in a process of its own with the tests of its module, slow ones left out. What no test noticed is
printed as a difference. An environment variable, MUTATE_RUN, may name a finished run that is taken for `tiny_run`.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import json
import os
import random
import resource
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_SECONDS = 120
# Files that are changed, and the tests that have to notice; {name} is a module's name, {folder} where it lies.
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "metrics": ("metrics/**/*.py", ("tests/{folder}/test_{name}.py", "src/sightline/{folder}/{name}.py")),
    "splitting": ("data/splitting/*.py", ("tests/data/splitting", "src/sightline/{folder}/{name}.py")),
    "files": ("system/files.py", ("tests/system/test_files.py",)),
    "bundle": ("bundles/bundle.py", ("tests/bundles/test_bundle.py", "tests/bundles/test_signing.py")),
}
# Kinds of changes; what replaces one variable by another, or adds one, is made by the thousand and left out.
LEFT_OUT = ("VariableInserter", "VariableReplacer")
STANDIN = """

@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    return sightline.reopen(shutil.copytree({run!r}, tmp_path_factory.mktemp("runs") / "tiny"))
"""


@dataclass(frozen=True)
class Mutant:
    """A module with one change."""

    module: Path
    kind: str
    text: str

    def difference(self, whole: str) -> str:
        """The change as a difference to the whole module, and what kind it is."""
        lines = difflib.unified_diff(whole.splitlines(), self.text.splitlines(), str(self.module), self.kind, n=0)
        return "\n".join(line for line in lines if not line.startswith(("---", "@@")))


def places_in(whole: str) -> dict[tuple[str, int, int], list[tuple[str, int]]]:
    """Where a source can be changed, by kind, line and column; and how: by which operator, at its which occurrence."""
    plugins, trees = (importlib.import_module(f"cosmic_ray.{name}") for name in ("plugins", "ast"))
    nodes = list(trees.ast_nodes(trees.get_ast(whole)))
    places: dict[tuple[str, int, int], list[tuple[str, int]]] = {}
    for name in sorted(plugins.operator_names()):
        family = name.removeprefix("core/").partition("_")[0]
        if family in LEFT_OUT:
            continue
        operator, number = plugins.get_operator(name)(), 0
        for node in nodes:
            for start, _ in operator.mutation_positions(node):
                places.setdefault((family, *start), []).append((name, number))
                number += 1
    return places


def _meaning(text: str) -> str | None:
    """What Python makes of a source without annotations and docstrings; None where it is none."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                setattr(node, name, ast.Constant(None))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return ast.dump(tree)


def drawn(group: str, *, count: int, seed: int, root: Path) -> list[Mutant]:
    """So many changes of a group, each at a place of its own; none that is the same to Python."""
    plugins, mutating = (importlib.import_module(f"cosmic_ray.{name}") for name in ("plugins", "mutating"))
    modules = [path.relative_to(root) for path in sorted((root / "src/sightline").glob(GROUPS[group][0]))]
    texts = {module: (root / module).read_text(encoding="utf-8") for module in modules}
    meanings = {module: _meaning(text) for module, text in texts.items()}
    places = [(module, place, ways) for module in modules for place, ways in sorted(places_in(texts[module]).items())]
    draw, found = random.Random(seed), list[Mutant]()  # noqa: S311  # of places, not of secrets
    draw.shuffle(places)
    for module, _, ways in places:
        if len(found) == count:
            break
        name, number = draw.choice(ways)
        text = mutating.mutate_code(texts[module], plugins.get_operator(name)(), number)
        if text is not None and _meaning(text) not in (None, meanings[module]):
            found.append(Mutant(module, name.removeprefix("core/"), text))
    return found


def copy_of(folder: Path) -> Path:
    """The repository without what is made from it; with a stand-in for the training that tests begin with."""
    names = ("src", "tests", "tools", "conftest.py", "pyproject.toml", "docs", "README.md", "constraints", "benchmarks")
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    if "MUTATE_RUN" in os.environ:
        with (folder / "conftest.py").open("a", encoding="utf-8") as stream:
            stream.write(STANDIN.format(run=os.environ["MUTATE_RUN"]))
    return folder


def noticed(mutant: Mutant, tests: list[str], root: Path) -> str:
    """What became of the tests of a changed module, in a process of its own: "killed", "survived" or "timeout"."""
    whole = (root / mutant.module).read_text(encoding="utf-8")
    (root / mutant.module).write_text(mutant.text, encoding="utf-8")
    try:
        process = os.fork()
        if process == 0:
            try:
                os._exit(_tests_fail(tests, root))
            finally:  # whatever was raised is nothing for the caller of this copy of the process
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    finally:
        (root / mutant.module).write_text(whole, encoding="utf-8")
    return {0: "survived", 1: "killed", 2: "killed"}.get(status, "timeout")


def _tests_fail(tests: list[str], root: Path) -> int:
    os.chdir(root)
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.path.insert(0, str(root / "src"))
    os.environ["PYTHONPATH"] = str(root / "src")
    pytest = importlib.import_module("pytest")
    return int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-m", "not slow and not soak", *tests]) != 0)


def attack(group: str, *, count: int, seed: int, out: Path | None) -> None:
    """Try changes of a group, and tell how many were noticed."""
    with tempfile.TemporaryDirectory(prefix="sightline-mutants-") as place:
        root = copy_of(Path(place))
        chosen = drawn(group, count=count, seed=seed, root=root)
        told: Counter[str] = Counter()
        sound: set[Path] = set()
        for number, mutant in enumerate(chosen):
            names = {"name": mutant.module.stem, "folder": mutant.module.parent.relative_to("src/sightline")}
            tests = [text.format(**names) for text in GROUPS[group][1]]
            tests = [test for test in tests if (root / test).exists()]
            whole = (root / mutant.module).read_text(encoding="utf-8")
            if mutant.module not in sound and noticed(Mutant(mutant.module, "none", whole), tests, root) != "survived":
                raise SystemExit(f"{mutant.module}: its tests fail as it is; nothing can be told by them.")
            sound.add(mutant.module)
            outcome = noticed(mutant, tests, root)
            told[outcome] += 1
            difference = mutant.difference(whole)
            if outcome == "survived":
                print(f"{group} {number}: {difference}", flush=True)
            if out is not None:
                with out.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps({"group": group, "outcome": outcome, "change": difference}) + "\n")
    print(f"{group}: {len(chosen)} changes: {dict(told)}", flush=True)


def main() -> None:
    """Attack one group, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", choices=GROUPS, action="append")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a line of JSON for each change, appended")
    asked = parser.parse_args()
    sys.dont_write_bytecode = True
    # Imported once, here, for all processes to come; nothing of Sightline, which is what changes.
    for name in ("pytest", "numpy", "PIL.Image", "scipy.stats", "cryptography"):
        importlib.import_module(name)
    for group in asked.group or GROUPS:
        attack(group, count=asked.count, seed=asked.seed, out=asked.out)


if __name__ == "__main__":
    main()
