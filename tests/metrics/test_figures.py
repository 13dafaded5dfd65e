"""The table of figures: what each entry promises, and that one entry is all that a new metric takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import sightline
from sightline.bundles.card import card, trained
from sightline.cli.printing import print_evaluation, print_run
from sightline.configuration.recipes import parse_recipe
from sightline.evaluation.comparison import ComparedRun, Comparison
from sightline.evaluation.scoring import figures, run_figures, score
from sightline.metrics.figures import FIGURES, Metric, figure_in, plain
from sightline.records import Bundle, Evaluation, Figure, InputSpec, Predictions, Run, Splits

NAMES = ("cat", "dog", "elk")
NO_ROWS = np.empty(0, np.int64)


def rows_of(logits: list[list[float]], labels: list[int]) -> Predictions:
    row_ids = [str(row) for row in range(len(labels))]
    return Predictions.of(row_ids, np.array(logits, np.float32), class_names=NAMES, labels=np.array(labels))


# Right, right, right in the second place, and wrong altogether.
ROWS = rows_of([[3, 0, 1], [0, 3, 1], [0, 2, 3], [3, 2, 0]], [0, 1, 1, 2])


def run_with(evaluation: Evaluation) -> Run:
    splits = Splits(NO_ROWS, NO_ROWS, NO_ROWS, NO_ROWS, "")
    bundle = Bundle(Path("run/bundle"), NAMES, InputSpec(28, 28, "grey"), 1.0, 0, {}, {})
    return Run(Path("run"), {}, splits, (), 1, False, None, evaluation, bundle, "tensorflow", 9, {"total": 1.0})


def in_all_places(evaluation: Evaluation, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What a user sees of an evaluation, by place."""
    dataset, spec, run = sightline.load("mnist"), InputSpec(28, 28, "grey"), run_with(evaluation)
    origin = trained(dataset, parse_recipe({"model.name": "lenet5"}), num_train=9)
    told = {"card": card(dataset, spec, origin, evaluation=evaluation, ensemble=None)}
    capsys.readouterr()
    print_run(run)
    told["train"] = capsys.readouterr().out
    print_evaluation(evaluation)
    told["evaluate"] = capsys.readouterr().out
    compared = [ComparedRun(letter, Path(letter), json.loads(json.dumps(run_figures(run)))) for letter in "AB"]
    told["compare"] = str(Comparison("test", tuple(compared), {}, (), (), b"", None))
    told["notebook"] = evaluation._repr_html_()
    return told


def top_2(rows: Predictions) -> float:
    second = np.sort(rows.logits, axis=1)[:, -2]
    return float((rows.logits[np.arange(len(rows)), np.asarray(rows.labels)] >= second).mean())


def test_a_new_metric_is_one_entry_and_appears_everywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metric = Metric("top-2 accuracy", top_2, is_higher_better=True, digits=3)
    assert not any("top-2" in text for text in in_all_places(score(ROWS), capsys).values())
    monkeypatch.setitem(FIGURES, "top_2_accuracy", metric)
    told = in_all_places(score(ROWS), capsys)
    assert "expected calibration error" in told["card"]
    assert all("top-2 accuracy 0.750" in told[place] for place in ("card", "train", "notebook")), told
    assert re.search("^top-2 accuracy +0.750$", told["evaluate"], re.MULTILINE)
    table = [line for line in told["compare"].split("\n\n") if "test top-2 accuracy" in line]
    assert table[0].count(" 0.750") == 2
    assert all(len(line) <= 80 for line in told["compare"].splitlines())
    assert figures(score(ROWS))["top_2_accuracy"] == 0.75


def test_the_interval_of_a_new_metric_is_told_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metric = Metric(
        "top-2 accuracy",
        top_2,
        is_higher_better=True,
        interval=lambda rows, level: (0.5, 0.9),
        interval_method="guessed",
    )
    monkeypatch.setitem(FIGURES, "top_2_accuracy", metric)
    told = in_all_places(score(ROWS), capsys)
    assert "top-2 accuracy 0.7500, 95 % interval 0.5000 to 0.9000 (guessed)" in told["card"]
    assert all("0.7500 [0.5000, 0.9000]" in told[place] for place in ("train", "evaluate", "notebook", "compare"))
    assert figures(score(ROWS))["top_2_accuracy_interval"] == [0.5, 0.9]


def test_a_figure_is_passed_over_where_its_entry_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    told = in_all_places(score(ROWS), capsys)
    assert [place for place in told if "macro F1" in told[place]] == ["train", "evaluate", "notebook"]
    assert [place for place in told if "cross-entropy" in told[place]] == ["card", "evaluate", "compare", "notebook"]


# Those of sets have tests of their own.
ALWAYS = [name for name in FIGURES if FIGURES[name].is_known(ROWS)]


@pytest.mark.parametrize("name", ALWAYS)
def test_each_figure_is_better_for_what_is_right_in_the_direction_that_it_names(name: str) -> None:
    right = FIGURES[name].measure(rows_of([[9, 0, 0], [0, 9, 0], [0, 0, 9]], [0, 1, 2]))
    wrong = FIGURES[name].measure(rows_of([[9, 0, 0], [0, 9, 0], [0, 0, 9]], [1, 2, 0]))
    assert right.value != wrong.value
    assert (right.value > wrong.value) == FIGURES[name].is_higher_better
    assert right.interval is None or right.interval[0] <= right.value <= right.interval[1]


@pytest.mark.parametrize("name", ALWAYS)
def test_each_figure_has_an_attribute_of_its_name(name: str) -> None:
    evaluation = score(ROWS)
    assert getattr(evaluation, name) == evaluation.figures[name].value


def test_figures_come_back_from_plain_values() -> None:
    measured = score(ROWS).figures
    told = json.loads(json.dumps(plain(measured)))
    assert {name: figure_in(told, name) for name in ALWAYS} == measured
    assert figure_in({}, "accuracy") is None
    assert figure_in({"accuracy": None}, "accuracy") is None


def test_a_figure_without_a_value_is_a_dash() -> None:
    assert str(Figure("AUC", np.nan, (np.nan, np.nan))) == "AUC - [-, -]"
