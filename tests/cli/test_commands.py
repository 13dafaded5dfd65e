from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.cli.main import COMMANDS, Command
from sightline.errors import InvalidValue
from sightline.metrics.intervals import wilson_interval
from sightline.system.caches import new_entry
from sightline.system.paths import GONE


@pytest.fixture
def photos(small_arrays: dict[str, np.ndarray], tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for row in range(3):
        Image.fromarray(small_arrays["x_test"][row]).save(folder / f"{row}.png")
    return folder


def test_commands_bear_the_names_of_the_functions_that_they_call() -> None:
    functions = {name for name in sightline.__all__ if name[0].islower()}
    # These serve the machine and the shell; opening, dividing, configuring, opening again and trusting are steps of the
    # library, where `predict --out` and `sort --undo` have names of their own, too.
    commands = {name.replace("-", "_") for name in COMMANDS} - {"doctor", "completion"}
    assert commands == functions - {"load", "split", "recipe", "reopen", "trusting", "predict_into", "undo_sort"}
    assert all(callable(getattr(sightline, name)) for name in functions)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, command) -> None:
    answer = command(name, "--help")
    assert answer.code == 0
    assert answer.out.startswith(f"usage: sightline {name}")
    assert "--json" in answer.out
    assert "--quiet" in answer.out


def test_the_program_tells_its_version_and_its_commands(command) -> None:
    assert command("--version").out == f"sightline {sightline.__version__}\n"
    listed = command("--help")
    assert listed.code == 0
    assert all(re.search(rf"^    {name}\s", listed.out, re.MULTILINE) for name in COMMANDS)
    assert command().code == 2


def test_a_command_is_a_function_and_a_row(command, monkeypatch) -> None:
    def count(arguments: Namespace) -> int:
        print(len(arguments.images))
        return 1

    row = Command("count images", count, lambda parser: parser.add_argument("images", nargs="+"))
    monkeypatch.setitem(COMMANDS, "count", row)
    assert re.search(r"^    count\s+count images$", command("--help").out, re.MULTILINE)
    assert command("count", "--help").out.startswith("usage: sightline count")
    answer = command("count", "a.png", "b.png", "--quiet")
    assert (answer.code, answer.out) == (1, "2\n")
    assert "Did you mean 'count'?" in command("cuont", "a.png").err


@pytest.mark.parametrize("name", ["models", "datasets", "recipes"])
def test_lists_print_one_json_array_or_a_table(name: str, command) -> None:
    rows = getattr(sightline, name)()
    answer = command(name, "--json")
    assert (answer.code, answer.err, json.loads(answer.out)) == (0, "", rows)
    table = command(name)
    assert (table.code, table.err) == (0, "")
    assert all(row["name"] in table.out for row in rows)


def test_models_are_listed_with_parameters_and_source(command) -> None:
    lines = command("models").out.splitlines()
    (lenet5,) = [line for line in lines if line.split()[:1] == ["lenet5"]]
    assert "61,706" in lenet5
    assert "LeCun" in lenet5


def test_every_recipe_key_is_listed_with_default_and_meaning(command) -> None:
    from sightline.configuration.recipes import keys

    told = json.loads(command("recipes", "--keys", "--json").out)
    assert [row["key"] for row in told] == list(keys())
    assert {row["key"]: row["default"] for row in told}["training.batch_size"] == 128
    assert "training.batch_size" in command("recipes", "--keys").out


def test_show_writes_a_sheet_and_describes_it(command, tmp_path: Path) -> None:
    answer = command("show", "mnist", "--count", "10")
    assert (answer.code, answer.err) == (0, "")
    assert "10 training images, 1 of each class: 0 1 2 3 4 5 6 7 8 9" in answer.out
    with Image.open(tmp_path / "mnist.png") as picture:
        assert picture.format == "PNG"
    told = json.loads(command("show", "mnist", "--count", "10", "--json", "--out", "sheets/ten.png").out)
    assert told == {"picture": "sheets/ten.png", "labels": list("0123456789")}
    assert (tmp_path / "sheets" / "ten.png").read_bytes() == (tmp_path / "mnist.png").read_bytes()


def test_show_augmented_has_a_name_and_settings_of_its_own(command, small_npz: Path, tmp_path: Path) -> None:
    assert command("show", small_npz, "--count", "2", "--augmented").code == 0
    first = (tmp_path / "small-augmented.png").read_bytes()
    assert command("show", small_npz, "--count", "2", "--augmented", "--set", "seed=5").code == 0
    assert (tmp_path / "small-augmented.png").read_bytes() == first, "a name that nobody chose takes no other's place"
    assert (tmp_path / "small-augmented-2.png").read_bytes() != first


