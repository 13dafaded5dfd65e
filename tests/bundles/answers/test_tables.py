"""The table of answers grows beside its place, and what is done is kept whatever ends it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import stat
from pathlib import Path

import pytest

from sightline.bundles.answers.formats import Columns
from sightline.bundles.answers.tables import AnswerTable
from sightline.errors import CannotWrite, InvalidValue, OutputExists


def answer(path, label="cat", error=None):
    top = [] if error else [{"label": label, "confidence": 0.75}, {"label": "dog", "confidence": 0.25}]
    first = top[0] if top else {"label": None, "confidence": None}
    return {"path": str(path), **first, "top": top, "error": error}


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_table_stands_in_its_place_only_when_it_is_whole(tmp_path):
    place = tmp_path / "new" / "a.csv"
    with AnswerTable(place, columns=Columns(2)) as table:
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
    table = AnswerTable(place, columns=Columns(2), asked={"top": 2})

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


def stopped(place: Path, *names: str, asked: dict | None = None, form: str = "csv") -> None:
    with (
        contextlib.suppress(KeyboardInterrupt),
        AnswerTable(place, columns=Columns(1), asked=asked, form=form) as table,
    ):
        for name in names:
            table.add([answer(name)])
        raise KeyboardInterrupt


def test_what_is_no_table_of_ours_is_lost_only_if_its_user_says_so(tmp_path):
    place = tmp_path / "a.csv"
    (tmp_path / "a.csv.partial").write_text("hours of work")
    with pytest.raises(OutputExists, match=r"a\.csv\.partial holds answers"), AnswerTable(place, columns=Columns(1)):
        pass
    assert (tmp_path / "a.csv.partial").read_text() == "hours of work"
    with AnswerTable(place, columns=Columns(1), overwrite=True) as table:
        table.add([answer("1.png")])
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_stopped_table_is_gone_on_with_and_ends_as_one_that_was_not(tmp_path, form):
    whole, place = tmp_path / f"whole.{form}", tmp_path / f"a.{form}"
    with AnswerTable(whole, columns=Columns(1), form=form) as table:
        for name in ("1.png", "2.png", "3.png"):
            table.add([answer(name)])
    stopped(place, "1.png", "2.png", form=form)
    # What was written and not noted yet, as a process that is killed leaves it.
    with (tmp_path / f"a.{form}.partial").open("ab") as stream:
        stream.write(b"half a li")
    with (tmp_path / f"a.{form}.partial.jsonl").open("ab") as stream:
        stream.write(b'{"rows": 3, "by')
    with AnswerTable(place, columns=Columns(1), form=form) as table:
        assert table.num_rows == 2
        assert table.kept.stamp(0) is None
        assert table.pass_over(["1.png", "2.png"])
        table.add([answer("3.png")])
        assert table.tally.classes == {"cat": 3}
    assert place.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([place.name, whole.name])


def test_a_note_that_goes_on_behind_a_half_line_is_read_to_its_end(tmp_path):
    place = tmp_path / "a.csv"
    stopped(place, "1.png")
    with (tmp_path / "a.csv.partial.jsonl").open("ab") as stream:
        stream.write(b'{"rows"')
    stopped(place, "2.png")
    with AnswerTable(place, columns=Columns(1)) as table:
        assert table.num_rows == 2


def test_a_table_is_gone_on_with_only_where_the_same_is_asked(tmp_path):
    place = tmp_path / "a.csv"
    stopped(place, "1.png", asked={"top": 1, "invert": False})
    with (
        pytest.raises(OutputExists, match=r"invert was false and is true; coverage was null and is 0\.9"),
        AnswerTable(place, columns=Columns(1), asked={"top": 1, "invert": True, "coverage": 0.9}),
    ):
        pass
    assert rows_of(tmp_path / "a.csv.partial")[0]["path"] == "1.png"


def test_other_names_are_noticed(tmp_path):
    stopped(tmp_path / "a.csv", "1.png", "2.png")
    with AnswerTable(tmp_path / "a.csv", columns=Columns(1)) as table:
        assert not table.pass_over(["1.png", "3.png"])


NOTED = {"rows": 2, "bytes": 60, "names": "", "files": [[1, 2]], "asked_for": [], "tally": {"classes": {}, "flags": {}}}


@pytest.mark.parametrize(
    "line",
    [
        *("[]", "\0", '{"rows": -1}'),
        *(json.dumps(NOTED | change) for change in ({"bytes": -5}, {"bytes": 1e9}, {"bytes": 10**9}, {"rows": 3})),
        *(json.dumps(NOTED | change) for change in ({"files": [[1]]}, {"tally": 3}, {"asked_for": None})),
    ],
)
def test_a_note_of_a_stranger_is_taken_as_far_as_it_is_one(tmp_path, line):
    place = tmp_path / "a.csv"
    stopped(place, "1.png")
    with (tmp_path / "a.csv.partial.jsonl").open("a") as stream:
        stream.write(f"{line}\n")
    with AnswerTable(place, columns=Columns(1)) as table:
        assert table.num_rows == 1


@pytest.mark.skipif(os.name == "nt", reason="what is open cannot be removed there")
def test_a_table_that_another_command_is_writing_is_not_gone_on_with(tmp_path):
    place = tmp_path / "a.csv"
    with AnswerTable(place, columns=Columns(1)) as first:
        first.add([answer("1.png")])
        with pytest.raises(OutputExists, match="another command is writing it"), AnswerTable(place, columns=Columns(1)):
            pass
        first.add([answer("2.png")])
    assert len(rows_of(place)) == 2


def test_parquet_holds_what_the_lines_hold(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    place = tmp_path / "a.parquet"
    shares = {"probabilities": {"cat": 0.75, "dog": 0.25}, "set": ["cat"], "unsure": False, "features": [0.5, 1.5]}
    extra = ("set", "unsure", "features")
    with AnswerTable(place, columns=Columns(2, ("cat", "dog")), form="parquet") as table:
        table.add([answer("1.png") | shares], asked_for=extra)
        nothing = dict.fromkeys(shares)
        table.add([answer("\udcff.png", error="no such file.") | nothing], asked_for=extra)
    first, second = parquet.read_table(place).to_pylist()
    assert first["path"], first["set"] == ("1.png", ["cat"])
    assert (first["unsure"], first["features"], first["probabilities"]) == (False, [0.5, 1.5], [0.75, 0.25])
    assert (second["path"], second["label"], second["error"]) == (r"\xff.png", None, "no such file.")
    assert json.loads(parquet.read_schema(place).metadata[b"sightline.classes"]) == ["cat", "dog"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_probabilities_have_a_column_each(tmp_path):
    with AnswerTable(tmp_path / "a.csv", columns=Columns(2, ("cat", "=dog"))) as table:
        table.add([answer("1.png") | {"probabilities": {"cat": 0.75, "=dog": 0.25}}])
    (row,) = rows_of(tmp_path / "a.csv")
    assert (row["probability of cat"], row["probability of =dog"]) == ("0.75", "0.25")


def test_what_ends_before_the_first_answer_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), AnswerTable(tmp_path / "a.csv", columns=Columns(1)):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="permissions and links of POSIX")
def test_permissions_links_and_devices_stay_what_they_are(tmp_path):
    real = tmp_path / "real.csv"
    real.touch(mode=0o600)
    (tmp_path / "a.csv").symlink_to(real)
    with AnswerTable(tmp_path / "a.csv", columns=Columns(1)) as table:
        table.add([answer("1.png")])
        assert stat.S_IMODE((tmp_path / "real.csv.partial").stat().st_mode) == 0o600
    assert (tmp_path / "a.csv").is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert len(rows_of(real)) == 1
    with AnswerTable(tmp_path / "null", columns=Columns(1)) as table:
        table.add([answer("1.png")])
    (tmp_path / "device").symlink_to(os.devnull)
    with AnswerTable(tmp_path / "device", columns=Columns(1)) as table:
        table.add([answer("1.png")])
    assert not (tmp_path / "device.partial").exists()


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="a shell of this system has no such pipes")
def test_the_pipe_of_a_shell_is_written_to_though_it_has_no_other_path():
    reading, writing = os.pipe()
    with AnswerTable(Path(f"/dev/fd/{writing}"), columns=Columns(1)) as table:
        table.add([answer("a.png")])
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read().startswith(b"path,label,confidence")


def test_the_share_of_members_that_disagree_has_a_column_where_there_are_members(tmp_path):
    for name, is_given in (("a.csv", True), ("b.csv", False)):
        with AnswerTable(tmp_path / name, columns=Columns(1)) as table:
            table.add([answer("1.png", error="unreadable")], asked_for=["disagreement"] * is_given)
            table.add(
                [answer("2.png") | ({"disagreement": 0.5} if is_given else {})], asked_for=["disagreement"] * is_given
            )
        assert ("disagreement" in rows_of(tmp_path / name)[1]) is is_given


@pytest.mark.skipif(os.name == "nt", reason="what is open cannot be removed there")
def test_a_table_that_another_command_is_writing_is_not_taken_from_it(tmp_path):
    place = tmp_path / "a.csv"
    with AnswerTable(place, columns=Columns(1)) as first:
        first.add([answer("1.png")])
        second = AnswerTable(place, columns=Columns(1), overwrite=True)
        with pytest.raises(OutputExists, match="another command is writing it"), second:
            pass
        first.add([answer("2.png")])
    assert [row["path"] for row in rows_of(place)] == ["1.png", "2.png"]


@pytest.mark.skipif(os.name == "nt", reason="what is open cannot be removed there")
def test_what_took_the_place_of_the_answers_meanwhile_is_not_taken_for_them(tmp_path):
    place, partial = tmp_path / "a.csv", tmp_path / "a.csv.partial"

    def replaced_meanwhile():
        with AnswerTable(place, columns=Columns(1)) as table:
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
    with (
        pytest.raises(OutputExists, match=r"a\.csv\.partial\.jsonl"),
        AnswerTable(tmp_path / "a.csv", columns=Columns(1)),
    ):
        pass
    assert note.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [note.name]


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")
def test_nothing_is_written_through_a_link_that_somebody_laid_there(tmp_path):
    for ending in (".partial", ".partial.jsonl"):
        (tmp_path / f"a.csv{ending}").symlink_to(tmp_path / "elsewhere")
        with (
            pytest.raises(OutputExists, match="no table that can be gone on with"),
            AnswerTable(tmp_path / "a.csv", columns=Columns(1)),
        ):
            pass
        with AnswerTable(tmp_path / "a.csv", columns=Columns(1), overwrite=True) as table:
            table.add([answer("1.png")])
        assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
        (tmp_path / "a.csv").unlink()


def test_what_somebody_put_in_its_place_meanwhile_stays(tmp_path):
    place = tmp_path / "a.csv"

    def overtaken():
        with AnswerTable(place, columns=Columns(1)) as table:
            table.add([answer("1.png")])
            place.write_text("precious")

    with pytest.raises(OutputExists, match="made by somebody else meanwhile"):
        overtaken()
    assert place.read_text() == "precious"
    place.unlink()
    with AnswerTable(place, columns=Columns(1)) as table:
        assert table.num_rows == 1
    assert len(rows_of(place)) == 1


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")
def test_what_cannot_be_written_as_it_comes_goes_into_no_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.parquet")
    with (
        pytest.raises(InvalidValue, match="a pipe or a device takes lines"),
        AnswerTable(tmp_path / "a.parquet", columns=Columns(1), form="parquet"),
    ):
        pass
