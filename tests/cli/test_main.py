from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sightline

REFUSED = [
    (["train", "mnits"], "no source is called 'mnits', and there is no such file. Did you mean 'mnist'?"),
    (["train", "none.npz"], "no source is called 'none.npz', and there is no such file."),
    (["train", "mnist", "--recipe", "fats"], "no recipe is called 'fats'. Did you mean 'fast'?"),
    (["train", "mnist", "--recipe", "none.json"], "none.json: cannot be read as a recipe"),
    (["train", "mnist", "--model", "lenet"], "model.name: no model is called 'lenet'. Did you mean 'lenet5'?"),
    (["train", "mnist", "--epochs", "ten"], "training.epochs must be a whole number of at least 1; got 'ten'."),
    (["train", "mnist", "--epochs", "0"], "training.epochs must be a whole number of at least 1; got 0."),
    (["train", "mnist", "--seed", "-1"], "seed must be a whole number of at least 0; got -1."),
    (["train", "mnist", "--set", "training.epoch=3"], "no recipe key is called 'training.epoch'. Did you mean"),
    (["train", "mnist", "--set", "epochs"], "--set takes key=value; got 'epochs'."),
    (["train", "mnist", "--set", "optimizer.learning_rate=nan"], "optimizer.learning_rate must be a number above 0"),
    (["train", "mnist", "--epochs", "3", "--set", "training.epochs=4"], "training.epochs is set twice, to 4 and to 3."),
    (["train", "mnist", "--set", "seed=1", "--set", "seed=2"], "seed is set twice, to 1 and to 2. Set it once."),
    (["train", "mnist", "--backend", "tensorfow"], "no backend is called 'tensorfow'. Did you mean 'tensorflow'?"),
    (["train", "mnist", "--log-every", "0"], "log_every must be a whole number of at least 1; got 0."),
    (
        ["train", "mnist", "--out", "taken"],
        "nothing in it was changed. Choose another place, or move it away.",
    ),
    (["train", "mnist", "--out", "taken/mine.txt"], "mine.txt is a file; nothing in it was changed."),
    (["evaluate", "nowhere"], "nowhere: no such folder. Name a run or a bundle"),
    (["evaluate", "taken", "mnist"], "taken: not a bundle: it has no manifest.json."),
    (["predict", "nowhere", "a.png"], "nowhere: no such folder. Name a run or a bundle"),
    (["compare", "taken"], "compare takes two runs or more; got 1."),
    (["compare", "taken", "taken/../taken"], "taken/../taken is given twice."),
    (["compare", "taken", "nowhere"], "taken: not a run: it has no recipe.json."),
    (["compare", "nowhere", "taken"], "nowhere: no such folder. Name a run"),
    (["compare", "nowhere", "taken", "--split", "train"], "split must be test or validation; got 'train'."),
    (["combine", "taken"], "combine takes two runs or more; got 1."),
    (["combine", "taken", "nowhere"], "taken: not a run: it has no recipe.json."),
    (
        ["combine", "taken", "nowhere", "--votes", "2,x"],
        "--votes takes a weight for each run, such as 2,1,1; got '2,x'.",
    ),
    (["combine", "taken", "nowhere", "--votes", "0,0"], "the weights of members must be 0 or more, and not all 0"),
    (["combine", "taken", "nowhere", "--most", "0"], "most must be a whole number of at least 1; got 0."),
    (
        ["combine", "nowhere", "gone", "--out", "taken"],
        "taken is a folder that is not empty; nothing in it was changed.",
    ),
    (["show", "mnits"], "no source is called 'mnits'"),
    (["show", "taken/mine.txt"], "taken/mine.txt: "),
    (["show", "mnist", "--count", "0"], "count must be a whole number from 1 to 400; got 0."),
    (["show", "mnist", "--recipe", "fats"], "no recipe is called 'fats'."),
    (["show", "mnist", "--out", "taken/mine.txt/a.png"], "a part of the path is a file"),
]


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    return tmp_path


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_a_mistake_is_one_sentence_and_exit_code_2(words: list[str], message: str, command, taken: Path) -> None:
    for asked in (words, [*words, "--json"], [*words, "--quiet"]):
        answer = command(*asked)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith(f"sightline {words[0]}: ")
        assert message in answer.err
        assert answer.err.count("\n") == 1
    assert sorted(path.name for path in taken.rglob("*")) == ["mine.txt", "taken"]
    assert (taken / "taken" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "words",
    [
        ["trian", "mnist"],
        ["train"],
        ["train", "mnist", "--no-such-option"],
        ["train", "mnist", "--log-every", "ten"],
        ["show", "mnist", "--count", "five"],
        ["predict", "runs/x"],
        ["predict", "runs/x", "a.png", "--top", "many"],
    ],
)
def test_a_mistyped_option_is_exit_code_2_too(words: list[str], command) -> None:
    answer = command(*words)
    assert (answer.code, answer.out) == (2, "")
    assert "usage: sightline" in answer.err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["trian", "mnist"], "no command is called 'trian'. Did you mean 'train'? Known: show, "),
        (["train", "mnist", "--epohcs", "3"], "unrecognized arguments: --epohcs 3. Did you mean '--epochs'?"),
        (["show", "mnist", "--ovt=a.png"], "Did you mean '--out'?"),
        (["show", "mnist", "\x1b[31m"], "unrecognized arguments: \\x1b[31m."),
    ],
)
def test_what_was_mistyped_is_told_the_nearest(words: list[str], hint: str, command) -> None:
    answer = command(*words)
    assert (answer.code, answer.out) == (2, "")
    assert hint in answer.err


