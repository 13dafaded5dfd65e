"""The page where a picture may have several labels: what it says is what `predict` says, or it is not kept."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

import sightline
from sightline.deployment.web import pages
from sightline.errors import ExportRefused

SAID = """[...document.querySelectorAll('.answer')].map((one) => [
  one.querySelector('.file-name').textContent,
  [...one.querySelectorAll('.answer-label strong:not(.is-none)')].map((name) => name.textContent),
  [...one.querySelectorAll('.answer-share')].map((share) => parseFloat(share.textContent.replace('> ', ''))),
  one.querySelector('.set')?.textContent ?? null,
])"""
ALL_ANSWERED = "document.querySelectorAll('.answer:not(.is-waiting)').length === 12"


@pytest.fixture
def pictures(labels_table: Path) -> list[Path]:
    return sorted(labels_table.parent.glob("*.png"))[:12]


@pytest.mark.slow
def test_opened_from_a_disk_it_names_the_labels_that_predict_names(
    labels_run: sightline.Run, page_of, pictures: list[Path], tab: Any
) -> None:
    tab.open((page_of(labels_run.bundle.path) / "index.html").as_uri())
    tab.choose_files("#chosen", *pictures)
    tab.wait_for(ALL_ANSWERED)
    tab.evaluate(
        "const chosen = document.querySelector('#level-sets'); chosen.value = '0.9';"
        "chosen.dispatchEvent(new Event('change'))"
    )
    tab.wait_for("document.querySelectorAll('.set').length === 12")
    answers = sightline.predict(labels_run, pictures, progress=False, coverage=0.9)
    told = answers.task.answers(answers.logits, answers.class_names, temperature=answers.temperature, top=3)
    assert {len(row["labels"]) for row in told} >= {0, 1, 2}, "pictures of several kinds, or this tells little"
    for (name, labels, shares, in_words), wanted, members in zip(
        tab.evaluate(SAID)[::-1], told, answers.sets.members, strict=True
    ):
        assert labels == [entry["label"] for entry in wanted["labels"]], name
        assert shares == [pytest.approx(100 * entry["confidence"], abs=0.11) for entry in wanted["labels"]]
        held = {name for name, is_in in zip(answers.class_names, members, strict=True) if is_in}
        assert all((name in in_words) == (name in held) for name in answers.class_names), in_words
    table = list(csv.reader(io.StringIO(tab.evaluate("answers.table()"))))
    assert [row[1] for row in table[1:]] == [";".join(one["label"] for one in row["labels"]) for row in told]
    assert not tab.complaints()
    assert "Tells which of 3 labels a picture has" in tab.evaluate("document.querySelector('#summary').textContent")


@pytest.mark.soak
def test_it_passes_the_gate_and_a_page_with_thresholds_of_its_own_does_not(
    labels_run: sightline.Run, runs_on: Path, browser_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = sightline.export(labels_run, "web", out=tmp_path / "out").figures
    assert (told["agreement"], told["pixels"]["largest_difference"]) == (1, {"PNG": 0})
    assert told["largest_difference"] < 1e-5
    sound = pages.engine()
    for old, new in (("logits[index] >= thresholds[index]", "logits[index] >= 1"), ("Math.tanh(", "Math.sin(")):
        assert old in sound
        monkeypatch.setattr(pages, "engine", lambda old=old, new=new: sound.replace(old, new))
        with pytest.raises(ExportRefused, match="from file to answer, the page differs by"):
            sightline.export(labels_run, "web", out=tmp_path / "other")
