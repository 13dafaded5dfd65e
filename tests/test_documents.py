"""What the README, the tutorials and the laboratory show is true: code runs, commands, files and pictures exist.

Their Python blocks run in a scratch folder, one interpreter a document, at shortened length. `SHORTENED` below is
the whole of it: MNIST becomes a file of 3,500 of its images in Keras' layout, every number of epochs becomes 1.
"""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

import sightline
from sightline.bundles.bundle import REQUIRED_FILES
from sightline.bundles.identity import FILE as IDENTITY_FILE
from sightline.bundles.trust.abstention import FILE as ABSTENTION_FILE
from sightline.bundles.trust.neighbours import FILE as NEIGHBOURS_FILE
from sightline.bundles.trust.novelty import FILE as NOVELTY_FILE
from sightline.bundles.trust.reference import FILE as REFERENCE_FILE
from sightline.bundles.trust.sets import FILE as SETS_FILE
from sightline.cli.main import COMMANDS, build_parser
from sightline.configuration.recipes import keys
from sightline.data.sources.downloads import MANUAL_FILES
from sightline.evaluation.measuring.finished_runs import FILES as RUN_FILES

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tools"))

import make_notebooks  # noqa: E402  # behind the folder that it is in

ENGLISH, CHINESE = "docs/tutorial.md", "docs/tutorial.zh.md"
LABORATORY, CHINESE_LABORATORY = "docs/concepts.md", "docs/concepts.zh.md"
TRUST, CHINESE_TRUST = "docs/trust.md", "docs/trust.zh.md"
ILLUSTRATED = ("README.md", ENGLISH, CHINESE, LABORATORY, CHINESE_LABORATORY)
DEPLOY, CHINESE_DEPLOY = "docs/deploy.md", "docs/deploy.zh.md"
EXPORT, CHINESE_EXPORT = "docs/export.md", "docs/export.zh.md"
ADOPT, CHINESE_ADOPT = "docs/adopt.md", "docs/adopt.zh.md"
WEB, CHINESE_WEB = "docs/web.md", "docs/web.zh.md"
SERVE, CHINESE_SERVE = "docs/serve.md", "docs/serve.zh.md"
STUDIO, CHINESE_STUDIO = "docs/studio.md", "docs/studio.zh.md"
PUBLISH, CHINESE_PUBLISH = "docs/publish.md", "docs/publish.zh.md"
LARGE, CHINESE_LARGE = "docs/sources.md", "docs/sources.zh.md"
DATA, CHINESE_DATA = "docs/data.md", "docs/data.zh.md"
SCALE, CHINESE_SCALE = "docs/scale.md", "docs/scale.zh.md"
SEARCH, CHINESE_SEARCH = "docs/search.md", "docs/search.zh.md"
SCIKIT, CHINESE_SCIKIT = "docs/scikit-learn.md", "docs/scikit-learn.zh.md"
LABELS, CHINESE_LABELS = "docs/labels.md", "docs/labels.zh.md"
DOCUMENTS = (
    *ILLUSTRATED,
    *(TRUST, CHINESE_TRUST, DEPLOY, CHINESE_DEPLOY, EXPORT, CHINESE_EXPORT, ADOPT, CHINESE_ADOPT),
    *(WEB, CHINESE_WEB, SERVE, CHINESE_SERVE, STUDIO, CHINESE_STUDIO, LARGE, CHINESE_LARGE),
    *(SCALE, CHINESE_SCALE, DATA, CHINESE_DATA, LABELS, CHINESE_LABELS),
    *(SEARCH, CHINESE_SEARCH, SCIKIT, CHINESE_SCIKIT),
)
TRANSLATED = (
    (ENGLISH, CHINESE),
    (LABORATORY, CHINESE_LABORATORY),
    (TRUST, CHINESE_TRUST),
    (LABELS, CHINESE_LABELS),
    (DEPLOY, CHINESE_DEPLOY),
    (EXPORT, CHINESE_EXPORT),
    (ADOPT, CHINESE_ADOPT),
    (WEB, CHINESE_WEB),
    (SERVE, CHINESE_SERVE),
    (STUDIO, CHINESE_STUDIO),
    (PUBLISH, CHINESE_PUBLISH),
    (LARGE, CHINESE_LARGE),
    (SCALE, CHINESE_SCALE),
    (DATA, CHINESE_DATA),
    (SEARCH, CHINESE_SEARCH),
    (SCIKIT, CHINESE_SCIKIT),
)
NUM_TRAIN, NUM_TEST, NUM_TEST_OF_MNIST = 3_000, 500, 10_000