def run_sightline(*words: str, redirect: str = "", encoding: str = "utf-8", **environment: str):
    line = f"{shlex.join([sys.executable, '-m', 'sightline', *words])} {redirect}"
    return subprocess.run(
        line, shell=True, capture_output=True, encoding=encoding, check=False, env={**os.environ, **environment}
    )


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell redirects")
def test_stdout_that_is_closed_full_or_left_is_one_sentence_at_most() -> None:
    closed = run_sightline("models", redirect=">&-")
    assert (closed.returncode, closed.stderr.count("\n")) == (2, 1)
    assert closed.stderr.startswith("sightline models: standard output is closed.")
    if Path("/dev/full").exists():
        full = run_sightline("models", redirect=">/dev/full")
        assert (full.returncode, full.stderr.count("\n")) == (2, 1)
        assert "could not be written to standard output: No space left on device." in full.stderr
    left = run_sightline("models", "--json", redirect="| head -c1; exit ${PIPESTATUS:-0}")
    assert (left.returncode, left.stderr) == (0, "")
    deaf = run_sightline("models", "--json", redirect="2>&-")
    assert json.loads(deaf.stdout)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_without_a_letter_shows_its_number_and_json_stays_json(encoding: str, tmp_path: Path) -> None:
    names = np.array(["кошка", "猫 é 🐈"])
    images = np.random.default_rng(1).integers(0, 255, (40, 8, 8), np.uint8)
    labels = np.arange(40) % 2
    np.savez(
        tmp_path / "p.npz", x_train=images, y_train=labels, x_test=images[:4], y_test=labels[:4], class_names=names
    )
    words = ["show", str(tmp_path / "p.npz"), "--count", "2", "--out"]
    shown = run_sightline(*words, str(tmp_path / "a.png"), PYTHONIOENCODING=encoding, encoding=encoding)
    assert shown.returncode == 0
    assert "Traceback" not in shown.stderr
    shown = run_sightline(*words, str(tmp_path / "b.png"), "--json", PYTHONIOENCODING=encoding, encoding=encoding)
    assert set(json.loads(shown.stdout)["labels"]) <= set(names.tolist())


def test_what_the_machine_refuses_is_no_bug(command) -> None:
    for words in (["show", "x" * 300], ["predict", "imagenet", "x" * 300], ["evaluate", "x" * 300]):
        answer = command(*words)
        assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)


def test_a_shell_is_told_what_can_be_typed(command, tmp_path: Path) -> None:
    assert "sightline" in command("completion", "bash").out
    answers = tmp_path / "answers"
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(answers), "_ARGCOMPLETE_IFS": "\n"}
    for typed, expected in (
        ("sightline tr", "train"),
        ("sightline train mnist --epo", "--epochs"),
        ("sightline export runs/a o", "onnx"),
    ):
        run_sightline(**asked, COMP_LINE=typed, COMP_POINT=str(len(typed)))
        assert expected in answers.read_text().split()


def test_an_unknown_split_or_number_of_classes_is_refused(command, tiny_run: sightline.Run) -> None:
    answer = command("evaluate", tiny_run.path, "--split", "val")
    assert (answer.code, answer.out) == (2, "")
    assert "split must be train, validation, calibration, test or all; got 'val'." in answer.err
    answer = command("predict", tiny_run.path, "a.png", "--top", "0")
    assert (answer.code, answer.out) == (2, "")
    assert "--top must be a whole number of at least 1; got 0." in answer.err


def test_a_bad_file_is_refused_as_it_was_typed(command, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x_train=np.zeros((3, 8, 8), np.uint8))
    answer = command("train", "mine.npz")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("sightline train: mine.npz: y_train, x_test, y_test missing; found x_train.")
    assert not (tmp_path / "runs").exists()


def test_a_folder_without_images_to_predict_is_refused(command, tiny_run: sightline.Run, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    answer = command("predict", tiny_run.path, "nothing")
    assert (answer.code, answer.out) == (2, "")
    assert "nothing: there is no image in this folder." in answer.err


def test_an_altered_bundle_is_refused(command, run_copy: Path) -> None:
    (run_copy / "bundle" / "labels.json").write_text('["one", "two"]')
    for words in (["predict", run_copy, "a.png"], ["evaluate", run_copy]):
        answer = command(*words)
        assert (answer.code, answer.out) == (2, "")
        assert "labels.json is not the file that was saved" in answer.err


def test_a_bug_keeps_its_traceback_and_is_no_finding(command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("json.dumps", broken)
    answer = command("models", "--json")
    assert (answer.code, answer.out) == (70, "")
    assert "Traceback" in answer.err
    assert "ZeroDivisionError" in answer.err
    assert answer.err.endswith("this is a bug in Sightline. Please report it with the lines above.\n")


def test_an_interruption_is_exit_code_130(command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("json.dumps", interrupted)
    answer = command("models", "--json")
    assert (answer.code, answer.err) == (130, "sightline models: interrupted\n")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_that_ends_a_program_is_its_number_beyond_128_as_a_shell_tells_it(
    command, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    number = getattr(signal, name, None)
    if number is None or signal.getsignal(number) is not signal.SIG_DFL:
        pytest.skip(f"{name} is not there, or ignored, as nohup does it")
    monkeypatch.setattr("json.dumps", lambda *_, **__: signal.raise_signal(number))
    answer = command("models", "--json")
    assert (answer.code, answer.err) == (code, "sightline models: interrupted\n")
    assert signal.getsignal(number) is signal.SIG_DFL


def test_help_waits_for_no_numpy(python) -> None:
    answer = python("import sys, sightline.cli.main; print({'numpy', 'rich', 'PIL'} & set(sys.modules))")
    assert answer.out == "set()\n"
