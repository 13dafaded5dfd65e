"""From what the user named to rows that can be trained on: nothing is lost without a word."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.configuration.recipes import parse_recipe
from sightline.errors import InvalidSource, InvalidValue
from sightline.records import SPLIT_NAMES, Dataset
from sightline.training.setup.preparation import Prepared, as_asked, prepare


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))


def write_photographs(folder: Path, names: tuple[str, ...], count: int) -> None:
    """Photographs with structure of their own, so that none is a near copy of another."""
    generator = np.random.default_rng(sum(map(ord, str(names))))
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            small = generator.integers(0, 256, (10, 10, 3), dtype=np.uint8)
            Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC).save(folder / name / f"s{number:03d}.png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photographs(tmp_path / "photos", ("cat", "dog"), 60)
    return tmp_path / "photos"


def recipe(**settings: object) -> sightline.Recipe:
    return parse_recipe({"data.image_size": 16, **{key.replace("__", "."): value for key, value in settings.items()}})


def used(data: Prepared) -> set[str]:
    return {str(data.dataset.row_ids[row]) for name in SPLIT_NAMES for row in data.splits.rows(name)}


def excluded(data: Prepared) -> dict[str, str]:
    return {line["file"]: line["reason"] for line in csv.DictReader(io.StringIO(data.excluded_csv()))}


def test_what_is_learned_is_the_same_whatever_the_number_of_threads_that_decode(photos, tmp_path, monkeypatch):
    (photos / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 half")
    several = prepare(photos, recipe())
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "another"))
    monkeypatch.setenv("SIGHTLINE_PROCESSORS", "1")
    one = prepare(photos, recipe())
    assert one.pixels.take(one.splits.train)[:].tobytes() == several.pixels.take(several.splits.train)[:].tobytes()
    assert (one.dataset.fingerprint, used(one)) == (several.dataset.fingerprint, used(several))
    for name in SPLIT_NAMES:
        np.testing.assert_array_equal(one.splits.rows(name), several.splits.rows(name))


def test_every_file_is_used_or_listed_with_a_reason(photos):
    (photos / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 half")
    (photos / "dog" / "notes.txt").write_text("not a dog")
    data = prepare(photos, recipe())
    on_disk = {str(path.relative_to(photos)) for path in photos.rglob("*") if path.is_file()}
    assert used(data) | set(excluded(data)) == on_disk
    assert not used(data) & set(excluded(data))
    assert all(excluded(data).values())


def test_rows_pixels_and_labels_stay_together_when_some_are_left_out(photos):
    (photos / "cat" / "a-broken-one-first.png").write_bytes(b"\x89PNG broken")
    data = prepare(photos, recipe())
    from sightline.data.decoding.decoder import decode_image
    from sightline.data.decoding.transforms import resize_image

    size = data.spec.height, data.spec.width
    assert len(data.pixels) == len(data.dataset) == 120
    for row in (0, 59, 60, 119):
        path = photos / str(data.dataset.row_ids[row])
        image = decode_image(path, color_mode=data.spec.color_mode, minimum_size=size)
        assert np.array_equal(data.pixels[row], resize_image(image, data.spec))
        assert data.dataset.class_names[data.dataset.labels[row]] == path.parent.name


def test_too_many_unreadable_files_stop_the_run_unless_allowed(photos):
    for number in range(10):
        (photos / "cat" / f"broken{number}.jpg").write_bytes(b"\xff\xd8\xff\xe0 half")
    with pytest.raises(InvalidSource, match=r"10 of 130 files cannot be read, more than 5%"):
        prepare(photos, recipe())
    assert len(excluded(prepare(photos, recipe(data__unreadable_limit=0.1)))) == 10


def test_a_class_of_which_nothing_can_be_read_stops_the_run_however_many_may_be_unreadable(photos):
    (photos / "fox").mkdir()
    for number in range(3):
        (photos / "fox" / f"{number}.cr3").write_bytes(b"\0\0\0\x18ftypcrx \0\0\0\1crx isom")
    with pytest.raises(InvalidSource, match=r"'fox' has no image that can be read \(3 of 123 .*3 times: a camera's"):
        prepare(photos, recipe(data__unreadable_limit=1.0))


def test_what_cannot_be_read_is_told_by_number_and_kind(photos, capsys):
    for number in range(3):
        (photos / "cat" / f"{number}.psd").write_bytes(b"8BPS\0\1")
    (photos / "dog" / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 half")
    prepare(photos, recipe())
    assert "4 of 124 files could not be read and are left out (3 times: a Photoshop document; once: trunc" in (
        capsys.readouterr().err
    )


def test_copies_of_a_photograph_are_in_one_split(photos):
    for number in range(20):
        with Image.open(photos / "cat" / f"s{number:03d}.png") as image:
            image.resize((50, 50)).save(photos / "cat" / f"copy{number:03d}.jpg", quality=80)
    data = prepare(photos, recipe())
    where = {str(data.dataset.row_ids[row]): name for name in SPLIT_NAMES for row in data.splits.rows(name)}
    together = [where[f"cat/s{n:03d}.png"] == where[f"cat/copy{n:03d}.jpg"] for n in range(20)]
    assert all(together)
    assert len({where[f"cat/s{n:03d}.png"] for n in range(20)}) > 1, "they are not all in one split anyway"


def test_groups_by_a_pattern_are_never_parted(photos):
    data = prepare(photos, recipe(data__group_by=r"(s\d\d)\d\.png"))
    where: dict[str, set[str]] = {}
    for name in SPLIT_NAMES:
        for row in data.splits.rows(name):
            where.setdefault(Path(str(data.dataset.row_ids[row])).name[:3], set()).add(name)
    assert len(where) == 6
    assert all(len(names) == 1 for names in where.values()), where


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "regular expression"), ("cat", "bracket"), ("(nothing-like-it)", "fits none of 120 paths")],
)
def test_a_pattern_that_cannot_group_is_refused(photos, pattern, message):
    with pytest.raises(InvalidValue, match=message):
        prepare(photos, recipe(data__group_by=pattern))


def test_excluded_files_are_left_out_with_their_reason(photos, tmp_path, capsys):
    plan = tmp_path / "plan.csv"
    plan.write_text("file,reason\ncat/s000.png,doubtful\ndog/s001.png,\nnot/there.png,gone\n")
    data = prepare(photos, recipe(data__exclude_file=str(plan)))
    assert excluded(data)["cat/s000.png"] == "doubtful"
    assert excluded(data)["dog/s001.png"]
    assert len(data.dataset) == 118
    assert "not/there.png" in capsys.readouterr().err


def test_files_are_left_out_by_their_names_as_tables_of_ours_write_them():
    images, names = np.zeros((4, 8, 8, 1), np.uint8), np.array(["=a.png", "b\x1b.png", "'=c.png", "d.png"])
    dataset = Dataset("some", ("cat", "dog"), names, np.array([0, 0, 1, 1]), images, np.full(4, ""), "f")
    left = as_asked(dataset, recipe(), {"'=a.png": "one", "b\\x1b.png": "two"})
    assert left.row_ids.tolist() == ["'=c.png", "d.png"]
    assert left.left_out == (("=a.png", "one"), ("b\x1b.png", "two"))


@pytest.mark.parametrize(("content", "message"), [("path\nx\n", "no column 'file'"), (None, "cannot be read")])
def test_an_exclude_file_that_is_none_is_refused(photos, tmp_path, content, message):
    plan = tmp_path / "plan.csv"
    if content is not None:
        plan.write_text(content)
    with pytest.raises(InvalidValue, match=message):
        prepare(photos, recipe(data__exclude_file=str(plan)))


def test_a_table_of_labels_is_gone_by_before_rows_are_divided(photos, tmp_path, capsys):
    table = tmp_path / "labels.csv"
    table.write_text("file,label\ncat/s000.png,dog\ndog/s001.png,\ncat/s002.png,cat\n")
    plain, data = prepare(photos, recipe()), prepare(photos, recipe(data__labels_file=str(table)))
    assert data.dataset.named()[data.dataset.row_ids.tolist().index("cat/s000.png")] == "dog"
    assert "label" in excluded(data)["dog/s001.png"]
    assert len(data.dataset) == len(plain.dataset) - 1
    assert data.dataset.fingerprint != plain.dataset.fingerprint
    assert "1 label changed and 1 image left out" in capsys.readouterr().err
    assert plain.dataset.changed_labels == ()
    assert data.dataset.changed_labels == (("cat/s000.png", "dog"), ("dog/s001.png", ""))


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes in folders on Windows")
@pytest.mark.parametrize("key", ["splits_file", "exclude_file", "labels_file"])
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("pipe", "a pipe, socket or device, not a file"),
        ("/dev/zero", "a pipe, socket or device, not a file"),
        ("folder", "directory"),
        ("huge", "more than 536,870,912 bytes"),
        ("long", "is not a readable table"),
    ],
)
def test_tables_that_are_no_files_or_endless_are_refused_before_anything_is_opened(tmp_path, key, what, message):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with (tmp_path / "huge").open("wb") as stream:
        stream.truncate(2**40)
    (tmp_path / "long").write_text("row_id,split,file\n" + "x" * 200_000)
    source = "mnist" if (what, key) == ("long", "splits_file") else tmp_path / "not opened"
    with pytest.raises((InvalidValue, InvalidSource), match=message):
        prepare(source, recipe(**{f"data__{key}": str(tmp_path / what)}))


def test_given_splits_can_be_given_back_after_files_were_added(photos, tmp_path):
    from sightline.data.splitting.splits import splits_csv

    before = prepare(photos, recipe())
    table = tmp_path / "splits.csv"
    table.write_text(splits_csv(before.dataset, before.splits))
    write_photographs(photos, ("cat", "dog"), 60)
    for number in range(30):
        generator = np.random.default_rng(1000 + number)
        small = generator.integers(0, 256, (10, 10, 3), dtype=np.uint8)
        Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC).save(photos / "cat" / f"new{number:03d}.png")
    after = prepare(photos, recipe(data__splits_file=str(table), seed=99))

    def places(data: Prepared) -> dict[str, str]:
        return {str(data.dataset.row_ids[row]): name for name in SPLIT_NAMES for row in data.splits.rows(name)}

    old, new = places(before), places(after)
    assert all(new[row_id] == name for row_id, name in old.items()), "no old row moved"
    assert len(new) == len(old) + 30


def test_a_fraction_samples_within_classes(photos):
    data = prepare(photos, recipe(data__fraction=0.5))
    counts = np.bincount(data.dataset.labels)
    assert counts.tolist() == [30, 30]


def test_the_source_decides_on_size_and_colour_where_the_recipe_says_auto(photos):
    data = prepare(photos, parse_recipe({}))
    assert data.spec.shape == (64, 64, 3)
    assert data.recipe.model.name == "convnet"


def test_rows_of_arrays_need_no_cache(small_npz, tmp_path):
    prepare(small_npz, parse_recipe({}))
    assert not (tmp_path / "cache").exists()