SHORTENED = (
    (r'"mnist"', '"few.npz"'),
    (r"keras\.datasets\.mnist\.load_data\(\)", "few_arrays()"),
    (r"\bepochs=\d+", "epochs=1"),
    (r'"training\.epochs": \d+', '"training.epochs": 1'),
    (r"\b60000\b", str(NUM_TRAIN)),
    (r"\b5000\b", "250"),
    # As few mistakes as that a network of one epoch cannot promise.
    (r"\bmax_error=0\.01\b", "max_error=0.2"),
    # What a comment says of a parameter count is not a remark but a promise.
    (r"print\((\w+\.count_params\(\))\)  # (\d+)$", r"assert \1 == \2, \1"),
)
FEW_ARRAYS = """
def few_arrays():
    import numpy
    with numpy.load("few.npz") as arrays:
        return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])
"""


def blocks(document, language):
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands(document):
    lines = [line for block in blocks(document, "console") for line in block.splitlines()]
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if line.startswith("$ ")]


def in_short(code):
    for pattern, replacement in SHORTENED:
        code = re.sub(pattern, replacement, code, flags=re.MULTILINE)
    return code


def shortened(document):
    return FEW_ARRAYS + in_short("\n".join(blocks(document, "python")))


class WithoutWords(ast.NodeTransformer):
    """What a block prints may be said in another language; everything else has to be the same."""

    def visit_Call(self, call):
        if ast.unparse(call.func) == "print":
            for node in ast.walk(call):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    node.value = "words"
        return call


def code_of(block):
    return ast.unparse(WithoutWords().visit(ast.parse(block)))


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    mnist = sightline.load("mnist")
    train, test = slice(0, NUM_TRAIN), slice(-NUM_TEST, None)
    path = tmp_path_factory.mktemp("few") / "few.npz"
    np.savez(
        path,
        x_train=mnist.images[train, :, :, 0],
        y_train=mnist.labels[train],
        x_test=mnist.images[test, :, :, 0],
        y_test=mnist.labels[test],
    )
    return path


@pytest.mark.slow
@pytest.mark.parametrize("document", ["README.md", ENGLISH])
def test_the_python_of_a_document_runs_from_top_to_bottom(document, few, tmp_path):
    (tmp_path / "few.npz").write_bytes(few.read_bytes())
    script = tmp_path / "document.py"
    code = shortened(document)
    if document == "README.md":
        # What an answer promises is asked of the run that the five lines leave.
        code += shortened(TRUST).replace('"runs/mnist-fast-001"', "run.path")
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, str(script)]
    finished = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8"
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    printed = finished.stdout
    if document == ENGLISH:
        # On 28x28 it cannot be built; the photograph's inverse is noticed, and both files of the bundle answer alike.
        assert "cannot be built: " in printed
        assert "--invert turns it" in printed
        assert "10 training images, 1 of each class: 0 1 2 3 4 5 6 7 8 9" in printed
        keras_answer, onnx_answer = re.findall(r"^\[\d \d \d\]$", printed, re.MULTILINE)[-2:]
        assert keras_answer == onnx_answer
    else:
        assert re.search(r"^accuracy 0\.\d{4} \[0\.\d{4}, 0\.\d{4}\] on 500 images$", printed, re.MULTILINE)


def test_the_python_of_the_page_about_exports_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks(EXPORT, "python")), {})
    assert capsys.readouterr().out == "model.onnx True\n13 1.0 float32\n"


def test_the_python_of_the_page_about_sources_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks(DATA, "python")), {})
    assert "'000bec' is 'train/000bec.jpg'" in capsys.readouterr().out


