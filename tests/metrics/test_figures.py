"""The table of figures: what each entry promises, and that one entry is all that a new metric takes."""

from __future__ import annotations

import dataclasses
import gc
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import sightline
from sightline.bundles.card import card, trained
from sightline.cli.printing import print_evaluation, print_run
from sightline.configuration.recipes import parse_recipe
from sightline.evaluation.comparison import ComparedRun, Comparison
from sightline.evaluation.measuring.scoring import brief_figures, figures, run_figures, score
from sightline.metrics.answers import decisions as module
from sightline.metrics.figures import FIGURES, Metric, figure_in, plain
from sightline.metrics.intervals import wilson_interval
from sightline.metrics.uncertainty.ranking import Ranking
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


def many_rows(num_images: int = 400, num_classes: int = 3, groups: NDArray[np.str_] | None = None) -> Predictions:
    """Answers of a network that is right on about nine of ten images, and too sure of itself."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, num_classes, num_images)
    logits = generator.normal(0, 2, (num_images, num_classes))
    logits[np.arange(num_images), labels] += 5
    return Predictions.of(
        [str(row) for row in range(num_images)],
        logits.astype(np.float32),
        class_names=NAMES[:num_classes],
        labels=labels,
        groups=groups,
        temperature=1.3,
    )


def test_every_figure_has_an_interval() -> None:
    assert [name for name, metric in FIGURES.items() if metric.interval is None or not metric.interval_method] == []


def test_an_area_and_its_interval_are_of_one_ranking_which_goes_with_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Ranking] = []

    def counted(classes: Any) -> Ranking:
        made.append(Ranking(classes))
        return made[-1]

    monkeypatch.setattr(module, "Ranking", counted)
    first, second = many_rows(), many_rows(num_images=300)
    found = [FIGURES["auroc"].measure(rows) for rows in (first, second, first)]
    assert len(made) == 2
    assert found[0] == found[2] != found[1]
    rest = len(module._RANKINGS)
    del first
    gc.collect()
    assert len(module._RANKINGS) == rest - 1


@pytest.mark.parametrize("name", ALWAYS)
def test_an_interval_holds_its_figure_and_grows_with_its_level(name: str) -> None:
    rows = many_rows()
    bounds = []
    for level in (0.5, 0.8, 0.95, 0.99):
        figure = FIGURES[name].measure(rows, level)
        assert figure.interval is not None
        assert figure.interval[0] <= figure.value <= figure.interval[1]
        bounds.append(figure.interval)
    lowers, uppers = zip(*bounds, strict=True)
    assert sorted(lowers, reverse=True) == list(lowers)
    assert sorted(uppers) == list(uppers)
    assert bounds[0] != bounds[-1]


@pytest.mark.parametrize("name", ALWAYS)
def test_an_interval_counts_groups(name: str) -> None:
    rows = many_rows()
    tenfold = rows.take(np.repeat(np.arange(len(rows)), 10))
    grouped = dataclasses.replace(tenfold, groups=np.repeat(np.arange(len(rows)), 10).astype(str))
    (lower, upper), alone, ignored = (FIGURES[name].measure(part).interval for part in (grouped, rows, tenfold))
    assert upper - lower == pytest.approx(alone[1] - alone[0], rel=0.35)
    assert upper - lower > 2 * (ignored[1] - ignored[0])


def test_the_brier_score_and_the_area_of_two_and_of_more_classes_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    for num_classes in (2, 3):
        rows = many_rows(num_classes=num_classes)
        probabilities, measured = rows.task.probabilities(rows.logits, temperature=1.3), score(rows).figures
        brier = metrics.brier_score_loss(rows.labels, probabilities[:, 1] if num_classes == 2 else probabilities)
        assert measured["brier_score"].value == pytest.approx(brier, rel=1e-12)
        surest = probabilities[:, 1] if num_classes == 2 else probabilities
        area = metrics.roc_auc_score(rows.labels, surest, multi_class="ovr")
        assert measured["auroc"].value == pytest.approx(area, rel=1e-12)


def test_where_nothing_is_known_there_is_no_interval() -> None:
    measured = score(ROWS.take(np.array([0]))).figures
    assert measured["cross_entropy"].interval is None
    assert np.isnan(measured["auroc"].value)
    assert measured["auroc"].interval is None
    json.dumps(plain({name: measured[name] for name in ("cross_entropy", "brier_score")}), allow_nan=False)


def test_only_what_is_told_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> float:
        raise AssertionError("nobody asked for this")

    monkeypatch.setitem(FIGURES, "dear", Metric("dear", fail, is_higher_better=True, interval=fail))
    evaluation = score(ROWS)
    assert str(evaluation).startswith("accuracy 0.5000 [")
    assert brief_figures(ROWS)["num_correct"] == 2
    with pytest.raises(AssertionError, match="nobody"):
        evaluation.figures["dear"]


def test_the_figures_of_a_class_are_told_with_their_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = score(many_rows(), interval_level=0.9)
    told = in_all_places(evaluation, capsys)
    (first, *_), recall = figures(evaluation)["classes"], evaluation.class_figure("recall", 0)
    lower, upper = wilson_interval(int(evaluation.confusion[0, 0]), int(evaluation.confusion[0].sum()), confidence=0.9)
    assert recall.interval == (lower, upper)
    assert first["recall_interval"] == [lower, upper]
    assert {"precision_interval", "f1_interval"} <= set(first)
    for place in ("card", "notebook"):
        assert f"{recall.value:.4f} [{lower:.4f}, {upper:.4f}]" in told[place]
        assert "90 % intervals" in told[place]
    assert f"{100 * recall.value:.1f} [{100 * lower:.1f}, {100 * upper:.1f}]" in told["evaluate"]
    assert "in brackets: 90 % intervals\n" in told["evaluate"]
    assert "95 %" not in "".join(told[place] for place in ("card", "evaluate", "notebook"))
    assert all(len(line) <= 80 for line in told["evaluate"].splitlines() if line.startswith(" "))


def test_rough_intervals_are_said_to_be_so(capsys: pytest.CaptureFixture[str]) -> None:
    told = in_all_places(score(ROWS), capsys)
    assert "careful    intervals, but those of shares of images, are rough: 4 images, fewer than 100" in told["train"]
    assert all("they are rough: 4 images, fewer than 100" in told[place] for place in ("card", "evaluate", "notebook"))
    assert "are rough" not in "".join(in_all_places(score(many_rows()), capsys).values())


def test_too_few_images_mistakes_or_groups_make_intervals_rough() -> None:
    rows = many_rows()
    assert score(rows).rough == ""
    assert figures(score(rows))["rough"] is None
    assert score(rows.take(np.arange(99))).rough == "99 images, fewer than 100"
    right = np.flatnonzero(rows.task.is_right(rows.logits, np.asarray(rows.labels)))
    assert score(rows.take(right)).rough == "0 wrong answers, fewer than 10"
    few = dataclasses.replace(rows, groups=(np.arange(400) // 40).astype(str))
    assert score(few).rough == "10 groups, fewer than 20"
    assert "in brackets: 95 % intervals, in which 10 groups count; but those of shares" in score(few).about_intervals
    is_right = np.isin(np.arange(400), right)
    together = np.where(is_right, np.arange(400), 1000 + np.arange(400) % 3)
    wrong = 400 - len(right)
    found = score(dataclasses.replace(rows, groups=together.astype(str))).rough
    assert found == f"{wrong} wrong answers in 3 groups, fewer than 10"
