"""Nothing outside the studio's folder is named, and every word of a command is what it was meant as."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightline.deployment.workshop.commands import COMMANDS, asked_of
from sightline.deployment.workshop.folders import Root, list_folder
from sightline.deployment.workshop.jobs import HERE
from sightline.errors import InvalidValue, UnknownName


@pytest.fixture
def root(tmp_path: Path) -> Root:
    (tmp_path / "outside").mkdir()
    (tmp_path / "pictures" / "birds").mkdir(parents=True)
    (tmp_path / "pictures" / "way-out").symlink_to(tmp_path / "outside")
    (tmp_path / "pictures" / "again").symlink_to(tmp_path / "pictures" / "birds")
    return Root(tmp_path / "pictures")


@pytest.mark.parametrize(
    "named",
    [
        *("..", "../outside", "birds/../../outside", "/etc", "way-out", "way-out/new", "a\0b", None, 7, "x" * 5000),
        *("\ud800", "birds/\udfff", "x" * 256, "猫" * 86),
    ],
)
def test_a_path_that_leads_out_is_refused(root: Root, named: object) -> None:
    with pytest.raises(InvalidValue, match=r"outside the folder|below the studio's folder"):
        root.inside(named)


def test_paths_within_are_found_and_named_as_they_were(root: Root) -> None:
    assert root.name_of(root.inside("birds/new")) == "birds/new"
    assert root.name_of(root.inside("")) == ""
    assert root.name_of(root.inside("again")) == "birds"


@pytest.mark.parametrize(
    ("named", "word"),
    [
        ("birds", "birds"),
        ("", "."),
        ("--html=x", "./--html=x"),
        ("~root", "./~root"),
        ("mnist", "./mnist"),
        ("imagenet", "./imagenet"),
    ],
)
def test_a_folder_is_never_taken_for_an_option_or_a_data_set(root: Root, named: str, word: str) -> None:
    assert root.word_of(root.inside(named)) == word


def test_a_folder_is_listed_without_what_is_hidden_and_what_leads_out(root: Root) -> None:
    for name in ("1.JPG", "2.png", ".3.png"):
        (root.place / "birds" / name).write_bytes(b"")
    (root.place / "birds" / "small").mkdir()
    for name in (".hidden", "labels.csv", "all.zip", "notes.txt"):
        (root.place / name).write_bytes(b"")
    found = list_folder(root, "")
    assert found["folders"] == [
        {"name": "again", "path": "again", "num_folders": 1, "num_images": 2},
        {"name": "birds", "path": "birds", "num_folders": 1, "num_images": 2},
    ]
    assert [file["name"] for file in found["files"]] == ["all.zip", "labels.csv"]
    assert list_folder(root, "birds")["num_images"] == 2


def test_what_cannot_be_listed_is_refused_in_words(root: Root) -> None:
    with pytest.raises(InvalidValue, match="cannot be looked into"):
        list_folder(root, "birds/nothing")


def test_each_command_says_what_would_be_typed(root: Root) -> None:
    (root.place / "runs" / "birds-fast-001").mkdir(parents=True)
    run = {"run": "runs/birds-fast-001"}
    sort = {**run, "source": "birds", "into": "sorted", "by": "move", "min_confidence": 0.5}
    asked = {
        "audit": {"source": "birds", "labels": True},
        "train": {"source": "birds", "recipe": "fast", "minutes": 2},
        "resume": run,
        "mistakes": run,
        "report": {**run, "full": True},
        "plan": sort,
        "sort": sort,
        "undo": {"into": "sorted"},
        "export": {**run, "format": "onnx"},
    }
    told = {kind: " ".join(asked_of(root, kind, choices).arguments) for kind, choices in asked.items()}
    sorting = "sort runs/birds-fast-001 birds --into sorted --by move --min-confidence 0.5"
    assert told == {
        "audit": "audit birds --labels",
        "train": "train birds --recipe fast --time-budget 120 --out runs/birds-fast-002",
        "resume": "resume runs/birds-fast-001",
        "mistakes": "mistakes runs/birds-fast-001",
        "report": "report runs/birds-fast-001 --full",
        "plan": f"{sorting} --dry-run --page {HERE}/plan.html",
        "sort": sorting,
        "undo": "sort --undo sorted",
        "export": "export runs/birds-fast-001 onnx",
    }
    assert set(told) == set(COMMANDS) - {"answers"}  # which asks what the bundle of the run can promise


def test_nothing_is_trained_into_runs_that_lead_out(root: Root) -> None:
    (root.place / "runs").symlink_to(root.place.parent / "outside")
    with pytest.raises(InvalidValue, match="outside the folder"):
        asked_of(root, "train", {"source": "birds", "recipe": "fast"})


@pytest.mark.parametrize(
    ("kind", "choices"),
    [
        ("rm", {}),
        (None, {}),
        ("audit", {}),
        ("audit", {"source": "gone"}),
        ("train", {"source": "birds", "recipe": "../x.json"}),
        ("train", {"source": "birds", "recipe": "fast", "minutes": float("nan")}),
        ("train", {"source": "birds", "recipe": "fast", "minutes": "1; reboot"}),
        ("train", {"source": "birds", "recipe": "fast", "minutes": True}),
        ("resume", {"run": "birds"}),
        ("report", {"run": "runs/../birds"}),
        ("sort", {"run": "birds", "source": "birds", "into": "sorted"}),
        ("export", {"run": "runs/none", "format": "onnx"}),
    ],
)
def test_a_choice_that_is_none_starts_nothing(root: Root, kind: object, choices: dict[str, object]) -> None:
    with pytest.raises((InvalidValue, UnknownName)):
        asked_of(root, kind, choices)