def executed(page, folder, change=lambda code: code):
    """What the cells of the notebook of a page print, in a kernel of its own, of what a change makes of their code."""
    notebook = nbformat.read(ROOT / "docs" / page.replace(".md", ".ipynb"), as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = change(cell.source)
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    # A kernel keeps its files where it runs, and nothing of the user's is read.
    kept = {name: str(folder / "kernel") for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")}
    environment = {**os.environ, **kept, "PYTHONPATH": path, "MPLBACKEND": "Agg"}
    client = NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(out.text for out in cell.outputs if out.get("name") == "stdout") for cell in cells]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_about_scikit_learn_runs(tmp_path):
    search, matrices, refusals = executed("scikit-learn.md", tmp_path)
    rate = r"(0\.01|1e-05)"
    assert re.fullmatch(
        rf"\{{'learn__optimizer\.learning_rate': {rate}\}}\n\(100,\) \(100, 2\) \['even' 'odd'\]\n"
        rf"{rate} \['bundle', .*\]\n",
        search,
    )
    assert matrices == "True\n64 (8, 8, 1)\n"
    assert [refusals] == blocks(SCIKIT, "text")


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_of_the_tutorial_runs(few, tmp_path):
    (tmp_path / "few.npz").write_bytes(few.read_bytes())
    printed = executed("tutorial.md", tmp_path, lambda code: FEW_ARRAYS + in_short(code))
    assert "10 training images, 1 of each class: 0 1 2 3 4 5 6 7 8 9" in "".join(printed)
    assert "cannot be built: " in "".join(printed)


@pytest.mark.parametrize("page", make_notebooks.PAGES)
def test_a_notebook_holds_what_its_page_says(page):
    path = ROOT / "docs" / page.replace(".md", ".ipynb")
    text = path.read_text(encoding="utf-8")
    assert text == make_notebooks.notebook_of(page), "run tools/make_notebooks.py"
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    code = [cell.source + "\n" for cell in notebook.cells if cell.cell_type == "code"]
    assert code == blocks(f"docs/{page}", "python")
    shell = [cell.source for cell in notebook.cells if cell.metadata.get("tags") == [make_notebooks.SHELL]]
    assert ["```console\n" + block + "```" for block in blocks(f"docs/{page}", "console")] == [
        source.partition("\n\n")[2] for source in shell
    ]
    (start,) = {source.partition("\n\n")[0] for source in shell}
    assert start[:-1] in notebook.cells[0].source
    # Without what the tool says itself, the cells are the page.
    told = [source.partition("\n\n")[2] for source in shell]
    fenced = [
        told.pop(0)
        if cell.metadata.get("tags")
        else f"```python\n{cell.source}\n```"
        if "outputs" in cell
        else cell.source
        for cell in notebook.cells[1:]
    ]
    page_text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert "".join(fenced).replace("\n", "") == page_text.replace("\n", "")


def test_the_python_of_the_page_about_networks_of_others_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks(ADOPT, "python")), {})
    assert capsys.readouterr().out == "8x8 RGB, channels first, bytes to 0..1, resized by stretch True\n"


def test_the_python_of_the_page_about_publishing_runs(tiny_run, tmp_path, monkeypatch, capsys):
    shutil.copytree(tiny_run.path, tmp_path / "runs" / "mnist-fast-001")
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks(PUBLISH, "python")), {})
    assert capsys.readouterr().out == "README.md bundle None\n('0', '1', '2')\n"


def test_the_readme_shows_five_lines_of_python():
    (block,) = blocks("README.md", "python")
    assert len(block.splitlines()) == 5


def test_what_the_comments_say_of_whole_mnist_is_so():
    digits = sightline.load("mnist")
    text = (ROOT / ENGLISH).read_text(encoding="utf-8")
    as_then = {"data.validation_fraction": 5000 / 60000, "data.calibration_fraction": 0}
    for said in (
        f"{digits.images.shape} {digits.images.dtype}",
        str(sightline.split(digits)),
        str(sightline.split(digits, sightline.recipe("fast", as_then).data)),
        str((digits.images.shape[0] - NUM_TEST_OF_MNIST - 5000, *digits.images.shape[1:])),
        str(digits.labels[:5]),
    ):
        assert f"  # {said}\n" in text


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_python_block_is_python(document):
    for block in blocks(document, "python"):
        ast.parse(block)


