"""What others made is never lost for a file that a command is asked to write."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.errors import InvalidValue, OutputExists
from sightline.quality.findings import Audit
from sightline.reporting.pages.audit import write_audit_page
from sightline.reporting.sheets.grids import draw_grid
from sightline.system.paths import (
    _refuse_device,
    check_output,
    check_place,
    default_output,
    places_of,
    portable_name,
    why_not_on_windows,
)


def picture() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_what_a_command_reads_is_never_a_target(tmp_path):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for target in (table, tmp_path / "photos" / "cat" / "new.csv", tmp_path / "photos", tmp_path / "link" / "a.csv"):
        for overwrite in (False, True):
            with pytest.raises(InvalidValue, match="never changed"):
                check_output("--csv", target, keep=[tmp_path / "photos", table], overwrite=overwrite)
    assert table.read_text() == "path,label\n"


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_standard_output_is_no_target_and_no_file_called_so_is_made(name):
    with pytest.raises(InvalidValue, match=r"standard output takes what the command says itself\. Name a file"):
        check_output("--csv", Path(name), overwrite=True)


def test_a_table_that_was_opened_keeps_the_folders_of_its_images_alone(tmp_path):
    (tmp_path / "scans").mkdir()
    for number in range(2):
        (tmp_path / "scans" / f"{number}.png").write_bytes(picture())
    (tmp_path / "labels.csv").write_text("path,label\nscans/0.png,a\nscans/1.png,b\n")
    assert places_of(tmp_path / "labels.csv") == [tmp_path / "labels.csv"]
    assert places_of(sightline.load(tmp_path / "labels.csv")) == [tmp_path / "scans"]
    assert places_of(sightline.load("mnist")) == []


def test_nothing_is_written_into_any_bundle(tmp_path):
    bundle = tmp_path / "run" / "bundle"
    bundle.mkdir(parents=True)
    check_place("--out", bundle / "new")
    for name in ("manifest.json", "labels.json"):
        (bundle / name).touch()
    for target in (bundle, bundle / "labels.json", bundle / "new" / "deep"):
        with pytest.raises(InvalidValue, match="belongs to the bundle"):
            check_place("--out", target)
    check_place("--out", tmp_path / "run" / "evaluation")


@pytest.mark.parametrize("name", ["mine.png", "mine.html", "answers.csv", "none"])
def test_a_file_of_others_is_replaced_only_where_its_user_says_so(tmp_path, name):
    (tmp_path / name).write_bytes(picture())
    with pytest.raises(OutputExists, match=r"was not changed. Name another file, or add --overwrite\.$"):
        check_output("--out", tmp_path / name)
    check_output("--out", tmp_path / name, overwrite=True)


def test_a_picture_and_a_page_of_ours_are_replaced_and_a_table_never_is(tmp_path):
    (tmp_path / "a.png").write_bytes(draw_grid([], title="no mistakes"))
    (tmp_path / "a.html").write_text('<!doctype html><meta name="generator" content="Sightline">')
    (tmp_path / "a.csv").write_text("path,label,confidence,notice,error\n")
    check_output("--out", tmp_path / "a.png")
    check_output("--html", tmp_path / "a.html")
    with pytest.raises(OutputExists, match="tables are edited by hand"):
        check_output("--csv", tmp_path / "a.csv")


def test_a_folder_is_no_file_and_a_device_is_written_to(tmp_path):
    with pytest.raises(OutputExists, match="is a folder"):
        check_output("--csv", tmp_path, overwrite=True)
    check_output("--csv", None)
    if os.name != "nt":
        from pathlib import Path

        check_output("--csv", Path(os.devnull))


def test_a_name_that_nobody_chose_takes_no_place_of_another_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(default_output("k.jpg", "", keep=[])) == "k.png"
    (tmp_path / "k.png").touch()
    (tmp_path / "k-2.png").symlink_to("nowhere")
    assert str(default_output("k.jpg", "", keep=[])) == "k-3.png"
    assert str(default_output("mnist", "-augmented", keep=["mnist"])) == "mnist-augmented.png"


@pytest.mark.parametrize(("here", "typed"), [("photos", "."), ("photos/cat", ".."), ("photos/cat", ".")])
def test_a_name_that_nobody_chose_lies_above_what_is_read(tmp_path, monkeypatch, here, typed):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / here)
    chosen = default_output(typed, "", keep=[typed])
    read = (tmp_path / here / typed).resolve()
    assert chosen.resolve() == read.parent / f"{read.name}.png"
    check_output("--out", chosen, keep=[typed])


def test_functions_refuse_what_commands_refuse(tiny_run, small_npz, tmp_path):
    folder, mine, bundle = tmp_path / "photos", tmp_path / "mine.png", tiny_run.bundle.path
    for name in ("cat/a.png", "dog/b.png", "../mine.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture())
    opened = sightline.load(folder)
    for place, refusal in ((mine, "pass overwrite=True"), (folder / "cat" / "new.png", "never changed")):
        for ask in (
            lambda out: sightline.show(opened, out=out),
            lambda out: sightline.similar("imagenet", folder / "cat" / "a.png", folder=folder, out=out),
            lambda out: sightline.find_learning_rate(folder, out=out),
            lambda out: sightline.learning_curve(folder, out=out),
            lambda out: write_audit_page(Audit("photos", 2, 2, (), opened), out),
        ):
            with pytest.raises((InvalidValue, OutputExists), match=refusal):
                ask(place)
    for ask in (
        lambda out: sightline.compare([tiny_run, tiny_run], out=out),
        lambda out: sightline.evaluate(tiny_run, small_npz, out=out),
        lambda out: sightline.train(folder, out=out),
        lambda out: sightline.train(folder, tensorboard=out),
        lambda out: sightline.distil(tiny_run, folder, out=out),
        lambda out: sightline.combine([tiny_run, tmp_path], source=folder, out=out),
    ):
        with pytest.raises(InvalidValue, match="belongs to the bundle"):
            ask(bundle / "new.png")
    for ask in (
        lambda out: sightline.evaluate(tiny_run, folder, out=out),
        lambda out: sightline.train(folder, out=out),
        lambda out: sightline.train(opened, out=out),
        lambda out: sightline.distil(tiny_run, folder, out=out),
        lambda out: sightline.combine([tiny_run, tmp_path], source=folder, out=out),
    ):
        with pytest.raises(InvalidValue, match="never changed"):
            ask(folder / "cat" / "run")
    assert mine.read_bytes() == picture()
    sightline.show(opened, out=mine, overwrite=True)
    sightline.show(opened, out=mine)
    assert sorted(path.name for path in folder.rglob("*.*")) == ["a.png", "b.png"]


def test_commands_refuse_before_they_work(command, tiny_run, tmp_path):
    source = tmp_path / "few.npz"
    source.write_bytes(b"would be refused later, were it opened")
    mine = tmp_path / "labels.csv"
    mine.write_text("mine")
    bundle = tiny_run.bundle.path
    (tmp_path / "photos").mkdir()
    for words, reason in (
        (["show", source, "--out", source], "never changed"),
        (["show", source, "--out", mine], "--overwrite"),
        (["audit", source, "--plan", mine], "--overwrite"),
        (["audit", source, "--html", source, "--overwrite"], "never changed"),
        (["find-learning-rate", source, "--out", mine], "--overwrite"),
        (["learning-curve", source, "--out", source], "never changed"),
        (["compare", tiny_run.path, tiny_run.path, "--out", bundle / "a.png"], "belongs to the bundle"),
        (["predict", tiny_run.path, source, "--csv", source], "never changed"),
        (["predict", tiny_run.path, source, "--csv", mine], "tables are edited by hand"),
        (["similar", bundle, source, "--in", "photos", "--out", "photos/a.png"], "never changed"),
        (["evaluate", tiny_run.path, "--out", bundle / "new"], "belongs to the bundle"),
        (["train", "photos", "--out", "photos/run"], "never changed"),
        (["train", "photos", "--tensorboard", bundle / "log"], "belongs to the bundle"),
    ):
        answer = command(*words)
        assert (answer.code, answer.out) == (2, ""), words
        assert reason in answer.err, (words, answer.err)
    assert mine.read_text() == "mine"
    assert source.read_bytes().startswith(b"would")
    assert {path.name for path in bundle.iterdir()} == {*tiny_run.bundle.manifest["files"], "manifest.json"}


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("con", "is called as the device 'con'"),
        ("NUL.csv", "is called as the device 'nul'"),
        ("Aux .tar.gz", "is called as the device 'aux'"),
        ("com1", "is called as the device 'com1'"),
        ("LPT².png", "is called as the device 'lpt²'"),
        ("a:b", "holds ':'"),
        ("a\\b", "holds '\\\\'"),
        ("what?", "holds '?'"),
        ("line\nbreak", "holds '\\n'"),
        ("end.", "ends in '.'"),
        ("end ", "ends in ' '"),
        *(
            (name, "")
            for name in ("console", "com10", "lpt", "nul-fast-001", "a.con", ".bundle.0a.partial", "é.png", "")
        ),
    ],
)
def test_what_windows_makes_no_file_of_is_known_everywhere(name, fault):
    assert why_not_on_windows(name) == fault


def test_on_windows_a_name_of_a_device_is_refused_before_any_work():
    with pytest.raises(
        InvalidValue, match=r"--csv nul\.csv: a name that is called as the device 'nul' is none on Windows"
    ):
        _refuse_device("--csv", Path("nul.csv"), is_windows=True)
    _refuse_device("--csv", Path("nul.csv"), is_windows=False)
    _refuse_device("--csv", Path("answers.csv"), is_windows=True)


def test_a_name_that_nobody_chose_is_one_that_every_system_makes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_output("nul.png", "", keep=()) == Path("nul_.png")
    assert default_output("a:b", "-similar", keep=()) == Path("a-b-similar.png")
    assert portable_name("aux.photos-fast") == "aux_.photos-fast"


def test_no_two_files_that_are_made_together_differ_in_case_alone_and_none_is_called_as_a_device():
    from sightline.bundles.bundle import CAPABILITIES, MANIFEST, REQUIRED_FILES, SIGNATURE
    from sightline.training.setup.run_folder import BEGUN

    bundle = {*REQUIRED_FILES, MANIFEST, SIGNATURE, *(name for names in CAPABILITIES.values() for name in names)}
    root = Path(__file__).resolve().parents[2]
    folders = [root / "src", root / "tests", root / "docs", root / "tools"]
    source = {str(path.relative_to(root)) for folder in folders for path in folder.rglob("*")}
    for names in (bundle, set(BEGUN), source):
        assert len({name.casefold() for name in names}) == len(names)
        assert not [name for name in names for part in Path(name).parts if why_not_on_windows(part)]
