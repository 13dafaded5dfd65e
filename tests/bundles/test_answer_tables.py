"""The table of answers grows beside its place, and what is done is kept whatever ends it."""

from __future__ import annotations

import csv
import json
import os
import stat
from pathlib import Path

import pytest

from sightline.bundles.answer_tables import AnswerTable
from sightline.errors import CannotWrite, OutputExists


def answer(path, label="cat", error=None):
    top = [] if error else [{"label": label, "confidence": 0.75}, {"label": "dog", "confidence": 0.25}]
    first = top[0] if top else {"label": None, "confidence": None}
    return {"path": str(path), **first, "top": top, "error": error}


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_table_stands_in_its_place_only_when_it_is_whole(tmp_path):
    place = tmp_path / "new" / "a.csv"
    with AnswerTable(place, most_classes=2) as table:
        table.add([answer("1.png")])
        assert not place.exists()
        table.add([answer("2.png", error="2.png: no such file.")])
    assert [path.name for path in place.parent.iterdir()] == ["a.csv"]
    first, second = rows_of(place)
    assert first == {
        "path": "1.png",
        "label": "cat",
        "confidence": "0.75",
        "label_2": "dog",
        "confidence_2": "0.25",
        "notice": "",
        "error": "",
    }
    assert (second["path"], second["label"], second["error"]) == ("2.png", "", "2.png: no such file.")


def test_an_interruption_keeps_what_is_done_and_says_what_it_was_done_from(tmp_path):
    place = tmp_path / "a.csv"
    place.write_text("older")
    (tmp_path / "1.png").write_bytes(b"12345")
    table = AnswerTable(place, most_classes=2, asked={"top": 2})

    def stopped_after_two():
        with table:
            table.add([answer(tmp_path / "1.png"), answer(tmp_path / "gone.png")])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_after_two()
    assert place.read_text() == "older"
    partial = tmp_path / "a.csv.partial"
    assert [row["label"] for row in rows_of(partial)] == ["cat", "cat"]
    asked, done = map(json.loads, (tmp_path / "a.csv.partial.jsonl").read_text().splitlines())
    assert asked == {"top": 2}
    assert (done["rows"], done["bytes"]) == (2, partial.stat().st_size)
    assert done["files"] == [[5, (tmp_path / "1.png").stat().st_mtime_ns], None]


def test_what_an_interruption_kept_is_lost_only_if_its_user_says_so(tmp_path):
    place = tmp_path / "a.csv"
    (tmp_path / "a.csv.partial").write_text("hours of work")
    with pytest.raises(OutputExists, match=r"a\.csv\.partial holds answers"), AnswerTable(place, most_classes=1):
        pass
    assert (tmp_path / "a.csv.partial").read_text() == "hours of work"
    with AnswerTable(place, most_classes=1, overwrite=True) as table:
        table.add([answer("1.png")])
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_what_ends_before_the_first_answer_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), AnswerTable(tmp_path / "a.csv", most_classes=1):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="permissions and links of POSIX")
def test_permissions_links_and_devices_stay_what_they_are(tmp_path):
    real = tmp_path / "real.csv"
    real.touch(mode=0o600)
    (tmp_path / "a.csv").symlink_to(real)
    with AnswerTable(tmp_path / "a.csv", most_classes=1) as table:
        table.add([answer("1.png")])
        assert stat.S_IMODE((tmp_path / "real.csv.partial").stat().st_mode) == 0o600
    assert (tmp_path / "a.csv").is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert len(rows_of(real)) == 1
    with AnswerTable(tmp_path / "null", most_classes=1) as table:
        table.add([answer("1.png")])
    (tmp_path / "device").symlink_to(os.devnull)
    with AnswerTable(tmp_path / "device", most_classes=1) as table:
        table.add([answer("1.png")])
    assert not (tmp_path / "device.partial").exists()


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="a shell of this system has no such pipes")
def test_the_pipe_of_a_shell_is_written_to_though_it_has_no_other_path():
    reading, writing = os.pipe()
    with AnswerTable(Path(f"/dev/fd/{writing}"), most_classes=1) as table:
        table.add([answer("a.png")])
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read().startswith(b"path,label,confidence")


def test_the_share_of_members_that_disagree_has_a_column_where_there_are_members(tmp_path):
    for name, is_given in (("a.csv", True), ("b.csv", False)):
        with AnswerTable(tmp_path / name, most_classes=1) as table:
            table.add([answer("1.png", error="unreadable")], asked_for=["disagreement"] * is_given)
            table.add(
                [answer("2.png") | ({"disagreement": 0.5} if is_given else {})], asked_for=["disagreement"] * is_given
            )
        assert ("disagreement" in rows_of(tmp_path / name)[1]) is is_given


@pytest.mark.skipif(os.name == "nt", reason="what is open cannot be removed there")
def test_a_table_that_another_command_is_writing_is_not_taken_from_it(tmp_path):
    place = tmp_path / "a.csv"
    with AnswerTable(place, most_classes=1) as first:
        first.add([answer("1.png")])
        second = AnswerTable(place, most_classes=1, overwrite=True)
        with pytest.raises(OutputExists, match="another command is writing it"), second:
            pass
        first.add([answer("2.png")])
    assert [row["path"] for row in rows_of(place)] == ["1.png", "2.png"]


@pytest.mark.skipif(os.name == "nt", reason="what is open cannot be removed there")
def test_what_took_the_place_of_the_answers_meanwhile_is_not_taken_for_them(tmp_path):
    place, partial = tmp_path / "a.csv", tmp_path / "a.csv.partial"

    def replaced_meanwhile():
        with AnswerTable(place, most_classes=1) as table:
            table.add([answer("1.png")])
            partial.unlink()
            partial.write_text("of somebody else")

    with pytest.raises(CannotWrite, match="replaced meanwhile"):
        replaced_meanwhile()
    assert not place.exists()
    assert partial.read_text() == "of somebody else"


def test_a_note_of_the_users_own_is_not_replaced_unasked(tmp_path):
    note = tmp_path / "a.csv.partial.jsonl"
    note.write_text("mine")
    with pytest.raises(OutputExists, match=r"a\.csv\.partial\.jsonl"), AnswerTable(tmp_path / "a.csv", most_classes=1):
        pass
    assert note.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [note.name]