@pytest.mark.parametrize(("english", "chinese"), TRANSLATED)
def test_both_languages_have_the_same_code_apart_from_comments_and_printed_words(english, chinese):
    assert [code_of(block) for block in blocks(english, "python")] == [
        code_of(block) for block in blocks(chinese, "python")
    ]
    assert commands(english) == commands(chinese)
    assert blocks(english, "text") == blocks(chinese, "text") or english == ENGLISH


@pytest.mark.parametrize(("english", "chinese"), TRANSLATED)
def test_both_languages_have_the_same_steps_pictures_and_links(english, chinese):
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in (english, chinese)]
    for pattern in (r"^(#+)", r"^(## \d+)\. ", r"^```(\w*)$", r"^!\[.*\]\((.+)\)$", r"^<!-- (.*) -->$"):
        first, second = (re.findall(pattern, text, re.MULTILINE) for text in texts)
        assert first == second
    other = {ROOT.joinpath("docs", name).name for pair in TRANSLATED for name in pair}
    other |= {name.replace(".md", ".ipynb") for name in other}
    told, retold = ({str(link) for link in links(name)} for name in (english, chinese))
    assert told - other == retold - other
    assert Path(chinese).name in told
    assert Path(english).name in retold


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_shown_is_one(document):
    assert commands(document)
    for command in commands(document):
        typed = [word for word in command if not re.fullmatch(r"[A-Z_]+=\w+", word)]
        CHECKS[typed[0]](typed[1:])


