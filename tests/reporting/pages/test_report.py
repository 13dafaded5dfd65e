"""The report of a run as a page: every number as it is, nothing of a stranger's acts, nothing is fetched."""

from __future__ import annotations

import html
import json
import math
import re
import shlex
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from sightline.evaluation.measuring.scoring import figures, score
from sightline.records import Predictions
from sightline.reporting.pages import report_answers
from sightline.reporting.pages.miniatures import miniature_of
from sightline.reporting.pages.report import report_page
from sightline.reporting.pages.report_content import (
    NoticedThing,
    ReportContent,
    ReportedAnswer,
    ThresholdStep,
    share_in_words,
)
from sightline.reporting.pages.report_style import REPORT_SCRIPT
from sightline.system.text import without_nan

HOSTILE = "<script>alert(1)</script>\"onload='x' \u202e\U0001f600" + "long" * 100


class _Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def _content(class_names: tuple[str, ...], *, num_images: int, seed: int = 0) -> ReportContent:
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(class_names), num_images)
    logits = random.normal(size=(num_images, len(class_names))).astype(np.float32)
    logits[np.arange(num_images), labels] += 3
    names = [f"folder/{row:05d} {class_names[0]}.jpg" for row in range(num_images)]
    rows = Predictions.of(names, logits, class_names=class_names, labels=labels)
    told = json.loads(json.dumps(without_nan(figures(score(rows)))))
    is_wrong = np.flatnonzero(logits.argmax(axis=1) != labels)
    picture = miniature_of(random.integers(0, 256, (96, 96, 3), dtype=np.uint8))
    wrong = [
        ReportedAnswer(
            names[row],
            class_names[labels[row]],
            str(rows.predicted[row]),
            float(rows.confidences[row]),
            ((names[0], class_names[1]),),
            picture if place < 400 else None,
            place % 3 == 0,
        )
        for place, row in enumerate(is_wrong.tolist())
    ]
    num_wrong = len(is_wrong)
    return ReportContent(
        name=class_names[0],
        facts=(("network", "lenet5"), ("trained on", class_names[0])),
        split="test",
        figures=told,
        counts={name: {"train": 7, "test": 3} for name in class_names},
        split_totals={"train": 7 * len(class_names), "test": num_images},
        left_out=((class_names[0], "cannot be read"),),
        promises=(("Sets hold the right class of 95 % of images.", "coverage 0.95"), ("No promise of novelty.", "")),
        steps=(ThresholdStep(0.0, num_images, num_wrong), ThresholdStep(0.9, num_images // 2, num_wrong // 9)),
        wrong=wrong,
        history=[{"epoch": epoch, "loss": 1 / epoch, "accuracy": 1 - 1 / epoch} for epoch in (1, 2, 3)],
        chosen_epoch=2,
        missing=(class_names[0],),
        bundle=class_names[0],
    )


@pytest.fixture(scope="module")
def small() -> ReportContent:
    return _content(("cat", "dog", "cow"), num_images=400)


def test_every_figure_is_the_one_of_metrics_json(small: ReportContent) -> None:
    text = _Page(report_page(small)).text
    told = small.figures
    for name in ("accuracy", "cross_entropy", "macro_f1", "brier_score", "auroc", "calibration_error"):
        assert f"{told[name]:.4f}" in text
        assert all(f"{bound:.4f}" in text for bound in told[f"{name}_interval"])
    assert share_in_words(told["accuracy"]) in text
    for entry in told["classes"]:
        assert f"{entry['recall']:.4f} [{entry['recall_interval'][0]:.4f}, " in text


def test_each_cell_of_the_matrix_leads_to_as_many_images(small: ReportContent) -> None:
    page = report_page(small)
    confusion = np.array(small.figures["confusion"])
    for given, predicted in zip(*np.nonzero(confusion - np.diag(confusion.diagonal())), strict=True):
        target = f"pair-{given}-{predicted}"
        assert f'<a href="#{target}">{confusion[given, predicted]}</a>' in page
        part = page.split(f'id="{target}"')[1].split("</details>")[0]
        assert part.count("<figure>") == confusion[given, predicted]


def test_where_not_all_wrong_answers_are_named_their_number_is_told_all_the_same() -> None:
    content = _content(tuple("abc"), num_images=400)
    few = replace(content, wrong=content.wrong[:3])
    page = report_page(few)
    confusion = np.array(few.figures["confusion"])
    told = re.findall(r'id="pair-(\d)-(\d)".*?</b>: (\d+) images?(, the surest \d+ of them)?</summary>', page)
    assert told
    assert all(int(count) == confusion[int(given), int(named)] for given, named, count, _ in told)
    assert all(rest for *_, count, rest in told if int(count) > 3)
    counts = [int(count) for *_, count, _ in told]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("most_named", [3, 2_000])
def test_no_id_stands_twice_and_every_link_leads_somewhere(
    small: ReportContent, most_named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_answers, "MOST_NAMED", most_named)
    tags = _Page(report_page(small)).tags
    ids = Counter(found["id"] for _, found in tags if "id" in found)
    assert [name for name, count in ids.items() if count > 1] == []
    links = {str(found["href"]) for tag, found in tags if tag == "a"}
    assert links <= {f"#{name}" for name in ids}


def test_names_of_strangers_do_nothing_and_nothing_is_fetched() -> None:
    content = _content((HOSTILE, "dog", "<img src=x onerror=alert(1)>"), num_images=90)
    page = report_page(content)
    parsed = _Page(page)
    assert Counter(tag for tag, _ in parsed.tags)["script"] == 1
    assert {name for _, found in parsed.tags for name in found if name.startswith("on")} == set()
    addresses = [str(found.get(name)) for _, found in parsed.tags for name in ("src", "href") if name in found]
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert "\u202e" not in page
    assert re.search(r"https?:", page) is None


def test_the_surest_wrong_answers_stand_with_what_is_most_alike_in_training(small: ReportContent) -> None:
    picture = miniature_of(np.zeros((8, 8, 1), np.uint8))
    wrong = [replace(answer, nearest_pictures=(picture,)) for answer in small.wrong]
    with_pictures, without = report_page(replace(small, wrong=wrong)), report_page(small)
    surest = with_pictures.split('class="surest"')[1].split("<h3>")[0]
    assert surest.count('class="doubt"') == min(12, len(wrong))
    assert surest.count("<img") == 2 * surest.count('class="doubt"')
    assert surest.count(f'alt="{small.wrong[0].nearest[0][0]}"') == surest.count('class="doubt"')
    # Without pictures they are told by their names.
    assert "<bdi>folder/<wbr>00000 cat.jpg</bdi></figcaption>" in without.split('class="surest"')[1].split("<h3>")[0]


def test_unsure_answers_are_counted_and_shown(small: ReportContent) -> None:
    assert 'id="unsure"' not in report_page(small)
    num_wrong = sum(answer.is_unsure for answer in small.wrong)
    right = [replace(small.wrong[0], row_id=f"right{row}.png", is_unsure=True) for row in range(70)]
    page = report_page(replace(small, unsure=right, about_unsure="of the others at most 1 % are wrong"))
    assert f"{num_wrong + 70} answers of 400 would be left to a person; {num_wrong} of them are wrong" in page
    assert "and 10 more" in page
    assert "sightline mistakes cat --csv" in page
    part = page.split('id="unsure"')[1].split("</section>")[0]
    assert part.count("<figure>") == 60
    refused = report_page(replace(small, unsure=(), wrong=(), about_unsure="no answer is marked unsure: too few"))
    assert "No answer is marked unsure: too few." in refused


def test_who_reads_the_top_alone_is_told_what_leaving_out_the_unsure_gives(small: ReportContent) -> None:
    told = {**small.figures, "answered": 0.9, "answered_error": 0.012}
    assert "90.0 % of the images are answered, 1.2 % of those wrongly." in report_page(replace(small, figures=told))
    assert "Leaving the unsure" not in report_page(small)


@pytest.mark.parametrize(("num_correct", "told"), [(360, "40: about one in 10."), (100, "300: 75.0 % of all.")])
def test_how_many_answers_are_wrong_is_told_as_one_imagines_it(
    small: ReportContent, num_correct: int, told: str
) -> None:
    assert told in report_page(replace(small, figures={**small.figures, "num_correct": num_correct}))


def test_what_was_noticed_about_the_images_is_told() -> None:
    content = _content((HOSTILE, "dog"), num_images=40)
    noticed = NoticedThing("warning", "classes of very different size", HOSTILE)
    page = report_page(replace(content, findings=[noticed]))
    assert "<b>warning</b>: classes of very different size" in page
    assert page.count("<script>") == 1
    assert "kept nothing of that" in report_page(content)
    assert "<p>Nothing.</p>" in report_page(replace(content, findings=[]))


def test_a_thousand_classes_and_ten_thousand_images_stay_small() -> None:
    many = report_page(_content(tuple(f"class {number}" for number in range(1000)), num_images=2000))
    assert len(many) < 10_000_000
    assert "sort-matrix" not in many.split("<script>")[0]
    large = report_page(_content(tuple("0123456789"), num_images=10_000))
    assert len(large) < 5_000_000


def test_curves_of_a_run_without_training_figures_are_told_by_those_of_validation(small: ReportContent) -> None:
    steps = [
        {"epoch": step, "validation_loss": 0.1 / step, "validation_accuracy": 0.9 + 0.01 * step} for step in (1, 2)
    ]
    page = report_page(replace(small, history=steps))
    assert "From 0.91 to 0.92 on validation images in 2 epochs" in page
    assert not re.search(r"\bnan\b", page)


@pytest.mark.parametrize(
    "losses", [(1e300, 1e300), (1e17, 1e17), (1.0, 1e308), (0.5, 0.5), (0.5, math.nan), (-1e99, 1e99)]
)
def test_curves_of_a_training_that_went_astray_are_drawn(small: ReportContent, losses: tuple[float, float]) -> None:
    epochs = [{"epoch": place + 1, "loss": loss, "accuracy": 0.5} for place, loss in enumerate(losses)]
    page = report_page(replace(small, history=epochs, chosen_epoch=2))
    assert not re.search(r"\b(nan|inf)\b", page)


@pytest.mark.parametrize(
    ("num_correct", "words"), [(30, "70: 70.0 % of all."), (70, "30: about one in 3."), (0, "100: 100 % of all.")]
)
def test_many_wrong_answers_are_told_as_a_share(small: ReportContent, num_correct: int, words: str) -> None:
    figures = {**small.figures, "num_images": 100, "num_correct": num_correct}
    assert f"<b>Wrong answers</b>{words}" in report_page(replace(small, figures=figures))


def test_commands_name_the_bundle_as_a_shell_takes_it(small: ReportContent) -> None:
    page = html.unescape(report_page(replace(small, bundle="my runs/it's; rm")))
    commands = re.findall(r"sightline (?:predict|check|mistakes) .*", page)
    assert len(commands) >= 3
    assert all(shlex.split(line)[2] == "my runs/it's; rm" for line in commands if "</code>" not in line)


class _Running(HTMLParser):
    """Where right-to-left letters stand beside other text without being set apart from it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.beside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("wbr", "img", "meta", "input", "br", "link", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            del self.open[len(self.open) - 1 - self.open[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        is_apart = {"bdi", "title", "pre"} & set(self.open)
        if re.search("[\u0590-\u06ff]", data) and not is_apart and re.search("[a-z]", data):
            self.beside.append(data)


def test_names_written_from_right_to_left_turn_nothing_beside_them() -> None:
    assert (
        _Running(report_page(_content(("\u05e9\u05dc\u05d5\u05dd", "\u0633\u0644\u0627\u0645"), num_images=40))).beside
        == []
    )


def test_the_script_is_short() -> None:
    assert len(REPORT_SCRIPT) < 10_000


def test_a_run_that_nothing_judged_has_a_page_all_the_same(small: ReportContent) -> None:
    page = report_page(replace(small, split=None, figures={}, wrong=(), promises=(), steps=()))
    assert "No figure" in page


def test_validation_figures_are_told_as_flattering(small: ReportContent) -> None:
    assert "flatters" in report_page(replace(small, split="validation"))


@pytest.mark.parametrize(
    ("share", "text"), [(0.9942, "99.42 %"), (0.5, "50.0 %"), (0, "0 %"), (1, "100 %"), (0.00042, "0.042 %")]
)
def test_shares_have_the_digits_that_tell_them_from_none_and_all(share: float, text: str) -> None:
    assert share_in_words(share) == text
