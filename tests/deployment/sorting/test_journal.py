"""A journal is read as it was written, and one of other hands is refused before a file is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sightline.deployment.sorting.journal import (
    Journal,
    Step,
    Told,
    journals_in,
    mark_finished,
    next_journal,
    read_journal,
    set_aside,
    write_journal,
)
from sightline.errors import InvalidSource

TOLD = Told({"cat": 2}, 1, [("link.jpg", "it is a link")])


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    into = (tmp_path / "into").resolve()
    steps = [Step("a\udcff.jpg", "cat/a.jpg", 3, 10**18), Step("b\n.jpg", "cat/b.jpg", 4, 5)]
    found = Journal(
        next_journal(into),
        tmp_path.resolve() / "photos",
        into,
        "move",
        {"top": 1},
        ["cat"],
        steps,
        is_new=True,
        told=TOLD,
    )
    write_journal(found)
    return found


def test_it_is_read_as_it_was_written(journal: Journal) -> None:
    assert read_journal(journal.path) == journal
    mark_finished(journal)
    assert read_journal(journal.path).is_finished
    assert journals_in(journal.into) == [journal.path]
    assert next_journal(journal.into).name == ".sightline-sort-002.jsonl"


def test_one_that_was_cut_off_says_so_and_a_torn_end_is_passed_over(journal: Journal) -> None:
    whole = journal.path.read_bytes()
    with journal.path.open("ab") as stream:
        stream.write(b'{"fin')
    assert not read_journal(journal.path).is_finished
    lines = whole.splitlines(keepends=True)
    for cut in (
        b"",
        whole[:20],
        lines[0],
        b"".join(lines[:2]),
        b"".join(lines[:-1]),
        b"".join([*lines[:2], *lines[3:]]),
    ):
        journal.path.write_bytes(cut)
        with pytest.raises(InvalidSource, match="this journal cannot be read"):
            read_journal(journal.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"made_by": "me"}, "was not written by Sightline"),
        ({"by": "shred"}, "was not written by Sightline"),
        ({"source": "photos"}, "was not written by Sightline"),
        ({"into": "/elsewhere"}, "was written for /elsewhere"),
        ({"folders": ["../.ssh"]}, r"names \.\./\.ssh, which lies outside"),
        ({"folders": 3}, "cannot be read"),
        ({"folders": ["\ud800"]}, "lies outside"),
        *(({"told": told}, "cannot be read") for told in ({}, 3, {"counts": "x", "num_unreadable": 0, "left": []})),
    ],
)
def test_one_of_other_hands_is_refused(journal: Journal, change: dict[str, object], message: str) -> None:
    head, *rest = journal.path.read_text().splitlines()
    journal.path.write_text("\n".join([json.dumps(json.loads(head) | change), *rest]) + "\n")
    with pytest.raises(InvalidSource, match=message):
        read_journal(journal.path)


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/passwd", "cat/../../a.jpg", "", "a\0b"])
@pytest.mark.parametrize("end", ["from", "to"])
def test_a_step_that_leads_out_is_refused(journal: Journal, name: str, end: str) -> None:
    lines = journal.path.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {end: name})
    journal.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InvalidSource, match="lies outside"):
        read_journal(journal.path)


def test_a_number_without_end_is_no_size(journal: Journal) -> None:
    journal.path.write_text(journal.path.read_text().replace('"bytes": 3', '"bytes": 1e999'))
    with pytest.raises(InvalidSource, match="cannot be read"):
        read_journal(journal.path)


def test_one_that_was_set_aside_keeps_its_number(journal: Journal) -> None:
    set_aside(journal)
    assert journals_in(journal.into) == []
    assert next_journal(journal.into).name == ".sightline-sort-002.jsonl"
