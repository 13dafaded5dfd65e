"""Folders of runs that somebody sent: refused in a sentence, with nothing run, and nothing written outside of them."""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sightline
from sightline.errors import InvalidBundle, OutputExists
from sightline.training.setup.preparation import Prepared, prepare
from sightline.training.setup.run_folder import run_folder
from sightline.training.setup.unfinished import OPTIONS

NO_LINKS = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes need rights there")


def snapshot(place: Path) -> dict[str, bytes]:
    """Everything below a folder, links as what they say."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_symlink():
            found[name] = b"-> " + os.fsencode(path.readlink())
        else:
            found[name] = path.read_bytes() if path.is_file() else b"no file"
    return found


def refused(answer: Any) -> str:
    """What a command said that refused, on one line that a terminal can show."""
    assert answer.code == 2, answer.err
    assert answer.err.count("\n") == 1, answer.err
    assert answer.err.rstrip("\n").isprintable(), answer.err
    return str(answer.err)


def recipe_with(**keys: Any) -> Callable[[Any], Any]:
    return lambda kept: kept["recipe"].update(keys)


def options(verb: str = "train", **given: Any) -> Callable[[Any], Any]:
    return lambda kept: kept.update(verb=verb, options=given)


def instead(text: str) -> Callable[[Any], Any]:
    return lambda _: text


# What is done to a request that `resume` reads, or written in its place.
REQUESTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no object": (instead("[1]"), "cannot be read"),
    "nothing": (instead("null"), "cannot be read"),
    "deep": (instead("[" * 100_000), "nested more than 32 deep"),
    "a number without end": (instead('{"source": 1e999}'), "no finite number"),
    "a key twice": (instead('{"source": "a", "source": "b"}'), "given twice"),
    "a terminal code": (instead('{"source": "a", "\\u001b[31m": 1, "\\u001b[31m": 2}'), r"x1b\[31m.* is given twice"),
    "no verb": (lambda kept: kept.pop("verb"), "cannot be read"),
    "another verb": (lambda kept: kept.update(verb="__import__"), "cannot be read"),
    "a list for a verb": (lambda kept: kept.update(verb=["train"]), "cannot be read"),
    "an option more": (options(out="/etc", jobs=1), "train has no option 'out'"),
    "an option of Python": (options(recipe={}, jobs=1), "train has no option 'recipe'"),
    "options as a list": (lambda kept: kept.update(options=["jobs"]), "cannot be read"),
    "jobs that are true": (options(jobs=True), "jobs is True"),
    "jobs as text": (options(jobs="2"), "jobs is '2'"),
    "a million jobs": (options(jobs=10**6), "jobs=1000000"),
    "half a step": (options(log_every=1.5), "log_every is 1.5"),
    "a backend that is a number": (options(backend=3), "backend is 3"),
    "a backend that there is not": (options(backend="os"), "backend"),
    "an interval that is a number": (options(checkpoint_every=5), "checkpoint_every is 5"),
    "an interval of years": (options(checkpoint_every="5 years"), "checkpoint_every takes a whole number"),
    "logs elsewhere": (options(tensorboard="/tmp/elsewhere"), "logs for TensorBoard into /tmp/elsewhere"),  # never made
    "logs above": (options(tensorboard="../above"), r"logs for TensorBoard into \.\./above"),
    "logs with a zero": (options(tensorboard="a\0b"), "names nothing"),
    "tracked elsewhere": (options(track="mlflow:/tmp/elsewhere"), "is tracked by mlflow:/tmp/elsewhere"),  # never made
    "tracked by a number": (options(track=5), "track is 5"),
    "tracked with a zero": (options(track="mlflow:a\0b"), "names nothing"),
    "a student without its teacher": (options("distil", into="mlp"), "distil lacks the option 'bundle'"),
    "a teacher that is nowhere": (options("distil", into="mlp", bundle="/nowhere"), "/nowhere"),
    "a teacher with a zero": (options("distil", into="mlp", bundle="a\0b"), "names nothing"),
    "a run that is nowhere": (options("extend", epochs=1, run="../nowhere"), r"\.\./nowhere"),
    "true epochs more": (options("extend", epochs=True, run="run"), "epochs is True"),
    "no epochs more": (options("extend", epochs=0, run="run"), "epochs must be a whole number of at least 1"),
    "a recipe that is a list": (lambda kept: kept.update(recipe=[]), "cannot be read"),
    "a recipe with a key more": (recipe_with(own=1), "own"),
    "a recipe with text for a number": (recipe_with(seed="0"), "seed"),
    "a recipe with weights that are nowhere": (
        recipe_with(model={"name": "mobilenet-v2", "weights": "/nowhere.h5"}),
        "/nowhere.h5",
    ),
    "a source that is a number": (lambda kept: kept.update(source=5), "cannot be read"),
    "a source with a zero": (lambda kept: kept.update(source="a\0b"), "names nothing"),
    "an empty source": (lambda kept: kept.update(source=""), "names nothing"),
    "a source of a mile": (lambda kept: kept.update(source="a" * 10**5), "too long"),
    "a source that is nowhere": (lambda kept: kept.update(source="/nowhere/at/all"), "/nowhere/at/all"),
    "a folder that is a number": (lambda kept: kept.update(folder=5), "cannot be read"),
}

INSTEAD = ("no object", "nothing", "deep", "a number without end", "a key twice", "a terminal code")


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A folder like that of a run of `train` that was interrupted, before it was divided."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "recipe.json").write_text("{}")
    return folder


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_nobody_asked_for_is_refused_and_nothing_is_made(
    name: str, unfinished: Path, tmp_path: Path, command
) -> None:
    change, words = REQUESTS[name]
    recipe = sightline.recipe("fast").to_dict()
    kept: Any = {"source": "mnist", "folder": str(tmp_path), "verb": "train", "recipe": recipe, "options": {"jobs": 1}}
    changed = change(kept)
    text = changed if name in INSTEAD else json.dumps(kept)
    (unfinished / "checkpoints" / "request.json").write_text(text)
    before = snapshot(tmp_path)
    message = refused(command("resume", unfinished, "--quiet"))
    assert re.search(words, message), message
    assert len(message) < 3_000
    assert snapshot(tmp_path) == before


def test_what_a_request_may_hold_are_options_of_its_verb() -> None:
    for verb, known in OPTIONS.items():
        taken = inspect.signature(getattr(sightline, verb)).parameters
        assert known.keys() <= taken.keys()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """What lies outside of a run: files, and folders that are called as checkpoints and as half of one."""
    place = tmp_path / "elsewhere"
    for name in ("000001", "000002", "000003", ".000004.12345678.partial"):
        (place / name).mkdir(parents=True)
        (place / name / "mine").write_text("mine")
    (place / "mine").write_text("mine")
    return place


@pytest.fixture(scope="module")
def data(small_npz: Path) -> Prepared:
    return prepare(small_npz, sightline.recipe("fast"))


def link_to(target: str) -> Callable[[Path, Path], None]:
    def make(place: Path, elsewhere: Path) -> None:
        if place.is_dir():
            place.rename(place.with_name("moved"))
        place.unlink(missing_ok=True)
        place.symlink_to(elsewhere / target)

    return make


def make_pipe(place: Path, _: Path) -> None:
    place.unlink()
    os.mkfifo(place)


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "checkpoints": link_to(""),
    "bundle": link_to(""),
    "history.jsonl": link_to("mine"),
    "metrics.jsonl": link_to("../elsewhere/mine"),
    "recipe.json": link_to("mine"),
    "checkpoints/000001": link_to("000001"),
    "checkpoints/plan.json": link_to("not there yet"),
    "checkpoints/lock": make_pipe,
}


@NO_LINKS
@pytest.mark.parametrize("name", LINKS)
def test_an_unfinished_run_with_a_way_out_of_it_is_not_gone_on_with(
    name: str, data: Prepared, elsewhere: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with run_folder(run, data):
        pass
    LINKS[name](run / name, elsewhere)
    before = snapshot(elsewhere)
    assert sightline.runs(run)[0]["state"] != "running", "nobody waits for a pipe"
    with (
        pytest.raises(OutputExists, match=r"a link that leads out of it|a pipe, socket or device"),
        run_folder(run, data),
    ):
        pass
    assert snapshot(elsewhere) == before


@NO_LINKS
def test_pages_and_signatures_are_not_written_through_a_link(
    run_copy: Path, elsewhere: Path, tmp_path: Path, command
) -> None:
    (run_copy / "report.html").unlink()
    (run_copy / "report.html").symlink_to(elsewhere / "mine")
    (run_copy / "bundle" / "signature.json").symlink_to(elsewhere / "mine")
    before = snapshot(elsewhere)
    assert "report.html is a link" in refused(command("report", run_copy, "--quiet"))
    with pytest.raises(InvalidBundle, match=r"signature\.json: a link, and it would be written"):
        sightline.sign(run_copy, tmp_path / "no-key")
    assert snapshot(elsewhere) == before


def changed_json(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return write


def written(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text) and None


def pickled(path: Path) -> None:
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"class_names": np.array([{"a": 1}], dtype=object)})


# File and what is done to it: whoever reads a finished run refuses it.
FINISHED: dict[str, tuple[str, Callable[[Path], None]]] = {
    "figures that are a list": ("metrics.json", written("[]")),
    "figures a mile deep": ("metrics.json", written('{"a":' * 10**5)),
    "figures of text": ("metrics.json", changed_json(lambda told: told["test"].update(accuracy="1"))),
    "figures without end": ("metrics.json", written('{"test": 1e999}')),
    "an ensemble that is text": ("metrics.json", changed_json(lambda told: told.update(ensemble="deep"))),
    "an epoch that there is not": ("metrics.json", changed_json(lambda told: told.update(chosen_epoch=99))),
    "seconds as a list": ("metrics.json", changed_json(lambda told: told.update(seconds=[1]))),
    "a history of text": ("history.jsonl", written('{"epoch": 1, "loss": "0", "accuracy": 0}\n')),
    "a history of lists": ("history.jsonl", written("[[1]]\n")),
    "a split that there is not": ("splits.csv", written("row_id,split\na,../test\n")),
    "answers that are a pickle": ("predictions.npz", pickled),
    "a recipe that is a list": ("recipe.json", written("[]")),
}


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_that_is_not_what_was_saved_is_refused_by_what_reads_one(
    name: str, run_copy: Path, tmp_path: Path, command
) -> None:
    file, change = FINISHED[name]
    change(run_copy / file)
    before = snapshot(tmp_path)
    for words in (("report",), ("extend", "--epochs", "1")):
        message = refused(command(words[0], run_copy, *words[1:], "--quiet"))
        assert "not what was saved" in message, message
    (row,) = sightline.runs(run_copy)
    assert row["state"] in ("finished", "unknown", "failed")
    assert snapshot(tmp_path) == before