def test_training_by_hand_prints_the_figures_and_where_the_run_lies(command, small_npz: Path, tmp_path: Path) -> None:
    answer = command("train", small_npz, "--model", "mlp", "--epochs", "1", "--seed", "3", "--quiet")
    assert (answer.code, answer.err) == (0, "")
    assert "test       accuracy " in answer.out
    assert str(Path("runs") / "small-fast-001") in answer.out
    recorded = json.loads((tmp_path / "runs" / "small-fast-001" / "recipe.json").read_text())
    assert (recorded["model"]["name"], recorded["training"]["epochs"], recorded["seed"]) == ("mlp", 1, 3)
    again = command(
        "train", small_npz, "--recipe", "runs/small-fast-001/recipe.json", "--json", "--quiet", "--set", "seed=4"
    )
    assert (again.code, again.err) == (0, "")
    figures = json.loads(again.out)
    assert figures["run"] == str(Path("runs") / "small-fast-002")
    assert (figures["recipe"]["seed"], figures["recipe"]["model"]["name"]) == (4, "mlp")


def test_evaluate_prints_one_json_object(command, tiny_run: sightline.Run) -> None:
    answer = command("evaluate", tiny_run.path, "--json", "--quiet")
    told = json.loads(answer.out)
    assert (answer.code, answer.err) == (0, "")
    assert (told["num_correct"], told["num_images"]) == (tiny_run.evaluation.num_correct, 200)
    assert told["bundle"] == str(tiny_run.path)


def test_evaluate_gives_intervals_at_the_level_that_is_named(command, tiny_run: sightline.Run) -> None:
    told = json.loads(command("evaluate", tiny_run.path, "--interval-level", "0.8", "--json", "--quiet").out)
    assert told["interval_level"] == 0.8
    expected = wilson_interval(told["num_correct"], 200, confidence=0.8)
    assert told["accuracy_interval"] == list(expected)
    assert {"cross_entropy_interval", "macro_f1_interval", "auroc_interval", "calibration_error_interval"} <= set(told)
    shown = command("evaluate", tiny_run.path, "--interval-level", "0.8").out
    assert "in brackets: 80 % intervals" in shown
    assert f"[{expected[0]:.4f}, {expected[1]:.4f}]" in shown
    assert "95 %" not in shown


@pytest.mark.parametrize("name", ["evaluate", "compare"])
@pytest.mark.parametrize("level", ["0", "1", "1.5", "-0.5", "nan", "inf", "most"])
def test_a_level_that_is_none_is_refused(command, name: str, level: str) -> None:
    answer = command(name, "no", "such", f"--interval-level={level}")
    assert (answer.code, answer.out) == (2, "")
    assert "interval_level must be a number in (0, 1)" in answer.err or "argument --interval-level" in answer.err


def test_evaluate_prints_a_table_of_classes(command, tiny_run: sightline.Run, small_npz: Path, tmp_path: Path) -> None:
    answer = command("evaluate", tiny_run.path / "bundle", small_npz, "--split", "all", "--out", "figures")
    assert answer.code == 0
    assert answer.out.startswith("accuracy 0.")
    assert "on 800 images" in answer.out
    assert (tmp_path / "figures" / "confusion.png").is_file()