def check_sightline(typed):
    arguments = build_parser().parse_args(typed)
    if hasattr(arguments, "settings"):
        sightline.recipe(arguments.recipe or "fast", arguments.settings)
    model = getattr(arguments, "model", None)
    assert model is None or model in [entry["name"] for entry in sightline.models()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_option_and_recipe_key_that_a_document_speaks_of_exists(document):
    text = re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    spans = [span for span in re.findall(r"`([^`]+)`", text) if not span.startswith(("python ", "pip "))]
    (commands_of,) = (action.choices for action in build_parser()._actions if action.dest == "command")
    known = {option for command in commands_of.values() for option in command._option_string_actions}
    assert {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", span)} <= known
    sections = "|".join({key.partition(".")[0] for key in keys() if "." in key})
    named = {key for span in spans for key in re.findall(rf"(?<![\w/.-])(?:{sections})\.[a-z_0-9]+", span)}
    assert named - {"model.keras", "model.onnx"} <= set(keys())


def check_make(typed):
    (target,) = typed
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def check_pip(typed):
    assert typed[0] == "install"
    check_extras(typed[1])


def check_extras(text):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = re.findall(r"(?:sightline|'\.|')\[([a-z,-]+)\]", text)
    assert named
    assert set(named) <= set(extras)


CHECKS = {"sightline": check_sightline, "make": check_make, "pip": check_pip}


def test_the_install_lines_of_the_readme_name_extras_that_exist():
    check_extras((ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_readme_names_every_command_and_every_function():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed, alone = re.search(
        r"of the same names: (.+?)\. \w+ more are for Python alone: (.+?)\n\n", text, re.DOTALL
    ).groups()
    # These two serve the machine and the shell.
    functions = [name.replace("-", "_") for name in COMMANDS if name not in ("doctor", "completion")]
    assert sorted(re.findall(r"`(\w+)`", listed)) == sorted(functions)
    assert {*functions, *re.findall(r"`(\w+)`", alone)} == {name for name in sightline._HOMES if name.islower()}
    assert [name for name in COMMANDS if not re.search(rf"sightline {name}\b", text)] == []
    assert [name for name in sightline.__all__ if name[0].islower() and f"`{name}`" not in text] == []


def test_the_readme_says_what_to_place_where_without_a_network():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for manual in MANUAL_FILES.values():
        for name in re.findall(r"[\w.-]+\.gz|\{home\}/[\w./-]*\w", manual):
            assert name.replace("{home}", "~/.keras") in text


def test_the_readme_lists_every_file_of_a_run():
    (tree,) = (block for block in blocks("README.md", "text") if block.startswith("runs/"))
    listed = set(re.findall(r"[\w-]+\.[a-z]+", tree))
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "sightline").rglob("*.py"))
    assert all(f'"{name}"' in source for name in listed)
    optional = {"parity.npz", IDENTITY_FILE, SETS_FILE, ABSTENTION_FILE, REFERENCE_FILE, NOVELTY_FILE, NEIGHBOURS_FILE}
    assert {*RUN_FILES, *REQUIRED_FILES, "manifest.json", "curves.png"} | optional <= listed


def links(document):
    text = re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {Path(target) for target in re.findall(r"\]\(([^)#:]+)\)", text)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_to_a_file_leads_to_one(document):
    assert links(document)
    missing = [str(target) for target in links(document) if not (ROOT / document).parent.joinpath(target).exists()]
    assert not missing


@pytest.mark.parametrize("document", ILLUSTRATED)
def test_every_picture_opens_and_says_what_it_shows(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    pictures = re.findall(r"!\[(.*?)\]\((.+?)\)", text)
    assert pictures
    for words, target in pictures:
        assert words
        with Image.open((ROOT / document).parent / target) as picture:
            picture.verify()


@pytest.mark.parametrize("document", ["README.md", ENGLISH, CHINESE])
def test_what_was_recorded_stands_between_its_marks(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    (recorded,) = re.findall(r"<!-- recorded: begin -->\n(.*?)<!-- recorded: end -->", text, re.DOTALL)
    assert "CPU" in recorded
    assert "TensorFlow" in recorded
    assert document == "README.md" or re.search(r"^test +accuracy 0\.\d{4} \[", recorded, re.MULTILINE)


def test_the_tutorial_says_what_the_recipe_fast_says():
    (block,) = (block for block in blocks(ENGLISH, "python") if '"schedule.name"' in block)
    names = {"sightline": sightline}
    exec(block, names)
    assert names["recipe"] == sightline.recipe("fast")


@pytest.fixture
def laboratory(monkeypatch):
    """The tables of the laboratory and what they are written from."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import concepts_pages
    import concepts_table

    return concepts_pages, concepts_table


@pytest.mark.parametrize(("document", "language"), [(LABORATORY, "en"), (CHINESE_LABORATORY, "zh")])
def test_every_figure_of_the_laboratory_is_the_one_that_was_measured(document, language, laboratory):
    pages, _ = laboratory
    content = json.loads((ROOT / "docs" / "concepts.json").read_text(encoding="utf-8"))
    text = (ROOT / document).read_text(encoding="utf-8")
    assert pages.filled(text, content, language) == text
    assert content["machine"] in text


def test_every_experiment_of_the_laboratory_has_a_table_and_a_picture(laboratory):
    _, table = laboratory
    text = (ROOT / LABORATORY).read_text(encoding="utf-8")
    marks = set(re.findall(r"<!-- measured ([\w-]+): begin -->", text))
    assert marks == {*table.EXPERIMENTS, "machine"}
    pictures = set(re.findall(r"\(images/concepts-([\w-]+)\.png\)", text))
    assert pictures == set(table.EXPERIMENTS)
    sizes = [path.stat().st_size for path in (ROOT / "docs" / "images").glob("concepts-*.png")]
    assert max(sizes) < 100_000


def test_every_entry_of_the_laboratory_is_a_recipe(laboratory):
    _, table = laboratory
    for experiment in table.EXPERIMENTS.values():
        for entry in filter(table.Entry.is_known, experiment.entries):
            key, values = entry.choose or ("seed", (0,))
            for value in values:
                sightline.recipe("fast", {**table.BASE, "loss.label_smoothing": 0, **entry.settings, key: value})


def test_a_difference_is_taken_seed_by_seed(laboratory):
    pages, _ = laboratory
    first, second = [0.90, 0.95, 0.99], [0.91, 0.96, 1.00]
    assert pages.compared(second, first) == ("+1.00 [+1.00, +1.00]", "better")
    assert pages.compared([0.91, 0.94, 0.99], first)[1] == "same"
    assert pages.compared(first, first) == ("", "")
