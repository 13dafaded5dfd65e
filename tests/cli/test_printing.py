"""Rows of JSON, tables on terminals and in pipes, and an ensemble in a few lines."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

from sightline.cli.printing import ensemble_lines, print_evaluation, print_json, print_table
from sightline.evaluation.measuring.scoring import score
from sightline.records import Evaluation, Predictions


def _member(vote: float, accuracy: float | None) -> dict:
    return {"vote": vote, "test": None if accuracy is None else {"accuracy": accuracy}}


def test_members_are_counted_and_their_mean_told() -> None:
    members = [_member(1.0, 0.9), _member(1.0, 0.8)]
    assert ensemble_lines({"kind": "deep", "members": members, "disagreement": None, "out_of_bag": None}) == [
        "ensemble   deep of 2 members, each alone 0.8500 on test (from 0.8000 to 0.9000)"
    ]


def test_who_is_not_in_a_soup_is_told() -> None:
    members = [_member(1.0, None), _member(0.0, None), _member(1.0, None)]
    assert ensemble_lines({"kind": "greedy-soup", "members": members, "disagreement": None, "out_of_bag": None}) == [
        "ensemble   greedy-soup of 2 of 3 members"
    ]


def test_figures_out_of_the_bag_have_their_interval() -> None:
    bag = {"accuracy": 0.75, "accuracy_interval": [0.7, 0.8], "num_images": 1200}
    told = {"kind": "bagging", "members": [_member(1.0, None)] * 2, "disagreement": None, "out_of_bag": bag}
    lines = ensemble_lines(told)
    assert lines[1] == (
        "out of bag accuracy 0.7500 [0.7000, 0.8000] on 1,200 train images, each judged by members that did not see it"
    )


def test_how_far_members_disagree_is_told_of_test_images_and_else_of_validation_images() -> None:
    told = {"kind": "deep", "members": [_member(1.0, None)] * 2, "out_of_bag": None}
    assert ensemble_lines(told | {"disagreement": {"validation": 0.25, "test": 0.0125}})[1] == (
        "           on test images, on average 1.25% of the members name another class than all together"
    )
    bounds = {"disagreement": {"test": 0.0125}, "disagreement_interval": {"test": [0.01, 0.02]}}
    assert "on average 1.25% [1.00%, 2.00%] of the members" in ensemble_lines(told | bounds)[1]
    assert ensemble_lines(told | {"disagreement": {"validation": 0.25}})[1] == (
        "           on validation images, on average 25.00% of the members name another class than all together"
    )


def test_members_that_never_disagree_are_told_to_be_of_no_use() -> None:
    told = {"kind": "deep", "members": [_member(1.0, None)] * 2, "out_of_bag": None}
    assert ensemble_lines(told | {"disagreement": {"test": 0.0}})[1] == (
        "           on test images, all members name the same class, and one alone would answer as well at less cost"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_number_that_json_has_not_is_null_on_any_terminal(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    print_json({"name": "\u00e9", "values": [float("nan"), 1.5, {"far": float("-inf")}]})
    out.seek(0)
    assert json.loads(out.read()) == {"name": "\u00e9", "values": [None, 1.5, {"far": None}]}


LONG = "a" * 150 + "!" + "z" * 49


def of_long_names() -> Evaluation:
    labels = np.arange(40) % 2
    logits = np.tile(np.array([1, 0], np.float32), (40, 1))
    return score(Predictions.of([*map(str, range(40))], logits, class_names=(LONG, "\x1b[31m dog"), labels=labels))


def test_a_long_name_of_a_class_spoils_no_table_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    print_evaluation(of_long_names())
    out = capsys.readouterr().out
    # No figure is broken, no line is longer than the terminal, and beginning and end of the name are there.
    table = out[out.index("precision %") : out.index("taken for")].splitlines()
    assert max(map(len, table[1:])) <= 80
    assert "50.0 [35.2, 64.8]" in out
    assert LONG not in out
    assert "zzz" in out
    assert f"taken for {'a' * 20}…{'z' * 9}: 20" in out
    assert "\x1b[31m dog" not in out


def test_in_a_pipe_names_and_rows_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_evaluation(of_long_names())
    out = capsys.readouterr().out
    (row,) = (line for line in out.splitlines() if line.startswith(f" {LONG}"))
    assert row.split()[1] == "20"
    print_table([{"class": LONG * 5, "how": "few words " * 100}], ("class", "how"))
    assert len(capsys.readouterr().out.splitlines()) == 2
