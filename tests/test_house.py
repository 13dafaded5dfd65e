"""Rules that hold for the whole house: who may import whom, where Keras is, how files are named."""

from __future__ import annotations

import ast
import dataclasses
import importlib.metadata
import io
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
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
    """A module, or files of a folder in the order in which they may import one another; a folder may come twice."""

    path: str
    files: str = ""
    keras: str = NEVER
    keras_on_use_in: str = ""

    def modules(self) -> list[str]:
        name = ".".join(["sightline", *self.path.split("/")]).removesuffix(".__init__")
        return [f"{name}.{file}" for file in self.files.split()] or [name]


# A module imports only from the rows above it; inside a folder, only from files listed before it.
ROWS: tuple[tuple[Room, ...], ...] = (
    (Room("_version"), Room("errors")),
    (
        Room(
            "system",
            "text paths interruption stored files signatures caches progress workers backends",
            keras_on_use_in="backends",
        ),
    ),
    (Room("integrations/ray", "cluster workers teams serving"),),  # a map, as that of processes in the room before
    (Room("metrics", "classification intervals significance grouped"),),
    (Room("metrics/calibration", "temperature scaling reliability"),),
    (Room("metrics/uncertainty", "bootstrap macro ranking calibration_error power_law"),),
    (Room("metrics/labels", "folds discriminants quality"),),
    (Room("metrics", "ensembles history conformal drift selective novelty slices"),),
    (Room("metrics/uncertainty", "risk"),),  # of what is selective
    (Room("metrics/multi_label", "counting ranking thresholds scaling risk_control pairing voting"),),
    (Room("tasks", "task single_label multi_label table"),),
    (Room("records", "notebook data details figure results"),),
    (Room("records/__init__"),),  # hands on what is in them
    (Room("configuration", "names networks values consistency schema recipes"),),
    (Room("metrics/answers", "details label_rows decisions"),),
    (Room("metrics", "figures"),),
    (Room("data/decoding", "formats tiff jpeg jpeg2000 netpbm containers transforms decoder"),),
    (Room("data/storage", "listing packed_names archive_members stores blobs parquet_rows kept_rows"),),
    (Room("data/sources", "assembly joining levels layout several"),),
    (
        Room(
            "data/sources/local",
            "folders archives cells label_cells finding lines tables arrays",
        ),
    ),
    (Room("data/sources/large", "large_files row_labels shard_members shard_index shards parquet_layout parquet"),),
    (Room("data/sources/remote", "stores objects opening"),),
    (Room("data/sources/annotations", "parsing marks records imagefolder label_studio cvat roboflow coco"),),
    (Room("data/sources", "catalog builtin downloads loading", keras_on_use_in="downloads"),),  # keras.datasets
    (Room("data/duplicates", "fingerprints alignment candidates search"),),
    (Room("data/inputs", "input_spec pixels properties reading isolation"),),
    (Room("data/splitting", "assignment stratification splits"),),
    (
        Room(
            "bundles",
            "graphs checks published bundle card sessions parity given_images identity features",
        ),
    ),
    (
        Room(
            "bundles/trust",
            "vouching calibration sets label_sets abstention novelty neighbours seen reference draws details",
        ),
    ),
    (
        Room(
            "bundles/vetting",
            "hdf5 configs archives network_files torch_files wheels weights_files given_networks",
            keras_on_use_in="network_files",
        ),
    ),
    (Room("bundles/maps", "nodes grid head activations occlusion class_maps"),),
    (Room("bundles", "prediction"),),
    (Room("bundles/answers", "rows formats notes tables"),),
    (Room("quality/labels", "planting outliers doubts label_table"),),
    (Room("quality", "findings ranges measures survey images classes duplicates shortcuts appearance order audit"),),
    (Room("reporting/sheets", "fonts grids sheets overlays"),),
    (
        Room(
            "reporting/charts",
            "canvas confusion reliability curves overlay learning_rates learning_curve risk_coverage robustness",
        ),
    ),
    (
        Room(
            "reporting/pages",
            "style shell miniatures labels audit plots report_style report_content report_answers report_figures "
            "report",
        ),
    ),
    (Room("reporting/pages/sections", "slices doubts maps robustness"),),
    (Room("reporting/pages/explanations", "page"),),
    (Room("reporting/pages/sorting", "plan_page"),),
    (Room("reporting/pages/searching", "page"),),
    (Room("evaluation/measuring", "scoring finished_runs judging kept_classes label_tests paired_tests drift"),),
    (Room("evaluation/corruptions", "filters strengths changes"),),
    (Room("evaluation/slicing", "membership clusters finding"),),
    (
        Room(
            "evaluation",
            "explain evaluate stress comparison similarity verification kept_runs check mistakes kept_sections report",
        ),
    ),
    (Room("integrations/tracking", "addresses telling mlflow_store wandb_project tracker"),),  # training tells them
    (Room("networks", "lite_layout starting given building classic convnet lite applications", keras=AT_ONCE),),
    # A wrong name is refused before Keras is imported.
    (
        Room(
            "training/setup",
            "mirrors reference_rows processes resolution preparation unfinished tracked run_folder starting",
        ),
    ),
    (Room("training/optimization", "optimizers schedules losses", keras=AT_ONCE),),
    (Room("training/augmentation", "affine color randaugment pipeline mixing views", keras=AT_ONCE),),
    (
        Room(
            "training/packaging",
            "onnx_export contract label_calibration unlike_images novelty_fit novelty_graph novelty_files bundling",
            keras=AT_ONCE,
            keras_on_use_in="onnx_export",
        ),
    ),
    (
        Room(
            "training/loop",
            "shares batches network checkpoint_files ranks checkpoints recording monitor fit time_budget",
            keras=AT_ONCE,
        ),
    ),
    (
        Room(
            "training/search",
            "rate_sweep learning_rate_finder learning_curve",
            keras=AT_ONCE,
            keras_on_use_in="learning_rate_finder learning_curve",
        ),
    ),
    (
        Room(
            "training/transfer",
            "descent softmax sigmoid judging stages statistics head activations beginning halves finetuning",
            keras=AT_ONCE,
        ),
    ),
    (Room("training", "fit_network enlarging", keras=AT_ONCE),),
    (
        Room(
            "training/ensembles",
            "graph member_recipes weight_averaging members boosting train_members",
            keras=AT_ONCE,
        ),
    ),
    (Room("training/distillation", "teacher soft_labels"),),
    (Room("training", "fit_on_processes end_of_run preview train", keras=ON_USE),),
    (Room("training/combination", "shared_rows selection reopening", keras_on_use_in="reopening"),),
    (Room("training", "combine distil extend resume", keras=ON_USE),),
    (Room("training/search", "space study trials results search_folder driver search", keras=ON_USE),),
    (Room("deployment/conversion", "formats description rows choosing losses gate readme places"),),
    (Room("deployment/web", "runtime_files pages whole files duties browser"),),
    (
        Room(
            "deployment/runtimes",
            "onnx onnx_int8 openvino keras_writers keras_conversion litert litert_int8 tensorflow torch coreml web",
            keras_on_use_in="keras_writers tensorflow torch",
        ),
    ),
    (Room("deployment/bulk", "images step parts part_folder"),),
    (Room("deployment/sorting", "journal places companions steps planning"),),
    (
        Room(
            "deployment/adoption",
            "labels preparation wrapping foreign onnx_files keras_configs keras_files judging",
            keras_on_use_in="keras_files",
        ),
    ),
    (Room("deployment/server", "limits batching served decoders"),),
    (Room("deployment/server/gate", "admission"),),
    (Room("deployment/server", "uploads telemetry classify protocol"),),
    (Room("deployment/server/gate", "passage door gate connection"),),
    (Room("deployment/server", "openapi page_files app"),),
    (Room("deployment/server/replicas", "replica front"),),
    (Room("deployment/workshop", "folders jobs"),),
    (Room("deployment/workshop/sets", "naming contents adding journal tables changes asking"),),
    (Room("deployment/workshop", "commands looking trainings findings answers"),),
    (Room("deployment/workshop/sets", "routes"),),
    (Room("deployment/workshop", "app"),),
    (Room("deployment", "export predict_into sort adopt serve studio"),),
    (Room("integrations/hub", "model_cards repository upload"),),
    (Room("integrations", "publish"),),
    (Room("integrations/scikit_learn", "given numbers kept estimator"),),
    (Room("integrations/scikit_learn/__init__"),),  # hands on the estimator
    (Room("information"),),
    (Room("__init__"),),
    (Room("cli", "printing options"),),
    (
        Room(
            "cli/commands",
            "sources runs prediction bundles exports explanation inspection robustness sorting serving lists machine",
        ),
    ),
    (Room("cli", "main"),),
    (Room("__main__"),),
)

