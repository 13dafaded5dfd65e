"""A command writes onto nothing that it reads, and onto no file of another kind."""

from __future__ import annotations

import pytest

from sightline.cli.targets import check_target, unused
from sightline.errors import InvalidValue, OutputExists


def test_what_a_command_reads_is_never_a_target(tmp_path):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n")
    for target in (table, tmp_path / "photos" / "cat" / "new.csv", tmp_path / "photos"):
        with pytest.raises(InvalidValue, match="never changed"):
            check_target("--csv", target, ".csv", keep=[tmp_path / "photos", table])
    assert table.read_text() == "path,label\n"


def test_only_an_older_file_of_the_same_kind_is_overwritten(tmp_path):
    (tmp_path / "holiday.png").write_bytes(b"a picture")
    (tmp_path / "old.csv").write_text("a")
    with pytest.raises(OutputExists, match=r"is no \.csv file; it was not changed"):
        check_target("--csv", tmp_path / "holiday.png", ".csv", keep=[])
    with pytest.raises(OutputExists, match="is a folder"):
        check_target("--csv", tmp_path, ".csv", keep=[])
    check_target("--csv", tmp_path / "old.csv", ".csv", keep=[])
    check_target("--csv", None, ".csv", keep=[])


def test_a_name_that_nobody_chose_takes_no_place_of_another_file(tmp_path):
    assert unused(tmp_path / "k.png").name == "k.png"
    (tmp_path / "k.png").touch()
    (tmp_path / "k-2.png").touch()
    assert unused(tmp_path / "k.png").name == "k-3.png"


def test_commands_refuse_before_they_work(command, tiny_run, tmp_path):
    source = tmp_path / "few.npz"
    source.write_bytes(b"would be refused later, were it opened")
    answer = command("show", source, "--out", source)
    assert answer.code == 2
    assert "never changed" in answer.err
    assert source.read_bytes().startswith(b"would")
    answer = command("predict", tiny_run.path, source, "--csv", source)
    assert (answer.code, answer.out) == (2, "")
