"""A source kind is a reader and one row of a table: images in one SQLite file, in a few lines, go all the way."""

from __future__ import annotations

import contextlib
import io
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.data.inputs.pixels import read_pixels
from sightline.data.sources import loading
from sightline.data.sources.assembly import LabelledFiles, to_dataset
from sightline.data.sources.loading import SOURCE_KINDS, Opening, SourceKind, holds_files
from sightline.errors import InvalidSource, UnreadableImage
from sightline.records import SPLIT_NAMES, Dataset, InputSpec, Store
from sightline.system.progress import reporter
from sightline.training.setup.preparation import prepare
from sightline.training.setup.resolution import opened_and_chosen


@dataclass(frozen=True, eq=False)
class SqliteStore(Store):
    path: Path

    def read(self, row: int) -> bytes:
        with contextlib.closing(sqlite3.connect(self.path)) as opened:
            found = opened.execute("SELECT content FROM images WHERE name = ?", (self.names[row],)).fetchone()
        if found is None:
            raise UnreadableImage("gone since the source was opened.")
        return bytes(found[0])


def read_sqlite(path: Path, how: Opening) -> Dataset:
    with contextlib.closing(sqlite3.connect(path)) as opened:
        rows = opened.execute("SELECT name, class, length(content) FROM images ORDER BY rowid").fetchall()
    names, classes, sizes = zip(*rows, strict=True)
    numbers = np.arange(len(names))
    labelled = LabelledFiles(SqliteStore(names, np.array(sizes), numbers, path), classes, [""] * len(names), numbers)
    return to_dataset(labelled, typed=str(path), name=how.name or path.stem, class_names=how.class_names)


SQLITE = SourceKind("an SQLite file of images (.sqlite)", lambda path: path.suffix == ".sqlite", read_sqlite)


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """40 noisy pictures of two classes in one file; the first is damaged, the last two are copies of one another."""
    monkeypatch.setattr(loading, "SOURCE_KINDS", (*SOURCE_KINDS, SQLITE))
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    contents = []
    for _ in range(39):
        stream = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (24, 20, 3), np.uint8)).save(stream, "PNG")
        contents.append(stream.getvalue())
    contents = [contents[0][:60], *contents[1:], contents[-1]]
    with contextlib.closing(sqlite3.connect(tmp_path / "pets.sqlite")) as opened, opened:
        opened.execute("CREATE TABLE images (name TEXT, class TEXT, content BLOB)")
        lines = [(f"{number}.png", "cat" if number < 20 else "dog", content) for number, content in enumerate(contents)]
        opened.executemany("INSERT INTO images VALUES (?, ?, ?)", lines)
    return tmp_path / "pets.sqlite"


def test_a_new_kind_is_loaded_decoded_and_told_as_what_it_is(pictures: Path) -> None:
    data = sightline.load(pictures, name="pets")
    assert repr(data) == "Dataset 'pets': 40 images, 2 classes (cat, dog)"
    assert holds_files(pictures)
    pixels = read_pixels(data, InputSpec(24, 24, "rgb"))
    assert list(pixels.errors) == [0]
    assert "truncated PNG" in pixels.errors[0]
    assert sightline.load(pictures).fingerprint == data.fingerprint


def test_a_new_kind_is_prepared_for_training_as_photographs_are(pictures: Path) -> None:
    source, recipe = opened_and_chosen(pictures, None, ["data.unreadable_limit=0.1"])
    assert recipe.name == "transfer"
    prepared = prepare(source, recipe)
    assert prepared.dataset.left_out[0][0] == "0.png"
    rows = np.concatenate([prepared.splits.rows(name) for name in SPLIT_NAMES])
    assert sorted(rows.tolist()) == list(range(39))
    copies = [name for name in SPLIT_NAMES if {37, 38} & set(prepared.splits.rows(name).tolist())]
    assert len(copies) == 1


def test_a_new_kind_is_audited_and_predicted(pictures: Path) -> None:
    kinds = {finding.kind: finding.paths for finding in sightline.audit(pictures).findings}
    assert kinds["unreadable"] == ("0.png",)
    assert set(kinds["duplicates"]) == {"38.png", "39.png"}
    few = sightline.load(pictures).take(np.array([0, 1, 30]))
    answers = sightline.predict("imagenet", few, progress=False)
    assert [error is None for error in answers.errors] == [False, True, True]


def test_what_is_no_source_is_told_of_every_kind_there_is(pictures: Path) -> None:
    (pictures.parent / "notes.txt").touch()
    with pytest.raises(InvalidSource, match=r"an SQLite file of images \(\.sqlite\), or one of mnist"):
        sightline.load(pictures.parent / "notes.txt")
    with pytest.raises(InvalidSource, match="columns are named for tables"):
        sightline.load(pictures, columns={"path": "name"})


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A mode for each time that a folder is listed, by a kind that does what folders do and counts."""
    modes: list[str] = []

    def read(path: Path, how: Opening) -> Dataset:
        modes.append(reporter().mode)
        return SOURCE_KINDS[0].read(path, how)

    monkeypatch.setattr(
        loading, "SOURCE_KINDS", (SourceKind("a counted folder", SOURCE_KINDS[0].fits, read), *SOURCE_KINDS[1:])
    )
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    for name in ("goldfish", "tench"):
        (tmp_path / "fish" / name).mkdir(parents=True)
        for number in range(2):
            Image.effect_noise((40, 40), 90).convert("RGB").save(tmp_path / "fish" / name / f"{number}.png")
    return modes


def test_training_and_evaluation_list_a_folder_once_and_quietly_if_asked(listed: list[str], tmp_path: Path, command):
    # So few that no network is trained: it is refused where the rows were divided.
    with pytest.raises(InvalidSource, match="too few"):
        sightline.train(tmp_path / "fish", mode="quiet")
    assert command("train", tmp_path / "fish", "--quiet").code == 2
    assert listed == ["quiet", "quiet"], "once by each"
    assert command("evaluate", "imagenet", tmp_path / "fish", "--quiet").code == 0
    assert listed[2:] == ["quiet"]
