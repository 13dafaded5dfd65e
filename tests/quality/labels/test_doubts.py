from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import sightline
from sightline.cli.main import main
from sightline.quality.audit import audit
from sightline.quality.findings import Audit, audit_figures
from sightline.quality.labels.doubts import FEWEST_IMAGES, find_doubts, tied_groups
from sightline.records import Dataset
from sightline.system.progress import Bar, reporting

NO_PAIRS = np.empty((0, 2), np.int64)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """300 zeros, ones and sevens, of which 12 bear another label, and 4 eights."""
    mnist = sightline.load("mnist")
    rows = [np.flatnonzero(mnist.labels == label)[:count] for label, count in ((0, 100), (1, 100), (7, 100), (8, 4))]
    taken = mnist.take(np.concatenate(rows))
    labels = taken.labels.copy()
    labels[:300:25] = np.where(labels[:300:25] == 0, 1, 0)
    return dataclasses.replace(taken, labels=labels, given_splits=np.full(304, ""))


@pytest.fixture(scope="module")
def found(digits: Dataset) -> Audit:
    return audit(digits, labels=True, mode="quiet")


def wrong(digits: Dataset) -> NDArray[np.int64]:
    return np.arange(0, 300, 25)


def test_labels_that_were_changed_come_first_with_their_right_class(found: Audit, digits: Dataset) -> None:
    doubts = found.labels
    assert doubts is not None
    first = doubts.rows[:12]
    assert np.isin(first, wrong(digits)).sum() >= 9
    truth = np.repeat([0, 1, 7], 100)
    is_changed = np.isin(first, wrong(digits))
    assert (doubts.suggested[:12] == truth[first])[is_changed].all()
    assert (np.diff(doubts.doubts[: doubts.num_listed]) <= 0).all()


def test_judging_has_a_bar_that_ends_where_the_work_ends(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[Bar] = []
    begin = Bar.__init__

    def noted(bar: Bar, description: str, **options: Any) -> None:
        begin(bar, description, **options)
        bars.append(bar)

    monkeypatch.setattr(Bar, "__init__", noted)
    with reporting("quiet"):
        find_doubts(digits, readable=np.ones(len(digits), bool), copies=NO_PAIRS)
    (bar,) = [bar for bar in bars if bar.description == "judging labels"]
    assert bar.done == bar.total == 5 * (2 + 2 * 5), "five rounds of 15 changed labels, each in two ways"


def test_doubtful_labels_are_a_note_that_leaves_nothing_out(found: Audit) -> None:
    (finding,) = [finding for finding in found.findings if finding.kind == "doubtful-labels"]
    assert finding.severity == "note"
    assert not finding.exclusions
    assert "error" not in finding.detail
    assert finding.paths == tuple(found.dataset.row_ids[found.labels.rows[: found.labels.num_listed]].tolist())


def test_classes_with_too_few_images_are_not_judged_and_named(found: Audit) -> None:
    assert found.labels is not None
    assert found.labels.not_judged == ("8",)
    assert len(found.labels.rows) == 300
    assert "not judged, for too few images: 8" in " ".join(str(found).split())


def test_planted_flips_are_told_beside_the_list_with_their_number(found: Audit) -> None:
    planted = found.labels.planted if found.labels is not None else None
    assert planted is not None
    assert planted.num_planted == 15
    assert planted.num_rounds == 5
    assert 0.4 < planted.any_class[0] <= 1
    assert planted.figures()["any_class"]["precisions"] == [{"num_listed": 15, "at_least": planted.any_class[0]}]
    assert "15 labels changed on purpose, 5 times" in planted.in_words


def test_the_nearest_images_are_of_the_given_and_of_the_suggested_class(found: Audit, digits: Dataset) -> None:
    doubts = found.labels
    assert doubts is not None
    for place, (given, suggested) in enumerate(zip(doubts.nearest_given, doubts.nearest_suggested, strict=True)):
        row = doubts.rows[place]
        assert (digits.labels[given] == digits.labels[row]).all()
        assert (digits.labels[suggested] == doubts.suggested[place]).all()
        assert row not in given


def test_json_names_what_is_listed_and_how_far_it_is_to_be_believed(found: Audit) -> None:
    told = audit_figures(found)["labels"]
    assert told["num_judged"] == 300
    assert told["planted"]["num_planted"] == 15
    assert set(told["listed"][0]) == {"file", "given", "suggested", "doubt"}


def test_the_command_line_writes_the_table_and_takes_it_for_asked(
    digits: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, table = tmp_path / "digits.npz", tmp_path / "labels.csv"
    train = slice(0, 280)
    pairs = {"x_train": digits.images[train], "y_train": digits.labels[train]}
    np.savez(
        source,
        **pairs,
        x_test=digits.images[280:],
        y_test=digits.labels[280:],
        class_names=np.array(digits.class_names),
    )
    main(["audit", str(source), "--label-table", str(table), "--json", "--quiet"])
    told = json.loads(capsys.readouterr().out)["labels"]
    lines = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [line["file"] for line in lines] == [one["file"] for one in told["listed"]]
    assert all(line["label"] == line["given"] for line in lines)


def test_an_audit_that_was_not_asked_says_nothing_of_labels(digits: Dataset) -> None:
    plain = audit(digits.take(np.arange(40)), mode="quiet")
    assert plain.labels is None
    assert "labels" not in audit_figures(plain)


def test_copies_and_groups_are_tied_together(digits: Dataset) -> None:
    few = dataclasses.replace(digits.take(np.arange(6)), groups=np.array(["a", "a", "", "", "", "b"]))
    tied = tied_groups(few, np.array([[1, 2], [4, 5]]))
    assert tied[0] == tied[1] == tied[2]
    assert tied[4] == tied[5]
    assert len(set(tied.tolist())) == 3


def test_one_class_with_enough_images_cannot_be_judged_and_is_told_why(digits: Dataset) -> None:
    rows = np.concatenate([np.flatnonzero(digits.labels == 7), [300]])
    why = find_doubts(digits.take(rows), readable=np.ones(len(rows), bool), copies=NO_PAIRS)
    assert isinstance(why, str)
    assert f"at least {FEWEST_IMAGES} images" in why


def test_copies_do_not_count_as_so_many_images(digits: Dataset) -> None:
    rows = np.concatenate([np.arange(1, 20), np.arange(101, 120)])
    pairs = np.array([[0, other] for other in range(1, 12)])
    why = find_doubts(digits.take(rows), readable=np.ones(38, bool), copies=pairs)
    assert isinstance(why, str), "twelve of nineteen are one image: eight are left"
