from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from sightline.quality.findings import KINDS, Audit, Finding, audit_figures, by_kind, plan_csv
from sightline.records import Dataset


@pytest.fixture
def dataset() -> Dataset:
    images = np.zeros((4, 8, 8, 1), dtype=np.uint8)
    names = np.array([f"a/{row}.png" for row in range(4)])
    return Dataset("some", ("a", "b"), names, np.array([0, 0, 1, 1]), images, np.array([""] * 4), "f")


def audit_of(dataset: Dataset, *findings: Finding) -> Audit:
    return Audit("some", 5, 4, findings, dataset)


def test_a_file_with_two_reasons_is_planned_once_with_the_first(dataset: Dataset) -> None:
    first = Finding("unreadable", "error", ("a/0.png",), "cut", (("a/0.png", "cut"),))
    second = Finding("constant", "warning", ("a/0.png",), "grey", (("a/0.png", "grey"), ("a/1.png", "grey")))
    assert audit_of(dataset, first, second).plan == (("a/0.png", "cut"), ("a/1.png", "grey"))


def test_the_plan_survives_names_that_a_table_would_break_on(dataset: Dataset) -> None:
    name = 'a/comma, "quote"\nline.png'
    audit = audit_of(dataset, Finding("unreadable", "error", (name,), "cut", ((name, "cut, badly"),)))
    rows = list(csv.DictReader(io.StringIO(plan_csv(audit))))
    assert rows == [{"file": name, "reason": "cut, badly"}]


def test_an_audit_is_clean_with_notes_alone(dataset: Dataset) -> None:
    assert audit_of(dataset, Finding("huge", "note", (), "large")).is_clean
    assert not audit_of(dataset, Finding("tiny", "warning", (), "small")).is_clean


def test_the_summary_counts_names_some_and_says_how_many_more(dataset: Dataset) -> None:
    findings = [Finding("unreadable", "error", (f"a/{number}.png",), "cut") for number in range(9)]
    text = str(audit_of(dataset, *findings))
    assert "5 files, 4 images, 2 classes: 9 errors" in text
    assert "a/0.png: cut" in text
    assert "... and 5 more" in text


def test_no_line_of_the_summary_is_wider_than_a_terminal(dataset: Dataset) -> None:
    findings = [Finding(kind, "note", ("a/0.png",), "word " * 60) for kind in KINDS]
    assert max(map(len, str(audit_of(dataset, *findings)).splitlines())) <= 80


def test_terminal_codes_in_a_name_are_shown_and_not_obeyed(dataset: Dataset) -> None:
    text = str(audit_of(dataset, Finding("unreadable", "error", ("a/\x1b[2J\u202egpj.png",), "cut")))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[2J" in text


def test_a_notebook_shows_names_as_text(dataset: Dataset) -> None:
    shown = audit_of(dataset, Finding("unreadable", "error", ("<script>.png",), "<b>"))._repr_html_()
    assert "<script>" not in shown
    assert "<b>" not in shown


def test_findings_come_by_severity_and_then_in_the_order_of_the_kinds() -> None:
    shuffled = [
        Finding("huge", "note", (), ""),
        Finding("tiny", "warning", (), ""),
        Finding("leak", "error", (), ""),
        Finding("shortcut", "warning", (), ""),
    ]
    assert [kind for kind, _ in by_kind(shuffled)] == ["leak", "shortcut", "tiny", "huge"]


def test_json_has_the_agreed_keys_and_no_others(dataset: Dataset) -> None:
    content = audit_figures(audit_of(dataset, Finding("tiny", "warning", ("a/0.png",), "small", (("a/0.png", "x"),))))
    assert content == {
        "num_files": 5,
        "num_images": 4,
        "findings": [{"kind": "tiny", "severity": "warning", "paths": ["a/0.png"], "detail": "small"}],
    }