def test_evaluate_tells_on_a_terminal_once_what_was_judged(
    command, tiny_run: sightline.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = command("evaluate", tiny_run.path)
    assert elsewhere.out.count("judged on 200 test") == elsewhere.err.count("judged on 200 test") == 1
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    answer = command("evaluate", tiny_run.path)
    assert f"{answer.out}{answer.err}".count("judged on 200 test") == 1
    assert command("evaluate", tiny_run.path, "--quiet").out.count("judged on 200 test") == 1


@pytest.mark.skipif(os.name == "nt", reason="links need a permission on Windows")
def test_a_link_to_the_bundle_of_a_run_is_known_to_lie_in_it(command, tiny_run: sightline.Run, tmp_path: Path) -> None:
    (tmp_path / "best").symlink_to(tiny_run.path / "bundle")
    answer = command("evaluate", "best", "--json", "--quiet")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["rows"]["known_by"] == "splits.csv"


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the folder that one stands in")
@pytest.mark.parametrize(
    "words",
    [
        ("show", "mnist"),
        ("show", "."),
        ("compare", "a", "b"),
        ("similar", "imagenet", "{image}", "--in", "{folder}"),
        ("predict", "imagenet", "{image}", "--csv", "a.csv"),
    ],
    ids=" ".join,
)
def test_a_current_folder_that_is_gone_is_told_as_that(words, command, photos: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        answer = command(*(word.format(image=photos / "0.png", folder=photos) for word in words))
        with pytest.raises(InvalidValue, match=r"^the current folder was removed\. Change to another one"):
            sightline.show("mnist", out="a.png")
    finally:
        os.chdir(tmp_path)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"sightline {words[0]}: {GONE}\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["splits.csv", "recipe.json", "predictions.npz", "history.jsonl", "metrics.json"])
def test_a_pipe_among_the_files_of_a_run_is_told_and_not_waited_for(name: str, command, run_copy: Path) -> None:
    (run_copy / name).unlink()
    os.mkfifo(run_copy / name)
    answer = command("compare", run_copy, run_copy.parent)
    assert answer.code == 2
    assert "it is a pipe, socket or device, not a file" in answer.err
    if name == "splits.csv":
        answer = command("evaluate", run_copy)
        assert answer.code == 2
        assert "it is a pipe, socket or device, not a file" in answer.err


def test_compare_prints_the_runs_side_by_side_and_draws_them(
    command, tiny_run: sightline.Run, run_copy: Path, tmp_path: Path
) -> None:
    answer = command("compare", tiny_run.path, run_copy)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"A  {tiny_run.path}\nB  {run_copy}\n")
    assert "A and B are not distinguishable on 200 images: difference 0.0 points" in answer.out
    assert answer.out.endswith("\nwritten to comparison.png\n")
    told = command("compare", tiny_run.path, run_copy, "--split", "validation", "--json", "--quiet")
    assert (told.code, told.err) == (0, "")
    figures = json.loads(told.out)
    assert (figures["split"], figures["picture"]) == ("validation", "comparison-2.png")
    assert figures["tests"][0]["num_images"] == tiny_run.validation.num_images
    assert (tmp_path / "comparison.png").read_bytes() == (tmp_path / "comparison-2.png").read_bytes()


def test_compare_writes_no_picture_into_a_run(command, tiny_run: sightline.Run, run_copy: Path) -> None:
    before = (run_copy / "curves.png").read_bytes()
    answer = command("compare", tiny_run.path, run_copy, "--out", run_copy / "curves.png")
    assert (answer.code, answer.out) == (2, "")
    assert "which is never changed. Choose another place." in answer.err
    assert (run_copy / "curves.png").read_bytes() == before


def test_predict_streams_an_object_an_image(command, tiny_run: sightline.Run, photos: Path) -> None:
    answer = command("predict", tiny_run.path, photos, "--json", "--quiet")
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert (answer.code, answer.err) == (0, "")
    assert [row["path"] for row in rows] == [str(photos / f"{name}.png") for name in range(3)]
    for row in rows:
        assert set(row) == {"path", "label", "confidence", "top", "error"}
        assert row["error"] is None
        assert len(row["top"]) == 3
        assert row["top"][0] == {"label": row["label"], "confidence": row["confidence"]}
        confidences = [entry["confidence"] for entry in row["top"]]
        assert confidences == sorted(confidences, reverse=True)
        assert 0 < sum(confidences) <= 1 + 1e-6


@pytest.mark.parametrize(("top", "listed"), [(1, 1), (10, 10), (1000, 10)])
def test_predict_lists_as_many_classes_as_asked_for_and_there_are(
    top: int, listed: int, command, tiny_run: sightline.Run, photos: Path
) -> None:
    answer = command("predict", tiny_run.path, photos / "0.png", "--json", "--top", top)
    row = json.loads(answer.out)
    assert len(row["top"]) == listed
    if listed == 10:
        assert sum(entry["confidence"] for entry in row["top"]) == pytest.approx(1, abs=1e-5)


def test_the_confidence_is_calibrated_by_the_temperature_of_the_bundle(
    command, tiny_run: sightline.Run, photos: Path
) -> None:
    from sightline.metrics.classification import softmax

    logits = sightline.predict(tiny_run, photos / "1.png", progress=False).logits
    expected = softmax(logits, temperature=tiny_run.bundle.temperature).max()
    told = json.loads(command("predict", tiny_run.path, photos / "1.png", "--json").out)
    assert told["confidence"] == pytest.approx(expected, abs=1e-5)


def test_an_unreadable_file_among_others_is_a_row_and_exit_code_1(
    command, tiny_run: sightline.Run, photos: Path
) -> None:
    (photos / "1.png").write_text("no image")
    answer = command("predict", tiny_run.path, photos, "--json", "--csv", photos.parent / "rows.csv")
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert answer.code == 1
    assert (rows[1]["label"], rows[1]["confidence"], rows[1]["top"]) == (None, None, [])
    assert str(photos / "1.png") in rows[1]["error"]
    assert rows[0]["error"] is rows[2]["error"] is None
    plain = command("predict", tiny_run.path, photos, "--quiet")
    assert (plain.code, plain.err) == (1, "")
    lines = plain.out.splitlines()
    assert lines[1].startswith(f"{photos / '1.png'}: error: ")
    assert lines[0].startswith(f"{photos / '0.png'}: {rows[0]['label']} ")


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX")
def test_names_and_classes_of_strangers_cost_no_row(command, run_copy: Path, photos: Path, tmp_path: Path) -> None:
    for number, name in enumerate((b"caf\xe9.png", b"line\nbreak\r.png", b"=1+1.png")):
        (photos / f"{number}.png").rename(os.fsdecode(os.fsencode(photos) + b"/" + name))
    labels = run_copy / "bundle" / "labels.json"
    labels.write_text(json.dumps([f"=\x1b[31m{number}" for number in range(10)]))
    reseal(run_copy / "bundle")
    answer = command("predict", run_copy, photos, "--json", "--quiet", "--csv", "rows.csv")
    assert (answer.code, answer.err) == (0, "")
    assert "\x1b" not in answer.out
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert sorted(os.fsencode(row["path"]) for row in rows) == sorted(map(os.fsencode, photos.iterdir()))
    assert all(row["label"].startswith("=\x1b[31m") for row in rows)
    text = (tmp_path / "rows.csv").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 4
    assert all(row["label"].startswith("'=\\x1b[31m") for row in csv.DictReader(io.StringIO(text)))
    plain = command("predict", run_copy, photos)
    assert "\x1b" not in plain.out
    assert len(plain.out.splitlines()) == 3
    assert plain.err == "3 images\n"


def reseal(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    for name in manifest["files"]:
        data = (bundle / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_predict_ends_with_a_count_on_stderr(command, tiny_run: sightline.Run, photos: Path) -> None:
    (photos / "1.png").write_text("no image")
    answer = command("predict", tiny_run.path, photos, "--json", "--csv", "a.csv")
    assert answer.err.splitlines()[-1] == "3 images, 1 could not be read; written to a.csv"
    assert command("predict", tiny_run.path, photos / "0.png").err.splitlines()[-1] == "1 image"
    again = command("predict", tiny_run.path, photos, "--csv", "a.csv")
    assert (again.code, again.out) == (2, "")
    assert command("predict", tiny_run.path, photos, "--csv", "a.csv", "--overwrite").code == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tpyo.png", "tpyo.png: no such file or folder. Nothing was done."),
        ("https://example.org/a.jpg", "is an address, and nothing is downloaded."),
        ("x" * 300, "cannot be opened (File name too long)"),
        ("0.png/a.png", "Nothing was done."),
    ],
)
def test_a_mistyped_image_is_refused_before_any_work(
    name: str, reason: str, command, tiny_run: sightline.Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    answer = command("predict", tiny_run.path, photos / "0.png", name, "--csv", "a.csv")
    assert (answer.code, answer.out) == (2, "")
    assert reason in answer.err
    assert not list(photos.glob("*.csv*"))


def test_a_mistyped_path_of_similar_is_told_as_what_it_is(command, tiny_run: sightline.Run, photos: Path) -> None:
    for words in (["tpyo.png", "--in", photos], [photos / "0.png", "--in", "tpyo.png"]):
        answer = command("similar", tiny_run.path, *words)
        assert (answer.code, answer.out) == (2, "")
        assert "tpyo.png: no such file or folder." in answer.err


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell pipes")
def test_a_pipe_that_is_closed_ends_the_printing_and_not_the_table(
    tiny_run: sightline.Run, photos: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "sightline", "predict", str(tiny_run.path), str(photos)]
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        for words_of_table, table in (([], None), (["--csv", "a.csv"], tmp_path / "a.csv")):
            done = subprocess.run(
                [*words, *words_of_table],
                stdout=write_end,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
                cwd=tmp_path,
            )
            assert done.returncode == 0, done.stderr
            assert "Traceback" not in done.stderr
            assert table is None or len(table.read_text().splitlines()) == 4
    finally:
        os.close(write_end)


def test_predict_writes_a_table(command, tiny_run: sightline.Run, photos: Path, tmp_path: Path) -> None:
    (photos / "2.png").write_text("no image")
    command("predict", tiny_run.path, photos, "--top", "2", "--csv", "tables/rows.csv", "--quiet")
    text = (tmp_path / "tables" / "rows.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["path", "label", "confidence", "label_2", "confidence_2", "notice", "error"]
    assert [row["path"] for row in rows] == [str(photos / f"{name}.png") for name in range(3)]
    assert float(rows[0]["confidence"]) >= float(rows[0]["confidence_2"])
    assert (rows[2]["label"], rows[2]["confidence"], rows[2]["label_2"]) == ("", "", "")
    assert "2.png" in rows[2]["error"]


def test_an_inverse_image_is_noticed_and_turned(
    command, tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    Image.fromarray(small_arrays["x_test"][0]).save(tmp_path / "digit.png")
    Image.fromarray(255 - small_arrays["x_test"][0]).save(tmp_path / "paper.png")
    noticed = json.loads(command("predict", tiny_run.path, "paper.png", "--json").out)
    assert "--invert turns it" in noticed["notice"]
    assert "--invert turns it" in command("predict", tiny_run.path, "paper.png").out
    turned = json.loads(command("predict", tiny_run.path, "paper.png", "--invert", "--json").out)
    straight = json.loads(command("predict", tiny_run.path, "digit.png", "--json").out)
    assert {**turned, "path": "digit.png"} == straight


def test_doctor_tells_versions_backend_and_devices(command) -> None:
    answer = command("doctor", "--json")
    report = json.loads(answer.out)
    assert answer.code == 0
    assert {"python", "keras", "numpy", "onnxruntime", "backend", "devices", "cache folder"} <= set(report["found"])
    assert report["found"]["sightline"] == sightline.__version__
    shown = command("doctor")
    assert shown.code == 0
    assert "onnxruntime" in shown.out


def test_the_cache_is_shown_and_emptied(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("SIGHTLINE_CACHE_GIB", "2")
    assert "kept: 0 entries, 0 bytes of at most 2 GiB" in command("cache").out
    with new_entry("pixels", "key", holds="photos at 8x8x3", num_bytes=2048) as staged:
        (staged / "images.bin").write_bytes(bytes(2048))
    shown = command("cache").out
    assert "photos at 8x8x3" in shown
    assert "kept: 1 entry, 2.07 KiB of at most 2 GiB" in shown
    told = json.loads(command("cache", "--json").out)
    assert [(entry["kind"], entry["holds"]) for entry in told["entries"]] == [("pixels", "photos at 8x8x3")]
    assert "kept: 0 entries, 0 bytes of at most 2 GiB; 1 removed (2.07 KiB)" in command("cache", "--empty").out
    monkeypatch.setenv("SIGHTLINE_CACHE_GIB", "plenty")
    refused = command("cache")
    assert (refused.code, "SIGHTLINE_CACHE_GIB must be a number of GiB" in refused.err) == (2, True)


def test_a_reader_that_goes_away_is_no_error(python, tiny_run: sightline.Run, photos: Path) -> None:
    program = """
import os, sys
reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 1)
from sightline.cli.main import main
sys.exit(main(["predict", *sys.argv[1:], "--quiet"]))
"""
    answer = python(program, tiny_run.path, photos)
    assert (answer.code, answer.err) == (0, "")


def test_nothing_but_training_and_its_pictures_waits_for_keras(
    python, tiny_run: sightline.Run, run_copy: Path, photos: Path, small_npz: Path
) -> None:
    program = """
import contextlib, io, json, sys
from sightline.cli.main import main
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        code = main(words)
        assert code == 0, words
    heavy = {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
    assert not heavy, (words, heavy)
"""
    run = str(tiny_run.path)
    words = [
        ["--help"],
        ["--version"],
        *([name, "--help"] for name in COMMANDS),
        ["models"],
        ["datasets"],
        ["recipes", "--keys"],
        ["predict", run, str(photos), "--quiet"],
        ["show", str(small_npz), "--count", "2"],
        ["evaluate", run, "--quiet"],
        ["compare", run, str(run_copy), "--quiet"],
    ]
    answer = python(program, json.dumps(words))
    assert answer.code == 0, answer.err
