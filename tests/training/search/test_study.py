"""Optuna suggests the same after a kill, gives up what others beat, and says what mattered where something does."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

import sightline
from sightline.errors import InvalidValue, MissingPackage
from sightline.training.search.space import point_of, stated_space

pytest.importorskip("optuna")
from sightline.training.search.study import FEWEST_FOR_IMPORTANCES, Race, SearchStudy, check_optuna

BASE = sightline.recipe("fast")
SPACE = stated_space(BASE, None, ["optimizer.learning_rate=1e-4..1e-1:log", "model.dropout=0..0.5"])


def worth(values: dict[str, Any]) -> float:
    return abs(math.log(values["optimizer.learning_rate"] / 0.003))


def go_on(folder: Path, last: int, *, sampler: str = "tpe", is_killed: bool = False) -> dict[int, dict[str, Any]]:
    """Run the trials up to a number; with `is_killed`, that one is asked for and nothing is told of it."""
    study = SearchStudy(folder, SPACE, sampler=sampler, seed=3)
    tried: dict[int, dict[str, Any]] = {}
    while True:
        running = study.running()
        if running:
            number, values = running[0], study.asked(running[0])
        else:
            number, values = study.ask(point=point_of(BASE, SPACE), is_first=not study.told())
        tried[number] = values
        if number == last and is_killed:
            return tried
        if number % 4 == 3:
            study.tell(number, value=None, course=[0.5, 0.4], is_pruned=True)
        else:
            study.tell(number, value=worth(values), course=[0.5, 0.4, 0.3])
        if number == last:
            return tried


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_that_was_killed_suggests_what_it_would_have_suggested(sampler: str, tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = go_on(tmp_path / "whole", 14, sampler=sampler)
    assert whole[0] == point_of(BASE, SPACE)
    before = go_on(tmp_path / "killed", 11, sampler=sampler, is_killed=True)
    # As a kill in the middle of a write, and in the middle of a lock, leaves it.
    with (tmp_path / "killed" / "journal.log").open("ab") as stream:
        stream.write(b'{"op_code": 5, "wor')
    (tmp_path / "killed" / "journal.log.lock").symlink_to("journal.log")
    after = go_on(tmp_path / "killed", 14, sampler=sampler)
    assert sorted(after) == [11, 12, 13, 14], "what was told of is not asked for again"
    assert before | after == whole


@pytest.mark.parametrize("last", [1, 12])
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_trial_that_was_asked_for_by_half_tries_what_it_would_have_tried(
    last: int, sampler: str, tmp_path: Path
) -> None:
    """By chance alone, as trial 1 is, or by the model of the trials before, as trial 12."""
    whole = go_on(tmp_path, last, sampler=sampler, is_killed=True)[last]
    lines = (tmp_path / "journal.log").read_bytes().splitlines(keepends=True)
    # Back to each moment since it was asked for: nothing of it is known, then one key.
    begun = max(place for place, line in enumerate(lines) if b'"op_code":4' in line)
    for end in range(begun + 1, len(lines) + 1):
        (tmp_path / "journal.log").write_bytes(b"".join(lines[:end]))
        study = SearchStudy(tmp_path, SPACE, sampler=sampler, seed=3)
        assert study.running() == [last]
        assert study.asked(last) == whole, f"{end - begun - 1} lines behind its beginning"


def test_the_journal_is_found_by_a_relative_path_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    go_on(Path("here"), 1)
    target = os.path.join("here", "journal.log")  # noqa: PTH118  # as Optuna itself would lock it
    os.symlink(target, "here/journal.log.lock")  # noqa: PTH211
    assert list(go_on(Path("here"), 2)) == [2]


def test_a_journal_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.log").write_text("no journal\nat all\n")
    with pytest.raises(InvalidValue, match=r"journal\.log: cannot be read as the journal of a search"):
        SearchStudy(tmp_path, SPACE, sampler="tpe", seed=0)


def test_without_optuna_it_is_said_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"Run: pip install 'sightline\[search\]'"):
        check_optuna()


def raced(pruner: str, courses: list[list[float]]) -> list[int]:
    """After how many epochs of eight each trial was given up, 8 for none; the first learns to its end."""
    told: list[dict[str, Any]] = []
    ends = []
    for number, course in enumerate(courses):
        race = Race(pruner, epochs=8, number=number, earlier=told)
        end = 8
        for step, error in enumerate(course, start=1):
            if race.is_lost(step, error) and number and step < 8:
                end = step
                break
        ends.append(end)
        told.append({"number": number, "course": course[:end], "rungs": race.rungs()})
    return ends


def test_the_worse_half_is_given_up_after_a_quarter_and_after_half_of_the_epochs() -> None:
    good, bad = [0.3] * 8, [0.5] * 8
    late = [0.2] * 3 + [0.6] * 5
    assert raced("halving", [good, bad, late, good, bad]) == [8, 2, 4, 8, 2]
    assert raced("none", [good, bad, late]) == [8, 8, 8]
    assert min(raced("hyperband", [good, *[bad] * 6])) < 8


def test_importances_name_the_key_that_decides_with_an_interval_and_nothing_of_few_trials(tmp_path: Path) -> None:
    go_on(tmp_path, 29, sampler="random")
    study = SearchStudy(tmp_path, SPACE, sampler="random", seed=3)
    values = {number: worth(study.asked(number)) for number in study.told()}
    found = study.importances(values)
    share, lower, upper = found["optimizer.learning_rate"]
    assert list(found) == ["optimizer.learning_rate", "model.dropout"]
    assert 0.6 < share <= 1
    assert 0 <= lower <= upper <= 1
    few = dict(list(values.items())[: FEWEST_FOR_IMPORTANCES - 1])
    assert study.importances(few) == {}
