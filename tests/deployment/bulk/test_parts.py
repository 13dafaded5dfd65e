"""Answers in parts: cut where a network begins anew, made once each, and refused where a machine has other files."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.answers.formats import Columns
from sightline.bundles.bundle import load_bundle
from sightline.bundles.trust.details import Asked
from sightline.deployment.bulk import parts as parts_module
from sightline.deployment.bulk.images import bulk_images
from sightline.deployment.bulk.part_folder import part_folder
from sightline.deployment.bulk.parts import PartStep, cut_parts, file_of, note_of
from sightline.deployment.bulk.step import step_of
from sightline.errors import InvalidValue, NotReached, OutputExists


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hundred and fifty files, of which one is none, in three parts."""
    monkeypatch.setattr("sightline.deployment.bulk.parts.PART", 64)
    folder = tmp_path / "many"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(149):
        Image.fromarray(draw.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / f"{number:03d}.png")
    (folder / "\u732b.png").write_bytes(b"")
    return folder


def made(bundle: Path, many: Path, *, each=map, overwrite: bool = False, asked=None) -> tuple[Path, list]:
    opened, images, place = load_bundle(bundle), bulk_images([many]), many.parent / "parts"
    answers = step_of(opened, Asked(None), top=3, with_probabilities=False, invert=False)
    step = PartStep(answers, place, opened.task, Columns(3))
    asked = asked or {"bundle": str(bundle)}
    with part_folder(place, images, asked, overwrite=overwrite) as folder:
        notes = list(folder.notes(step, images, each=each))
        folder.finish(notes, asked)
    return place, notes


def stopping_after(count: int):
    def each(work, items):
        for number, item in enumerate(items):
            if number == count:
                raise KeyboardInterrupt
            yield work(item)

    return each


def test_parts_joined_are_what_one_command_writes_and_the_manifest_has_their_hashes(make_bundle, many) -> None:
    bundle = make_bundle()
    sightline.predict_into(bundle, many, many.parent / "one.jsonl", progress=False)
    place, notes = made(bundle, many)
    assert sorted(path.name for path in place.iterdir()) == [
        "manifest.json",
        *(file_of(number) for number in range(3)),
        "plan.json",
    ]
    content = b"".join((place / file_of(number)).read_bytes() for number in range(3))
    assert content == (many.parent / "one.jsonl").read_bytes()
    manifest = json.loads((place / "manifest.json").read_text())
    assert [part["rows"] for part in manifest["parts"]] == [64, 64, 22] == [note.rows for note in notes]
    assert [part["sha256"] for part in manifest["parts"]] == [note.sha256 for note in notes]
    assert (manifest["num_images"], sum(note.flags.get("unreadable", 0) for note in notes)) == (150, 1)
    with pytest.raises(OutputExists, match="came to its end"):
        made(bundle, many)
    assert made(bundle, many, overwrite=True)[1][0].was_there is False


def test_a_stopped_command_makes_each_part_once(make_bundle, many, capsys) -> None:
    bundle = make_bundle()
    with pytest.raises(KeyboardInterrupt):
        made(bundle, many, each=stopping_after(2))
    assert "2 of 3 parts are kept in" in capsys.readouterr().err
    first = (many.parent / "parts" / file_of(0)).stat().st_mtime_ns
    place, notes = made(bundle, many)
    assert [note.was_there for note in notes] == [True, True, False]
    assert (place / file_of(0)).stat().st_mtime_ns == first


def test_a_part_that_is_cut_off_or_of_files_that_changed_is_made_anew(make_bundle, many) -> None:
    bundle = make_bundle()
    with pytest.raises(KeyboardInterrupt):
        made(bundle, many, each=stopping_after(2))
    place = many.parent / "parts"
    (place / file_of(0)).write_bytes((place / file_of(0)).read_bytes()[:-1])
    Image.new("RGB", (9, 9), "white").save(many / "100.png")
    _, notes = made(bundle, many)
    assert [note.was_there for note in notes] == [False, False, False]
    sightline.predict_into(bundle, many, many.parent / "one.jsonl", progress=False)
    content = b"".join((place / file_of(number)).read_bytes() for number in range(3))
    assert content == (many.parent / "one.jsonl").read_bytes()


@pytest.mark.parametrize("damage", ["{", "[]", '{"rows": "x"}', "null", '{"classes": 3}'])
def test_a_damaged_note_is_none(make_bundle, many, damage) -> None:
    bundle = make_bundle()
    with pytest.raises(KeyboardInterrupt):
        made(bundle, many, each=stopping_after(2))
    (many.parent / "parts" / note_of(1)).write_text(damage)
    assert [note.was_there for note in made(bundle, many)[1]] == [True, False, False]