# `sightline.train` would be replaced by a module of that name as soon as it is imported.
PUBLIC_FUNCTIONS = (
    "show audit find_learning_rate learning_curve search train resume combine distil evaluate predict stress verify "
    "runs check reopen predict_into undo_sort similar compare explain adopt export publish sort serve studio models "
    "datasets recipes cache load split recipe"
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


PLACES = {
    module: (row, room, position)
    for row, rooms in enumerate(ROWS)
    for room in rooms
    for position, module in enumerate(room.modules())
}


def place_of(module: str) -> tuple[int, Room, int] | None:
    """Row, room and position within the room; None where the table does not know it."""
    if module in PLACES:
        return PLACES[module]
    # A package itself stands above the first of its files.
    row, room, _ = next((PLACES[name] for name in PLACES if name.startswith(f"{module}.")), (0, None, 0))
    return None if room is None else (row, room, -1)


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
    absent = sorted(set(PLACES) - MODULES)
    assert not absent, f"in ROWS of {Path(__file__).name}, but not in src: {absent}"


def test_no_folder_has_more_than_12_files() -> None:
    folders = Counter(path.parent for path in SOURCE_FILES if path.stem != "__init__")
    full = {str(folder.relative_to(SOURCE)): number for folder, number in folders.items() if number > 12}
    assert not full, f"sort their files into folders by kind: {full}"


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
        "import sightline.bundles.bundle, sightline.bundles.prediction, sightline.evaluation.evaluate",
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


def test_only_the_schema_makes_one_recipe_of_another() -> None:
    from sightline.configuration.schema import Recipe
    from sightline.configuration.values import Section

    keys = {entry.name for kind in (Recipe, *Section.__subclasses__()) for entry in dataclasses.fields(kind)}
    # Records of other kinds have fields of such names, too.
    keys -= {"identity", "task"}
    others = {"dataset", "container"}
    found = []
    for path in SOURCE_FILES:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or ast.unparse(call.func) not in ("dataclasses.replace", "replace"):
                continue
            # `**values` may hold any key.
            named = all(word.arg is None or word.arg in keys for word in call.keywords)
            if named and ast.unparse(call.args[0]).split(".")[-1] not in others:
                found.append(f"{module_of(path)}: {ast.unparse(call)}")
    assert [line.split(":")[0] for line in found] == ["sightline.configuration.schema"], (
        f"`Recipe.changed` checks what comes out and sets back what has lost its use: {found}"
    )


def test_the_lowest_versions_that_are_tested_are_the_declared_ones() -> None:
    declaration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = declaration["project"]
    declared = [*declaration["build-system"]["requires"], *project["dependencies"]]
    declared += [*project["optional-dependencies"]["tensorflow"], *project["optional-dependencies"]["jax"]]
    bounds = {match for line in declared if (match := re.match(r"([a-z0-9-]+)>=([0-9.]+)", line))}
    tested = re.findall(r"^([a-z0-9-]+)==([0-9.]+)", (ROOT / "constraints/lowest.txt").read_text("utf-8"), re.MULTILINE)
    assert sorted(tested) == sorted(match.groups() for match in bounds)


def test_what_pip_is_to_install_is_quoted_by_the_message_alone() -> None:
    quoted = re.compile(r"""\binstall=(?:"'|'\")""")
    assert [path.name for path in SOURCE_FILES if quoted.search(path.read_text())] == []
