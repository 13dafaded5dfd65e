from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.quality.findings import KINDS, Audit, Finding
from sightline.quality.labels.doubts import LabelDoubts
from sightline.records import Dataset
from sightline.reporting.pages.audit import MOST_PICTURES, audit_page
from sightline.reporting.pages.style import SCRIPT, STYLE

NASTY = '<script>alert("1")</script><img src=x onerror=alert(2)>\u202egpj.jpg'
VOID = {"meta", "img", "input", "wbr"}


class Page(HTMLParser):
    """What a browser would make of a page: its tags with attributes, and those never closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def dataset() -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (600, 70, 90, 3), dtype=np.uint8)
    loaded = sightline.load({"x_train": images, "y_train": np.arange(600) % 2})
    names = loaded.row_ids.astype(object)
    names[0] = NASTY
    return dataclasses.replace(loaded, row_ids=names.astype(str), class_names=("<b>cat", "dog & Co"))


def audit_of(dataset: Dataset, *findings: Finding) -> Audit:
    return Audit("<i>photos", 601, 600, findings, dataset)


def one_of_each(dataset: Dataset) -> Audit:
    names = tuple(dataset.row_ids[:3].tolist())
    severities = {"leak": "error", "tiny": "warning"}
    findings = [
        Finding(kind, severities.get(kind, "note"), names, f"<u>{kind}</u>", ((NASTY, "<s>why</s>"),)) for kind in KINDS
    ]
    return audit_of(dataset, *findings)


def test_the_page_is_whole_and_every_name_from_the_source_is_text(dataset: Dataset) -> None:
    text = audit_page(one_of_each(dataset))
    page = Page(text)
    assert not {"i", "u", "s"} & {tag for tag, _ in page.tags}
    assert len(page.all("script")) == 1
    assert all(attributes["src"].startswith("data:image/") for attributes in page.all("img"))
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "\u202e" not in text
    assert '<script>alert("1")</script><img src=x onerror=alert(2)>\\u202egpj.jpg' in "".join(page.words)


def test_the_page_asks_for_nothing_outside_itself(dataset: Dataset) -> None:
    # What pictures consist of may look like anything.
    text = re.sub(r"base64,[\w+/=]+", "", audit_page(one_of_each(dataset)))
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in Page(text).tags}


def test_the_policy_lets_the_one_script_run_and_no_other(dataset: Dataset) -> None:
    page = Page(audit_page(one_of_each(dataset)))
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_the_title_and_the_head_count_the_findings(dataset: Dataset) -> None:
    findings = [
        Finding("leak", "error", (), "x"),
        Finding("tiny", "warning", (), "x"),
        Finding("huge", "note", (), "x"),
    ]
    text = audit_page(audit_of(dataset, *findings))
    assert "<title>Audit of &lt;i&gt;photos: 1 error, 1 warning, 1 note</title>" in text
    assert "601 files, 600 images (1 file not used), 2 classes" in text


def test_pictures_are_bounded_in_number_and_size(dataset: Dataset) -> None:
    names = dataset.row_ids.tolist()
    findings = [
        Finding(kind, "warning", (names[3 * number], names[3 * number + 1]), "copies")
        for kind in KINDS
        for number in range(150)
    ]
    text = audit_page(audit_of(dataset, *findings))
    pictures = [attributes["src"] for attributes in Page(text).all("img")]
    assert 100 < len(pictures) <= MOST_PICTURES
    for address in pictures[:5]:
        with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
            assert max(picture.size) <= 128
    assert len(text) < 3_000_000


def test_twenty_thousand_findings_still_make_a_page(dataset: Dataset) -> None:
    findings = [Finding("unreadable", "error", (f"cat/{number}.jpg",), "cut") for number in range(20_000)]
    text = audit_page(audit_of(dataset, *findings))
    assert "and 19,900 more" in text
    assert len(text) < 200_000


def test_a_reader_without_eyes_is_told_the_same(dataset: Dataset) -> None:
    page = Page(audit_page(one_of_each(dataset)))
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert all(attributes.get("alt") for attributes in page.all("img"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    linked = {attributes["href"].removeprefix("#") for attributes in page.all("a")}
    labelled = {attributes["aria-labelledby"] for attributes in page.all("section")}
    assert linked | labelled <= set(ids)


def test_without_findings_the_page_says_so(dataset: Dataset) -> None:
    text = audit_page(audit_of(dataset))
    assert "Nothing to remark." in text
    Page(text)


def luminance(color: str) -> float:
    digits = color.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize("text", ["ink", "faint", "error", "warning", "note"])
@pytest.mark.parametrize("ground", ["ground", "card"])
def test_text_stands_out_as_accessibility_asks(scheme: int, text: str, ground: str) -> None:
    blocks = re.findall(r":root \{([^}]*)\}", STYLE)
    colors = dict(re.findall(r"--(\w+): (#\w+)", blocks[scheme]))
    dark, light = sorted([luminance(colors[text]), luminance(colors[ground])])
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_doubtful_labels_stand_beside_the_nearest_of_both_classes_and_are_called_no_errors(dataset: Dataset) -> None:
    rows, nearest = np.arange(40), np.tile([2, 4, -1], (30, 1))
    doubts = LabelDoubts(
        rows, 1 - dataset.labels[rows], np.linspace(1, 0, 40), 35, nearest, nearest + 1, None, ("<i>",)
    )
    names = tuple(dataset.row_ids[:35].tolist())
    note = Finding("doubtful-labels", "note", names, "35 labels")
    text = audit_page(dataclasses.replace(audit_of(dataset, note), labels=doubts))
    page = Page(text)
    words = " ".join(page.words)
    assert "None of these labels is called wrong." in words
    assert "were not tried" in words or "was not tried" in words
    assert len(page.all("figure")) == 30 * 6, "one, two of the given class, three of the suggested: -1 + 1 is a row"
    assert "and 5 more" in words
    assert "alert(2)>" not in text.replace("alert(2)&gt;", "")
    assert "<b>cat" not in text.replace("<b>&lt;b&gt;cat", "")
    assert len(text) < 4_000_000
