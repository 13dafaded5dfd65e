"""Rows of JSON, and an ensemble in a few lines."""

from __future__ import annotations

import io
import json
import sys

import pytest

from sightline.cli.printing import ensemble_lines, print_json


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
