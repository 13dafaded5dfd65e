from __future__ import annotations

import numpy as np
import pytest

from sightline.quality.classes import class_findings
from sightline.quality.findings import Finding
from sightline.records import Dataset


def dataset_of(counts: dict[str, int], *, test: dict[str, int] | None = None, **fields: object) -> Dataset:
    parts = [(name, "train" if test else "", count) for name, count in counts.items()]
    parts += [(name, "test", count) for name, count in (test or {}).items()]
    labels = [list(counts).index(name) for name, _, count in parts for _ in range(count)]
    splits = [split for _, split, count in parts for _ in range(count)]
    return Dataset(
        name="made",
        class_names=tuple(counts),
        row_ids=np.array([f"{row}.png" for row in range(len(labels))]),
        labels=np.array(labels, dtype=np.int64),
        images=np.zeros((len(labels), 1, 1, 1), dtype=np.uint8),
        given_splits=np.array(splits),
        fingerprint="f",
        **fields,
    )


def found(kind: str, dataset: Dataset) -> Finding | None:
    matching = [finding for finding in class_findings(dataset) if finding.kind == kind]
    return matching[0] if matching else None


def test_even_classes_of_a_hundred_images_raise_nothing() -> None:
    assert class_findings(dataset_of({"a": 100, "b": 120})) == []


@pytest.mark.parametrize(("largest", "severity"), [(299, None), (300, "note"), (999, "note"), (1000, "warning")])
def test_imbalance_is_noted_from_three_and_warned_of_from_ten(largest: int, severity: str | None) -> None:
    finding = found("imbalance", dataset_of({"a": largest, "b": 100}))
    assert (finding.severity if finding else None) == severity


def test_imbalance_says_what_a_constant_answer_would_reach() -> None:
    finding = found("imbalance", dataset_of({"a": 900, "b": 100}))
    assert finding
    assert "9.0 to 1" in finding.detail
    assert "90 %" in finding.detail


def test_a_small_class_is_told_with_the_interval_it_leaves() -> None:
    finding = found("few-images", dataset_of({"a": 100, "b": 50}))
    assert finding
    # 10 of 10 right: Wilson's lower bound is 0.722.
    assert "'b' has about 10 of 50 for the test" in finding.detail
    assert "72 % (95 % interval)" in finding.detail
    assert "'a'" not in finding.detail


def test_given_test_images_are_counted_and_not_estimated() -> None:
    assert found("few-images", dataset_of({"a": 50, "b": 50}, test={"a": 20, "b": 20})) is None
    finding = found("few-images", dataset_of({"a": 500, "b": 500}, test={"a": 20, "b": 4}))
    assert finding
    assert "'b' has 4 in test" in finding.detail


def test_a_single_image_no_image_and_no_training_image_are_errors() -> None:
    single = found("class-too-small", dataset_of({"a": 100, "b": 1}))
    assert single
    assert (single.severity, single.paths) == ("error", ("100.png",))
    assert "'b': no image" in str(found("class-too-small", dataset_of({"a": 100, "b": 0})))
    unseen = found("class-too-small", dataset_of({"a": 100, "b": 0}, test={"a": 30, "b": 30}))
    assert "none to learn from" in str(unseen)


@pytest.mark.parametrize(
    "twins", [("Cat", "cat"), ("cat ", "cat"), ("t-shirt", "T Shirt"), ("caf\u00e9", "cafe\u0301")]
)
def test_names_that_are_nearly_the_same_are_told(twins: tuple[str, str]) -> None:
    finding = found("class-names", dataset_of(dict.fromkeys(twins, 100)))
    assert finding
    assert finding.severity == "warning"


def test_different_names_are_left_in_peace() -> None:
    assert found("class-names", dataset_of({"1 2": 100, "12": 100, "cat": 100, "cats": 100})) is None


def test_files_left_out_are_told_by_reason_and_images_among_them_are_a_warning() -> None:
    left_out = (("a.jpg", "not there"), ("b.jpg", "not there"), ("notes.txt", "a text, not an image."))
    told = [finding for finding in class_findings(dataset_of({"a": 100, "b": 100}, left_out=left_out)) if finding.paths]
    assert [(finding.severity, finding.paths) for finding in told] == [
        ("warning", ("a.jpg", "b.jpg")),
        ("note", ("notes.txt",)),
    ]


def test_remarks_of_the_source_are_handed_on() -> None:
    finding = found("remark", dataset_of({"a": 100, "b": 100}, remarks=("'valid' is taken for validation",)))
    assert finding
    assert finding.detail == "'valid' is taken for validation"


def test_what_source_and_audit_both_noticed_is_told_once() -> None:
    kept_apart = ("the classes 'Cat' and 'cat' differ only in case or blanks; they were kept apart",)
    kinds = [finding.kind for finding in class_findings(dataset_of({"Cat": 100, "cat": 100}, remarks=kept_apart))]
    assert kinds == ["class-names"]


def test_lines_of_a_table_do_not_set_equal_reasons_apart() -> None:
    left_out = tuple((f"{line}.jpg", f"there is no such file (line {line})") for line in range(2, 9))
    finding = found("left-out", dataset_of({"a": 100, "b": 100}, left_out=left_out))
    assert finding
    assert finding.detail == "7 files: there is no such file"
