"""Answers to any number of images in one file: the same bytes whoever does the work and however often it is stopped."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.answers.formats import check_columns
from sightline.deployment.bulk import step as step_module
from sightline.errors import InvalidBundle, InvalidValue, OutputExists


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A hundred and fifty files, of which two are none."""
    folder = tmp_path / "many"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(148):
        Image.fromarray(draw.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / f"{number:03d}.png")
    (folder / "050.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "=cmd.png").write_bytes(b"")
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_row_a_file_in_the_order_of_their_names_and_an_error_for_what_cannot_be_read(make_bundle, many) -> None:
    bundle = make_bundle()
    written = sightline.predict_into(bundle, many, many.parent / "a.csv", probabilities=True, progress=False)
    rows = rows_of(many.parent / "a.csv")
    answers = sightline.predict(bundle, many, progress=False)
    assert [row["path"] for row in rows] == list(answers.row_ids)
    read = [(row, name) for row, name in zip(rows, answers.predicted, strict=True) if not row["error"]]
    assert [row["label"] for row, _ in read] == [name for _, name in read]
    assert all(float(row[f"probability of {name}"]) == float(row["confidence"]) for row, name in read)
    assert (written.num_images, written.num_unreadable) == (149, 2)
    assert sum(written.classes.values()) == 147
    assert "2 could not be read\n149 images, written to" in str(written)


def test_whoever_does_the_work_the_bytes_are_the_same(make_bundle, many, monkeypatch) -> None:
    monkeypatch.setattr("sightline.deployment.predict_into.PART", 64)
    bundle, wanted = make_bundle(), None
    with ThreadPoolExecutor(2) as threads:
        for name, each in (("a.csv", None), ("b.csv", map), ("c.csv", threads.map)):
            sightline.predict_into(bundle, many, many.parent / name, map=each, progress=False)
            wanted = wanted or (many.parent / name).read_bytes()
            assert (many.parent / name).read_bytes() == wanted


@pytest.mark.soak
def test_other_processes_do_the_work(make_bundle, many, monkeypatch) -> None:
    monkeypatch.setattr("sightline.deployment.predict_into.PART", 64)
    bundle = make_bundle()
    sightline.predict_into(bundle, many, many.parent / "a.csv", progress=False)
    with ProcessPoolExecutor(2) as processes:
        sightline.predict_into(bundle, many, many.parent / "b.csv", map=processes.map, progress=False)
    assert (many.parent / "b.csv").read_bytes() == (many.parent / "a.csv").read_bytes()


def stopping_after(parts: int) -> Callable[..., Iterator[object]]:
    def each(work, items):
        for number, item in enumerate(items):
            if number == parts:
                raise KeyboardInterrupt
            yield work(item)

    return each


def test_a_stopped_call_is_gone_on_with_and_nothing_is_answered_twice(make_bundle, many, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sightline.deployment.predict_into.PART", 64)
    bundle, out = make_bundle(), many.parent / "a.jsonl"
    sightline.predict_into(bundle, many, many.parent / "whole.jsonl", progress=False)
    with pytest.raises(KeyboardInterrupt):
        sightline.predict_into(bundle, many, out, map=stopping_after(1))
    assert "the first 64 answers are kept in" in capsys.readouterr().err
    answered: list[str] = []
    call = step_module.AnswerStep.__call__
    monkeypatch.setattr(
        step_module.AnswerStep, "__call__", lambda self, piece: (answered.extend(piece.names), call(self, piece))[1]
    )
    written = sightline.predict_into(bundle, many, out, map=map)
    assert "going on behind the 64 answers" in capsys.readouterr().err
    assert len(answered) == 149 - 64
    assert (written.num_before, written.num_unreadable, sum(written.classes.values())) == (64, 2, 147)
    assert out.read_bytes() == (many.parent / "whole.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda many: (many / "003.png").write_bytes(b"other"), r"of 1 file that changed since, such as .*003\.png"),
        (lambda many: (many / "003.png").unlink(), "of other images, or in another order"),
        (lambda many: (many / "000a.png").write_bytes(b"x"), "of other images, or in another order"),
    ],
)
def test_what_changed_meanwhile_is_told_and_answered_anew_on_request(
    make_bundle, many, monkeypatch, change, message
) -> None:
    monkeypatch.setattr("sightline.deployment.predict_into.PART", 64)
    bundle, out = make_bundle(), many.parent / "a.csv"
    with pytest.raises(KeyboardInterrupt):
        sightline.predict_into(bundle, many, out, map=stopping_after(1), progress=False)
    change(many)
    with pytest.raises(OutputExists, match=message):
        sightline.predict_into(bundle, many, out, progress=False)
    with pytest.raises(OutputExists, match="top was 3 and is 2"):
        sightline.predict_into(bundle, many, out, top=2, progress=False)
    written = sightline.predict_into(bundle, many, out, overwrite=True, progress=False)
    assert written.num_before == 0
    assert len(rows_of(out)) == written.num_images


def test_another_bundle_in_its_place_is_noticed(make_bundle, many) -> None:
    step_module._opened.cache_clear()
    path = make_bundle()
    step = step_module.AnswerStep(path, "0" * 64, step_module.Asked())
    with pytest.raises(InvalidBundle, match="another bundle lies there now"):
        step(step_module.Piece([str(many / "000.png")]))


def test_what_cannot_be_written_is_refused_before_anything_is_read(make_bundle, many, tmp_path) -> None:
    bundle = make_bundle()
    for out, message in (("a.txt", "ends in .csv, .jsonl or .parquet"), (many / "a.csv", "which is never changed")):
        with pytest.raises(InvalidValue, match=message):
            sightline.predict_into(bundle, many, out if isinstance(out, Path) else tmp_path / out)
    with pytest.raises(InvalidValue, match="tells no features"):
        sightline.predict_into(bundle, many, tmp_path / "a.jsonl", features=True)
    with pytest.raises(InvalidValue, match="top must be"):
        sightline.predict_into(bundle, many, tmp_path / "a.jsonl", top=0)


def test_the_command_tells_many_answers_in_numbers_and_few_one_by_one(make_bundle, many, command) -> None:
    bundle = make_bundle()
    answer = command("predict", bundle, many, "--out", "a.jsonl", "--top", 1)
    assert answer.code == 1
    assert "2 could not be read\n149 images, written to a.jsonl\n" in answer.out
    lines = (many.parent / "a.jsonl").read_text().splitlines()
    assert len(lines) == 149
    assert json.loads(lines[50])["path"] == str(many / "050.png")
    few = command("predict", bundle, many / "000.png", "--out", "b.csv", "--top", 1)
    assert few.code == 0
    assert few.out.startswith(f"{many / '000.png'}: ")
    assert "1 image; written to b.csv" in few.err
    both = command("predict", bundle, many, "--out", "c.csv", "--csv", "d.csv")
    assert both.code == 2
    assert "--csv FILE is --out FILE for a CSV" in both.err
    with pytest.raises(InvalidValue, match="too many numbers for a CSV"):
        check_columns("csv", features=True)


@pytest.mark.parametrize(
    ("each", "message"),
    [
        (lambda work, items: [work(item) for item in items][:-1], "map gave 128 answers to 149 images"),
        (lambda work, items: [work(item) for item in items][::-1], "to other images than those behind the first 0"),
    ],
)
def test_a_map_that_loses_or_turns_results_is_noticed(make_bundle, many, monkeypatch, each, message) -> None:
    monkeypatch.setattr("sightline.deployment.predict_into.PART", 64)
    with pytest.raises(InvalidValue, match=message):
        sightline.predict_into(make_bundle(), many, many.parent / "a.csv", map=each, progress=False)
    assert not (many.parent / "a.csv").exists()


def test_a_file_that_changes_while_others_are_read_is_noticed_by_the_next_call(make_bundle, many, monkeypatch) -> None:
    monkeypatch.setattr("sightline.deployment.predict_into.PART", 64)
    bundle, out = make_bundle(), many.parent / "a.csv"

    def each(work, items):
        found = work(next(iter(items)))
        (many / "003.png").write_bytes(b"other")  # it was answered, and is not written yet
        yield found
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sightline.predict_into(bundle, many, out, map=each, progress=False)
    with pytest.raises(OutputExists, match=r"changed since, such as .*003\.png"):
        sightline.predict_into(bundle, many, out, progress=False)


def test_a_file_that_vanishes_is_a_row_with_an_error(make_bundle, many) -> None:
    def each(work, items):
        parts = list(items)
        (many / "003.png").unlink()
        return map(work, parts)

    written = sightline.predict_into(make_bundle(), many, many.parent / "a.csv", map=each, progress=False)
    assert written.num_unreadable == 3
    assert "no such file" in rows_of(many.parent / "a.csv")[3]["error"]


def test_a_stopped_call_that_may_overwrite_is_gone_on_with_too(make_bundle, many, monkeypatch) -> None:
    monkeypatch.setattr("sightline.deployment.predict_into.PART", 64)
    bundle, out = make_bundle(), many.parent / "a.csv"
    out.write_text("older")
    with pytest.raises(KeyboardInterrupt):
        sightline.predict_into(bundle, many, out, map=stopping_after(1), overwrite=True, progress=False)
    assert out.read_text() == "older"
    assert sightline.predict_into(bundle, many, out, overwrite=True, progress=False).num_before == 64
    assert len(rows_of(out)) == 149


def num_noted(note: Path) -> int:
    try:
        return note.read_bytes().count(b'{"rows"')
    except OSError:
        return 0


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_a_command_killed_behind_answers_ends_with_the_bytes_of_one_that_was_not(make_bundle, many, kills: int) -> None:
    bundle, images, draw, whole = make_bundle(), many.parent / "list.csv", random.Random(kills), many.parent / "w.jsonl"
    names = sorted(path.name for path in many.iterdir())
    images.write_text("path\n" + "".join(f"many/{name}\n" for name in names * 10))
    out, note = many.parent / "a.jsonl", many.parent / "a.jsonl.partial.jsonl"
    words = [sys.executable, "-m", "sightline", "predict", str(bundle), str(images), "--quiet", "--out"]
    assert subprocess.run([*words, str(whole)], check=False, capture_output=True).returncode == 1
    for _ in range(kills):
        before = num_noted(note)
        process = subprocess.Popen([*words, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and num_noted(note) <= before:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if out.exists():  # it was done before it was killed, and is begun anew
            assert out.read_bytes() == whole.read_bytes()
            out.unlink()
    assert num_noted(note) or kills > 2
    done = subprocess.run([*words, str(out)], check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert out.read_bytes() == whole.read_bytes()
    assert not [path for path in images.parent.iterdir() if ".partial" in path.name]
