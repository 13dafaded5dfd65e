from __future__ import annotations

import numpy as np
import pytest

from sightline.quality.duplicates import copy_findings, near_groups
from sightline.quality.findings import Finding
from sightline.records import Dataset


def dataset_of(rows: str) -> Dataset:
    """Rows such as "train/cat test/dog /cat": split and class of each."""
    pairs = [row.split("/") for row in rows.split()]
    names = tuple(sorted({name for _, name in pairs}))
    return Dataset(
        name="made",
        class_names=names,
        row_ids=np.array([f"{number}.png" for number in range(len(pairs))]),
        labels=np.array([names.index(name) for _, name in pairs]),
        images=np.zeros((len(pairs), 1, 1, 1), dtype=np.uint8),
        given_splits=np.array([split for split, _ in pairs]),
        fingerprint="f",
    )


def only(rows: str, **copies: list[tuple[int, ...]]) -> Finding:
    dataset = dataset_of(rows)
    exact = copies.get("exact", [])
    near = [(first, second, "resized") for first, second in copies.get("near", [])]
    (finding,) = copy_findings(dataset, exact, near)
    return finding


def excluded(finding: Finding) -> list[str]:
    return [path for path, _ in finding.exclusions]


def test_copies_in_one_class_are_a_warning_and_all_but_the_first_are_planned() -> None:
    finding = only("/cat /dog /cat /cat", exact=[(0, 2, 3)])
    assert (finding.kind, finding.severity) == ("duplicates", "warning")
    assert finding.exclusions == (("2.png", "copy of 0.png"), ("3.png", "copy of 0.png"))


def test_copies_under_two_labels_are_an_error_and_all_are_planned() -> None:
    finding = only("/cat /dog", exact=[(0, 1)])
    assert (finding.kind, finding.severity) == ("contradicting-labels", "error")
    assert excluded(finding) == ["0.png", "1.png"]


def test_a_copy_in_train_and_test_is_a_leak_and_leaves_train() -> None:
    finding = only("train/cat test/cat train/cat", exact=[(0, 1, 2)])
    assert (finding.kind, finding.severity) == ("leak", "error")
    assert finding.exclusions == (
        ("0.png", "copy of 1.png, which is in test"),
        ("2.png", "copy of 1.png, which is in test"),
    )


def test_a_copy_in_train_and_validation_stays_in_validation() -> None:
    assert excluded(only("train/cat validation/cat", exact=[(0, 1)])) == ["0.png"]


def test_rows_without_a_split_are_trained_on_where_others_have_one() -> None:
    assert only("/cat test/cat", exact=[(0, 1)]).kind == "leak"


def test_two_labels_in_two_splits_are_told_as_contradicting() -> None:
    finding = only("train/cat test/dog", exact=[(0, 1)])
    assert finding.kind == "contradicting-labels"
    assert "in test and train" in finding.detail


def test_five_copies_are_a_placeholder() -> None:
    one_class = only("/cat /cat /cat /cat /cat /dog", exact=[(0, 1, 2, 3, 4)])
    assert (one_class.kind, one_class.severity, excluded(one_class)[0]) == ("placeholder", "warning", "1.png")
    two_classes = only("/cat /cat /cat /cat /dog", exact=[(0, 1, 2, 3, 4)])
    assert (two_classes.kind, two_classes.severity, len(two_classes.exclusions)) == ("placeholder", "error", 5)


@pytest.mark.parametrize(
    ("rows", "kind", "severity", "planned"),
    [
        ("/cat /cat", "near-duplicates", "note", []),
        ("/cat /dog", "near-contradiction", "warning", []),
        ("train/cat test/cat", "near-leak", "warning", ["0.png"]),
    ],
)
def test_near_copies_are_judged_more_mildly(rows: str, kind: str, severity: str, planned: list[str]) -> None:
    finding = only(rows, near=[(0, 1)])
    assert (finding.kind, finding.severity, excluded(finding)) == (kind, severity, planned)


def test_near_copies_of_exact_copies_are_told_once() -> None:
    dataset = dataset_of("/cat /cat /cat")
    kinds = [finding.kind for finding in copy_findings(dataset, [(0, 1)], [(0, 2, "flipped"), (1, 2, "flipped")])]
    assert kinds == ["duplicates", "near-duplicates"]
    assert copy_findings(dataset, [(0, 1)], [(0, 1, "resized")])[-1].kind == "duplicates"


def test_pairs_are_tied_whatever_their_order() -> None:
    pairs = [(5, 6, "a"), (1, 2, "b"), (2, 5, "a"), (8, 9, "c")]
    groups = [rows for rows, _ in near_groups(pairs)]
    assert groups == [[1, 2, 5, 6], [8, 9]]
    assert [rows for rows, _ in near_groups(pairs[::-1])] == groups


def test_near_copies_are_told_with_their_differences() -> None:
    pairs = [(0, 1, "flipped"), (0, 2, "resized"), (1, 2, "flipped")]
    (finding,) = copy_findings(dataset_of("/cat /cat /dog"), [], pairs)
    assert finding.detail == "3 images alike as if flipped or resized, labelled 'cat' (2), 'dog' (1)"
