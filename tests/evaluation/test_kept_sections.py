"""What takes long of a report: computed once, kept, and computed anew where it was of something else."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sightline
from sightline.errors import CannotWrite, OutputExists
from sightline.evaluation import kept_sections
from sightline.evaluation.kept_sections import FOLDER, SECTIONS, Judged, KeptSection, maps_of, sections_of
from sightline.evaluation.measuring.finished_runs import read_run
from sightline.evaluation.mistakes import mistakes
from sightline.quality.labels.doubts import MOST_SHOWN, NUM_NEAREST
from sightline.reporting.pages.sections.maps import STEPS


@pytest.fixture
def judged(run_copy: Path) -> Judged:
    finished = read_run(run_copy)
    return Judged(finished, "test", mistakes(finished).dataset, "")


def _counting(monkeypatch: pytest.MonkeyPatch, *sections: KeptSection) -> None:
    monkeypatch.setattr(kept_sections, "SECTIONS", sections)


def _section(calls: list[str], name: str = "slices", **options: Any) -> KeptSection:
    def compute(_: Judged) -> dict[str, Any]:
        calls.append(name)
        return {"number": len(calls)}

    return KeptSection(name, "Title", "It would tell.", compute, lambda told, _: f"number {told['number']}", **options)


def test_what_was_computed_is_kept_and_not_computed_again(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    _counting(monkeypatch, _section(calls))
    ((_, _, body),) = sections_of(judged)
    assert f"sightline report {judged.finished.path} --full" in body
    for _ in range(2):
        assert list(sections_of(judged, is_full=True)) == [("slices", "Title", "number 1")]
    assert list(sections_of(judged)) == [("slices", "Title", "number 1")]
    assert calls == ["slices"]


@pytest.mark.parametrize("changed", ["bundle/manifest.json", "splits.csv", "images", "method"])
def test_what_is_of_something_else_is_computed_anew(
    judged: Judged, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    calls: list[str] = []
    _counting(monkeypatch, _section(calls), _section(calls, "labels", depends_on_bundle=False))
    list(sections_of(judged, is_full=True))
    if changed == "images":
        assert judged.dataset is not None
        judged = Judged(judged.finished, "test", dataclasses.replace(judged.dataset, fingerprint="other"), "")
    elif changed == "method":
        _counting(monkeypatch, _section(calls, method=2), _section(calls, "labels", method=2, depends_on_bundle=False))
    else:
        path = judged.finished.path / changed
        path.write_bytes(path.read_bytes() + b"\n")
    told = [body for _, _, body in sections_of(judged)]
    assert "another bundle, or of other images" in told[0]
    list(sections_of(judged, is_full=True))
    assert calls == ["slices", "labels", "slices", *["labels"] * (changed != "bundle/manifest.json")]


def test_an_interruption_keeps_what_was_finished_and_says_so(
    judged: Judged, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    def interrupted(_: Judged) -> dict[str, Any]:
        raise KeyboardInterrupt

    broken = KeptSection("labels", "Title", "It would tell.", interrupted, lambda *_: "")
    _counting(monkeypatch, _section(calls), broken)
    with pytest.raises(KeyboardInterrupt):
        list(sections_of(judged, is_full=True))
    assert "what was finished is kept" in capsys.readouterr().err
    first, second = (body for _, _, body in sections_of(judged))
    assert (first, "Not computed yet" in second) == ("number 1", True)


@pytest.mark.parametrize("content", ["", "[]", '{"made_from": 1}', "{" * 99, '{"made_from": {}, "content": {}}'])
def test_a_damaged_file_is_computed_anew(judged: Judged, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    _counting(monkeypatch, _section(calls))
    (judged.finished.path / FOLDER).mkdir()
    (judged.finished.path / FOLDER / "slices.json").write_text(content, encoding="utf-8")
    assert "--full" in next(sections_of(judged))[2]
    assert next(sections_of(judged, is_full=True))[2] == "number 1"


def test_without_images_a_section_says_so_and_what_is_kept_is_shown(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    _counting(monkeypatch, _section(calls))
    away = Judged(judged.finished, "test", None, "the images are not at hand")
    assert "not at hand" in next(sections_of(away, is_full=True))[2]
    list(sections_of(judged, is_full=True))
    assert next(sections_of(away))[2] == "number 1"
    assert calls == ["slices"]


def test_sections_hold_what_the_commands_tell(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_sections, "STRESSED_IMAGES", 10)
    monkeypatch.setattr(kept_sections, "STRESSED_SEVERITIES", (3,))
    of_test = {row_id: split for row_id, split in judged.finished.splits.items() if split == "test"}
    judged = dataclasses.replace(judged, finished=dataclasses.replace(judged.finished, splits=of_test))
    list(sections_of(judged, is_full=True))
    kept = {
        section.name: json.loads((judged.finished.path / FOLDER / f"{section.name}.json").read_text(encoding="utf-8"))
        for section in SECTIONS
    }
    finished, dataset = judged.finished, judged.dataset
    assert dataset is not None
    slices = {one["name"]: one for one in kept["slices"]["content"]["slices"]}
    told = sightline.evaluate(finished.bundle, dataset, split="test", slices=True).slices
    assert told is not None
    assert {one.name: (one.num_images, one.num_wrong) for one in told} == {
        name: (one["num_images"], one["num_wrong"]) for name, one in slices.items()
    }
    assert kept["robustness"]["content"]["num_images"] == 10
    labels = kept["labels"]["content"]
    given = dict(zip(dataset.row_ids.tolist(), dataset.named(), strict=True))
    assert labels["num_judged"] == sum(bool(split) for split in finished.splits.values())
    assert labels["num_wrong_answers"] == sum(row.is_wrong for row in mistakes(finished).rows)
    for entry in labels["listed"]:
        assert given[entry["file"]] == entry["given"] != entry["suggested"]
        assert finished.splits[entry["file"]] == entry["split"]
        assert {given[name] for name in entry["nearest_given"]} <= {entry["given"]}
        assert {given[name] for name in entry["nearest_suggested"]} <= {entry["suggested"]}


def test_the_command_computes_once_and_a_plain_report_shows_it(
    command: Callable[..., Any], run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    _counting(monkeypatch, _section(calls))
    assert command("report", run_copy, "--full").code == 0
    assert command("report", run_copy).code == 0
    page = (run_copy / "report.html").read_text(encoding="utf-8")
    assert "number 1" in page
    assert 'href="#slices"' in page
    assert calls == ["slices"]


def test_maps_of_the_surest_wrong_answers_are_kept_and_stand_beside_them(run_copy: Path) -> None:
    finished = read_run(run_copy)
    found = mistakes(finished)
    surest = tuple(row.row_id for row in found.rows[:4])
    judged = Judged(finished, "test", found.dataset, "", surest)
    assert maps_of(judged)[0] == {}
    assert "--full" in maps_of(judged)[1]
    maps, about = maps_of(judged, is_full=True)
    assert list(maps) == list(surest)
    assert "one scale for all" in about
    assert maps_of(judged) == (maps, about)
    kept = json.loads((run_copy / FOLDER / "maps.json").read_text(encoding="utf-8"))["content"]["maps"]
    largest = max(abs(value) for one in kept for line in one["values"] for value in line)
    assert 0.7 * STEPS <= largest <= STEPS
    page = sightline.report(run_copy).read_text(encoding="utf-8")
    assert page.count('alt="map of ') == 4
    assert maps_of(Judged(finished, "test", None, "", surest))[0] == {}, "they are drawn on the images"


def test_a_run_without_wrong_answers_has_no_maps(judged: Judged) -> None:
    assert maps_of(judged, is_full=True) == ({}, "")


def test_what_cannot_be_computed_says_why_and_the_others_are_there(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_sections, "SECTIONS", SECTIONS[:2])
    few = dict(list(judged.finished.splits.items())[:9])
    judged = dataclasses.replace(judged, finished=dataclasses.replace(judged.finished, splits=few))
    (_, _, parts), (_, _, labels) = sections_of(judged, is_full=True)
    assert "<table" in parts
    assert "It cannot be computed: doubtful labels: two classes of at least 10 images" in labels


def test_of_images_that_are_gone_the_others_are_told(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_sections, "SECTIONS", SECTIONS[:1])
    assert judged.dataset is not None
    left = np.flatnonzero(judged.rows(list(judged.finished.predictions["test"].given)) >= 0)[:150]
    rows = judged.rows(list(judged.finished.predictions["test"].given))[left]
    ((_, _, body),) = sections_of(dataclasses.replace(judged, dataset=judged.dataset.take(rows)), is_full=True)
    assert "<table" in body
    nothing = dataclasses.replace(judged, dataset=judged.dataset.take(judged.rows(list(judged.finished.splits))[:5]))
    (judged.finished.path / FOLDER / "slices.json").unlink()
    ((_, _, body),) = sections_of(nothing, is_full=True)
    assert "none of the images that were judged is there" in body


def test_a_run_that_nothing_judged_has_doubtful_labels_alone(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_sections, "SECTIONS", (SECTIONS[0], SECTIONS[2]))
    bodies = [body for _, _, body in sections_of(dataclasses.replace(judged, split=None), is_full=True)]
    assert all("It cannot be computed: the run kept no answers" in body for body in bodies)
    assert not any((judged.finished.path / FOLDER).iterdir())


@pytest.mark.parametrize("link", ["report", "report/labels.json", "report/maps.json"])
def test_nothing_is_written_through_a_link_and_nothing_computed_before_that_is_known(
    judged: Judged, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    _counting(monkeypatch, _section(calls), _section(calls, "labels"))
    run = judged.finished.path
    elsewhere, precious = run.parent / "elsewhere", run.parent / "precious.json"
    elsewhere.mkdir()
    precious.write_text("{}", encoding="utf-8")
    (run / link).parent.mkdir(exist_ok=True)
    (run / link).symlink_to(elsewhere if link == "report" else precious)
    with pytest.raises(OutputExists, match=f"{link} is a link, and a run may come from somebody else. Remove it."):
        sightline.report(run, full=True)
    assert (calls, list(elsewhere.iterdir()), precious.read_text(encoding="utf-8")) == ([], [], "{}")
    assert list(sections_of(judged)), "a page that computes nothing is free"


@pytest.mark.parametrize("place", ["report", "report/slices.json"])
def test_where_nothing_can_be_kept_nothing_is_computed(
    judged: Judged, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    _counting(monkeypatch, _section(calls))
    taken = judged.finished.path / place
    if place == "report":
        taken.write_text("mine", encoding="utf-8")
    else:
        taken.mkdir(parents=True)
    with pytest.raises(OutputExists, match=f"{place} is no .*Move it away"):
        list(sections_of(judged, is_full=True))
    assert not calls
    assert taken.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_of_a_run_that_is_read_only_nothing_is_computed(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    _counting(monkeypatch, _section(calls))
    judged.finished.path.chmod(0o500)
    try:
        with pytest.raises(CannotWrite, match="report: no permission to write there"):
            list(sections_of(judged, is_full=True))
    finally:
        judged.finished.path.chmod(0o700)
    assert not calls


def _keep(judged: Judged, section: KeptSection, content: Any) -> None:
    (judged.finished.path / FOLDER).mkdir(exist_ok=True)
    kept = {"made_from": section.made_from(judged), "content": content}
    (judged.finished.path / FOLDER / f"{section.name}.json").write_text(json.dumps(kept), encoding="utf-8")


def test_a_plot_of_no_levels_is_told_as_damage(judged: Judged) -> None:
    level = {"corruption": "fog", "accuracy": 0.5, "interval": [0.4, 0.6]}
    clean = {"accuracy": 0.9, "interval": [0.8, 1.0]}
    told = {"clean": clean, "mean": level, "worst": level, "relative_drop": 0.4, "num_images": 9}
    _keep(judged, SECTIONS[2], {**told, "corruptions": [level], "levels": []})
    assert "What is kept of it cannot be read" in list(sections_of(judged))[2][2]


def test_of_a_list_of_doubts_no_more_is_drawn_than_ours_show(judged: Judged) -> None:
    assert judged.dataset is not None
    names = judged.dataset.row_ids[:40].tolist()
    entry = {"given": "a", "suggested": "b", "doubt": 0.5, "split": "test"}
    listed = [{**entry, "file": name, "nearest_given": names, "nearest_suggested": names} for name in names]
    counts = {"num_judged": 99, "not_judged": [], "believed": "far", "num_wrong_answers": 0, "num_wrong_listed": 0}
    _keep(judged, SECTIONS[1], {**counts, "listed": listed})
    body = list(sections_of(judged))[1][2]
    assert (body.count('class="doubt"'), body.count("<img")) == (MOST_SHOWN, MOST_SHOWN * (1 + 2 * NUM_NEAREST))
    assert "40 labels" in body


def test_only_maps_of_the_surest_wrong_answers_are_drawn(judged: Judged) -> None:
    assert judged.dataset is not None
    names = judged.dataset.row_ids[:9].tolist()
    judged = dataclasses.replace(judged, surest=(names[2],))
    maps = [{"file": name, "words": "in the middle", "values": [[1]]} for name in names + names]
    _keep(judged, kept_sections.MAPS, {"about": "told", "maps": maps})
    assert list(maps_of(judged)[0]) == [names[2]]