def test_other_questions_or_images_are_refused_and_lost_on_request(make_bundle, many) -> None:
    bundle = make_bundle()
    with pytest.raises(KeyboardInterrupt):
        made(bundle, many, each=stopping_after(1))
    with pytest.raises(OutputExists, match="top was null and is 2"):
        made(bundle, many, asked={"bundle": str(bundle), "top": 2})
    (many / "000.png").unlink()
    with pytest.raises(OutputExists, match="of other images: names_sha256 was"):
        made(bundle, many)
    assert len(made(bundle, many, overwrite=True)[1]) == 3


@pytest.mark.parametrize("damage", ["{", "[]", '{"asked": 3, "parts": 4}', '{"format": 1, "asked": {}, "parts": []}'])
def test_a_damaged_plan_is_refused(make_bundle, many, damage) -> None:
    bundle = make_bundle()
    with pytest.raises(KeyboardInterrupt):
        made(bundle, many, each=stopping_after(1))
    (many.parent / "parts" / "plan.json").write_text(damage)
    with pytest.raises(OutputExists, match="no plan to read"):
        made(bundle, many)


def test_what_is_not_ours_is_left_alone(make_bundle, many) -> None:
    place = many.parent / "parts"
    place.mkdir()
    (place / "thesis.txt").write_text("years of work")
    bundle = make_bundle()
    for overwrite in (False, True):
        with pytest.raises(OutputExists, match=r"something else, such as thesis\.txt"):
            made(bundle, many, overwrite=overwrite)
    assert [path.name for path in place.iterdir()] == ["thesis.txt"]


def elsewhere(many: Path):
    """A map on a machine that lacks a file of the second part."""

    def each(work, items):
        for number, item in enumerate(items):
            away = many / "100.png"
            if number == 1:
                away.rename(many.parent / "away.png")
            try:
                found = work(item)
            finally:
                if number == 1:
                    (many.parent / "away.png").rename(away)
            yield found

    return each


def test_a_machine_without_the_files_is_named_and_nothing_is_lost(make_bundle, many, monkeypatch) -> None:
    monkeypatch.setenv("SIGHTLINE_NODE", "10.0.0.7 (node 12ab)")
    bundle = make_bundle()
    with pytest.raises(NotReached, match=r"10\.0\.0\.7 \(node 12ab\) has other files .*100\.png: there is no such"):
        made(bundle, many, each=elsewhere(many))
    assert [note.was_there for note in made(bundle, many)[1]] == [True, False, False]


def test_a_file_that_is_gone_here_too_is_an_error_row_as_on_one_machine(make_bundle, many) -> None:
    def each(work, items):
        for item in items:
            (many / "100.png").unlink(missing_ok=True)
            yield work(item)

    _, notes = made(make_bundle(), many, each=each)
    assert [note.flags.get("unreadable", 0) for note in notes] == [0, 1, 1]


@pytest.mark.parametrize(
    "each",
    [
        lambda work, items: [],
        lambda work, items: [work(item) for item in list(items)[::-1]],
        lambda work, items: [*map(work, items), None, 1],
    ],
)
def test_a_map_that_gives_something_else_is_refused(make_bundle, many, each) -> None:
    with pytest.raises(InvalidValue, match="It has to give each result once, in the order of its items"):
        made(make_bundle(), many, each=each)


def test_parts_end_where_a_network_is_given_a_new_portion(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(parts_module, "PART_BYTES", 1000)
    sizes = [1] * 100 + [100] * 30 + [0] * 300
    for number, size in enumerate(sizes):
        (tmp_path / f"{number:04d}.png").write_bytes(b"x" * size)
    cuts = list(cut_parts(bulk_images([tmp_path])))
    assert cuts[0] == (0, 64)
    assert all(first % 64 == 0 for first, _ in cuts)
    assert [first for first, _ in cuts[1:]] == [last for _, last in cuts[:-1]]
    assert cuts[-1][1] == 430


def test_shards_of_another_machine_are_told_by_their_file(make_bundle, many) -> None:
    shards = many.parent / "shards"
    shards.mkdir()
    with tarfile.open(shards / "train-000.tar", "w") as tar:
        for path in sorted(many.glob("0*.png"))[:70]:
            tar.add(path, path.name)
    bundle, shard = make_bundle(), shards / "train-000.tar"

    def elsewhere(work, items):
        for item in items:
            shard.rename(many.parent / "away")
            found = work(item)
            (many.parent / "away").rename(shard)
            yield found

    def made_of_shards(each):
        opened, images, place = load_bundle(bundle), bulk_images([shards]), many.parent / "parts"
        answers = step_of(opened, Asked(None), top=3, with_probabilities=False, invert=False)
        with part_folder(place, images, {}, overwrite=False) as folder:
            return [*folder.notes(PartStep(answers, place, opened.task, Columns(3)), images, each=each)]

    with pytest.raises(NotReached, match=r"has other files than this machine: .*train-000\.tar: there is no such file"):
        made_of_shards(elsewhere)
    assert sum(note.rows for note in made_of_shards(map)) == 70
