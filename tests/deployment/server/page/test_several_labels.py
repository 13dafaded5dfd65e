"""The page over a server whose models name several labels, and one class: what it shows is what the server told."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def files(labels_table: Path) -> list[Path]:
    return sorted(labels_table.parent.glob("*.png"))[
        :22
    ]  # more are not asked again by themselves when another model is chosen


@pytest.fixture
def rows(both: Any, files: list[Path]) -> list[dict[str, Any]]:
    """What the server tells of them."""
    form, kind = both.form([(path.name, path.read_bytes()) for path in files])
    return list(both.post("/v1/predict?model=edges&coverage=0.95", form, kind).json["images"])


@pytest.fixture
def page(open_page: Any, both: Any, files: list[Path], labels_table: Path) -> Any:
    """Pictures answered, and a file that is none."""
    opened = open_page(address=f"http://127.0.0.1:{both.port}/")
    opened.select_option("#model", "edges")
    opened.wait_for_selector("h1:has-text('edges')")
    opened.set_input_files("#files", [*files, labels_table])
    opened.wait_for_selector("tbody tr:nth-child(23) .chip.error")
    opened.wait_for_selector("#progress", state="hidden")
    return opened


def names_of(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [[entry["label"] for entry in row["labels"]] for row in rows]


def table_of(page: Any) -> list[dict[str, str]]:
    with page.expect_download() as waited:
        page.click("#save-csv")
    return list(csv.DictReader(io.StringIO(Path(waited.value.path()).read_text(encoding="utf-8-sig"))))


def test_all_labels_are_named_each_with_the_line_that_it_is_said_from(page: Any, rows: list[dict[str, Any]]) -> None:
    lead = page.locator("#model-lead").inner_text()
    assert "Tells which of 3 labels a picture has, several or none" in lead
    assert "the F1 over all labels was 0." in lead
    assert "Name every label that it may have" in page.locator("#promise-list").text_content()
    said = names_of(rows)
    shown = [text.split("\n") for text in page.locator("tbody .cell-label").all_inner_texts()]
    assert shown == [*(labels or ["None of its labels"] for labels in said), ["Could not be read"]]
    for number in (said.index([]), max(range(22), key=lambda row: len(said[row]))):
        page.locator("tbody .pick").nth(number).click()
        assert page.locator("#detail-answer .label bdi").all_inner_texts() == said[number]
        assert page.locator("#detail-bars .first bdi").all_inner_texts() == said[number]
        in_set = page.locator("#detail-marks .set").inner_text()
        assert all((name in in_set) == (name in rows[number]["set"]) for name in ("left", "right", "top"))
        assert page.locator("#detail-bars .has-line").count() == 3
        assert not page.locator("#threshold").is_visible()
        assert page.locator("#line-cost").inner_text() == "Each label is said from the line in its bar on."


def test_the_table_has_labels_as_predict_writes_them_beside_answers_of_one_class(
    page: Any, both: Any, rows: list[dict[str, Any]]
) -> None:
    table = table_of(page)
    assert [line["labels"] for line in table[:22]] == [";".join(labels) for labels in names_of(rows)]
    shares = [";".join(str(entry["confidence"]) for entry in row["labels"]) for row in rows]
    assert [line["confidences"] for line in table[:22]] == shares
    assert ("label" in table[0], bool(table[22]["error"])) == (False, True)
    page.select_option("#model", "net")
    page.set_input_files("#files", [{"name": "dog.png", "mimeType": "image/png", "buffer": both.png("dog")}])
    page.wait_for_selector("tbody tr:nth-child(24) .share")
    dog = table_of(page)[23]
    assert (dog["label"], dog["labels"]) == ("dog", "")
    page.locator("tbody .pick").nth(23).click()
    assert page.locator("#threshold").is_visible()
