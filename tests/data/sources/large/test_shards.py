"""Tar shards as people write them: with class numbers, JSON or texts, in folders and lists, cut off and mixed up."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.data.sources.large import shard_index
from sightline.data.sources.large.large_files import expand_braces
from sightline.data.sources.large.shard_members import REPEATED
from sightline.data.storage.stores import decode_row
from sightline.deployment.bulk.images import bulk_images
from sightline.errors import InvalidSource, InvalidValue, UnreadableImage
from sightline.system.caches import cache

Members = Iterable[tuple[str, bytes]]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))


def png(level: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (3, 2), level).save(stream, "PNG")
    return stream.getvalue()


def pack(path: Path, members: Members, *, form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def samples(first: int, count: int = 4) -> list[tuple[str, bytes]]:
    made = []
    for number in range(first, first + count):
        made += [(f"{number:04d}.png", png(number)), (f"{number:04d}.cls", str(number % 2).encode())]
    return made


def shards(folder: Path, number: int = 3) -> Path:
    for shard in range(number):
        pack(folder / f"shard-{shard:03d}.tar", samples(10 * shard))
    return folder


def level(data: sightline.Dataset, row: int) -> int:
    return int(decode_row(data.images, row, color_mode="grey", minimum_size=(1, 1)).pixels[0, 0, 0])


def test_a_folder_a_list_and_one_shard_are_sources(tmp_path: Path) -> None:
    folder = shards(tmp_path / "flowers")
    whole = sightline.load(folder)
    assert (len(whole), whole.class_names, whole.name) == (12, ("0", "1"), "flowers")
    assert whole.row_ids[[0, 11]].tolist() == ["shard-000/0000.png", "shard-002/0023.png"]
    assert [level(whole, row) for row in (0, 5, 11)] == [0, 11, 23]
    assert whole.labels.tolist() == [0, 1] * 6
    listed = sightline.load(f"{folder}/shard-{{000..002}}.tar")
    assert listed.row_ids.tolist() == whole.row_ids.tolist()
    assert (listed.name, listed.fingerprint) == ("shard", whole.fingerprint)
    one = sightline.load(folder / "shard-001.tar")
    assert (one.row_ids[0], level(one, 3)) == ("0010.png", 13)


def test_images_are_reached_in_any_order_and_known_again(tmp_path: Path) -> None:
    data = sightline.load(shards(tmp_path / "s"))
    some = data.take(np.array([11, 0, 7]))
    assert [level(some, row) for row in range(3)] == [23, 0, 13]
    known = data.images.identities(np.arange(12))
    assert len(set(known)) == 12
    assert some.images.identities(np.arange(3)) == [known[11], known[0], known[7]]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_is_read_with_long_and_foreign_names(tmp_path: Path, form: int) -> None:
    key = "a/" * 20 + ("k" * 90 if form == tarfile.USTAR_FORMAT else "猫" * 60)
    path = pack(tmp_path / "one.tar", [(f"{key}.png", png(7)), (f"{key}.cls", b"cat"), *samples(0)], form=form)
    data = sightline.load(path)
    row = data.row_ids.tolist().index(f"{key}.png")
    assert (level(data, row), data.class_names[data.labels[row]]) == (7, "cat")


def test_labels_come_from_class_json_or_text_and_splits_from_names_or_samples(tmp_path: Path) -> None:
    told = {"label": "dog", "group": "patient 7", "caption": "it barks"}
    pack(tmp_path / "s/train-0.tar", [("a.jpg", png(1)), ("a.json", json.dumps(told).encode()), ("a.txt", b"no")])
    pack(tmp_path / "s/val-0.tar", [("b.png", png(2)), ("b.txt", b"cat\n"), ("c.png", png(3)), ("c.cls", b"dog")])
    data = sightline.load(tmp_path / "s")
    assert data.named() == ("dog", "cat", "dog")
    assert data.given_splits.tolist() == ["train", "validation", "validation"]
    assert data.groups is not None
    assert data.groups[0] == "patient 7"
    renamed = pack(
        tmp_path / "one.tar",
        [(f"{key}.{end}", content) for key, kind in (("a", "x"), ("b", "y"))
         for end, content in (("png", png(1)), ("json", json.dumps({"Species": kind, "label": 3}).encode()))],
    )  # fmt: skip
    assert sightline.load(renamed, columns={"label": "species"}).class_names == ("x", "y")


def test_class_numbers_have_the_names_beside_the_shards(tmp_path: Path) -> None:
    folder = shards(tmp_path / "s")
    (folder / "classnames.txt").write_text("zebra\ncat\nnone of these\n", encoding="utf-8")
    data = sightline.load(folder)
    assert data.class_names == ("zebra", "cat"), "in the order of their numbers"
    assert data.named()[:2] == ("zebra", "cat")
    (folder / "classnames.txt").write_text("zebra\n", encoding="utf-8")
    assert "class numbers go to 1; the numbers were kept" in " ".join(sightline.load(folder).remarks)
    assert sightline.load(folder, class_names=["a", "b"]).named()[:2] == ("a", "b")


def test_members_in_any_order_find_each_other_and_nothing_is_lost(tmp_path: Path) -> None:
    made = samples(0)
    odd = [
        ("0009.png", png(9)),  # no label
        ("0010.cls", b"1"),  # no image
        ("0011.cls", b"1"),
        ("0011.left.png", png(1)),
        ("0011.right.png", png(2)),  # which?
        ("0012.png", png(1)),
        ("0012.mask.png", png(2)),
        ("0012.cls", b"1"),
        ("0000.png", png(50)),  # again
        ("0013.json", b"{broken"),
        ("0013.png", png(13)),
        ("0015.json", b'{"label": {"a": 1}}'),
        ("0015.png", png(15)),
        ("0016.cls", b"-1"),
        ("0016.png", png(16)),
        ("0014.cls", b"x" * 2_000_000),
        ("0014.png", png(14)),
    ]
    path = pack(tmp_path / "one.tar", [*reversed(made), *odd])
    data = sightline.load(path)
    assert sorted(data.row_ids) == ["0000.png", "0001.png", "0002.png", "0003.png", "0012.png"]
    assert level(data, data.row_ids.tolist().index("0000.png")) == 50, "the last one counts"
    reasons = dict(data.left_out)
    assert reasons["0000.png"] == REPEATED
    assert reasons["0010"] == "has a label and no image"
    assert "2 images (left.png, right.png)" in reasons["0011"]
    assert all("has no label" in reasons[name] for name in ("0009.png", "0013.png", "0014.png", "0015.png", "0016.png"))
    assert "too many for a label" in reasons["0014.cls"]
    assert len([remark for remark in data.remarks if "left out" in remark]) >= 3


def test_a_shard_that_was_cut_off_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    folder = shards(tmp_path / "s")
    whole = (folder / "shard-001.tar").read_bytes()
    # In the bytes of the third image: header, bytes, header, class of two samples lie before it.
    (folder / "shard-001.tar").write_bytes(whole[: 4 * 1024 + 512 + 20])
    (folder / "shard-002.tar").write_bytes(b"no tar at all" * 100)
    data = sightline.load(folder)
    assert [name for name in data.row_ids if "001/" in name] == ["shard-001/0010.png", "shard-001/0011.png"]
    assert any("2 of 3 shards cannot be read to the end" in remark for remark in data.remarks)
    reasons = dict(data.left_out)
    assert "was cut off" in reasons["shard-001.tar"]
    assert "is no tar" in reasons["shard-002.tar"]
    piece = bulk_images([folder]).pieces[0]
    assert list(piece.names)[4:] == [
        "shard-001/0010.png",
        "shard-001/0011.png",
        "shard-001/0012.png",
        "shard-001.tar",
        "shard-002.tar",
    ]
    for name, words in (("0012.png", "ends after 20 of"), ("001.tar", "was cut off"), ("002.tar", "is no tar")):
        row = next(row for row, known in enumerate(piece.names) if known.endswith(name))
        with pytest.raises(UnreadableImage, match=words):
            piece.store.read(row)


@pytest.mark.parametrize("at", [1024, 2048, 512 * 8])
def test_a_cut_between_two_members_is_noticed(tmp_path: Path, at: int) -> None:
    folder = shards(tmp_path / "s")
    whole = (folder / "shard-001.tar").read_bytes()
    (folder / "shard-001.tar").write_bytes(whole[:at])
    assert any("1 of 3 shards cannot be read to the end" in remark for remark in sightline.load(folder).remarks)


def test_a_shard_that_changes_is_read_no_longer_and_indexed_again(tmp_path: Path) -> None:
    folder = shards(tmp_path / "s")
    data = sightline.load(folder)
    pack(folder / "shard-001.tar", samples(40))
    with pytest.raises(UnreadableImage, match="has changed since"):
        data.images.read(4)
    assert data.images.read(0) == png(0)
    assert data.images.identities(np.array([4])) == [None]
    again = sightline.load(folder)
    assert again.row_ids[4] == "shard-001/0040.png"
    assert again.fingerprint != data.fingerprint
    (folder / "shard-001.tar").unlink()
    with pytest.raises(UnreadableImage, match="is gone"):
        again.images.read(4)


def test_an_index_is_made_once_and_only_of_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    told_of: Callable = shard_index.told_of
    monkeypatch.setattr(
        shard_index, "told_of", lambda blob, columns: (looked.append(blob.name), told_of(blob, columns))[1]
    )
    folder = shards(tmp_path / "s")
    first = sightline.load(folder)
    again = sightline.load(folder)
    assert (len(looked), again.fingerprint) == (3, first.fingerprint)
    pack(folder / "shard-003.tar", samples(30))
    assert len(sightline.load(folder)) == 16
    assert looked[3:] == ["shard-003.tar"]
    kept = [entry for entry in cache()["entries"] if entry["kind"] == "indexes"]
    assert len(kept) == 1
    index = Path(kept[0]["place"]) / "index.npz"
    index.write_bytes(index.read_bytes()[:100])
    assert len(sightline.load(folder)) == 16, "damaged, it is made again"


def test_an_indexing_that_is_stopped_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shards(tmp_path / "s", 4)
    told_of: Callable = shard_index.told_of
    looked: list[str] = []

    def stopped(blob, columns):
        if blob.name == "shard-002.tar":
            raise KeyboardInterrupt
        return told_of(blob, columns)

    monkeypatch.setattr(shard_index, "_THREADS", 1)
    monkeypatch.setattr(shard_index, "told_of", stopped)
    with pytest.raises(KeyboardInterrupt):
        sightline.load(folder)
    monkeypatch.setattr(
        shard_index, "told_of", lambda blob, columns: (looked.append(blob.name), told_of(blob, columns))[1]
    )
    assert len(sightline.load(folder)) == 16
    assert looked == ["shard-002.tar", "shard-003.tar"]


def test_where_times_mean_nothing_the_content_is_the_fingerprint(tmp_path: Path) -> None:
    prints = []
    for where, when in (("a", 0), ("b", 0), ("c", 1)):
        folder = shards(tmp_path / where / "s")
        for path in folder.iterdir():
            os.utime(path, (when, when))
        prints.append(sightline.load(folder).fingerprint)
    assert len(set(prints)) == 1
    pack(tmp_path / "a/s/shard-001.tar", [(name, content.replace(b"1", b"0")) for name, content in samples(10)])
    os.utime(tmp_path / "a/s/shard-001.tar", (0, 0))
    assert sightline.load(tmp_path / "a/s").fingerprint != prints[0]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{a,b}-{0..1}.tar", ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]),
        ("x-{9..11}.tar", ["x-9.tar", "x-10.tar", "x-11.tar"]),
        ("plain.tar", ["plain.tar"]),
        ("{}.tar", [".tar"]),
    ],
)
def test_braces_stand_for_names(pattern: str, words: list[str]) -> None:
    assert expand_braces(pattern) == words


@pytest.mark.parametrize("pattern", ["{5..1}.tar", "{0..9999999}.tar", "{0..9999}{0..9999}.tar"])
def test_braces_that_run_backwards_or_without_end_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidValue, match=r"must go up|more than"):
        expand_braces(pattern)


def test_what_is_not_there_or_has_no_labels_is_refused_in_words(tmp_path: Path) -> None:
    folder = shards(tmp_path / "s")
    with pytest.raises(InvalidSource, match=r"of 5 files that it stands for, 2 are not there: .*shard-003\.tar"):
        sightline.load(f"{folder}/shard-{{000..004}}.tar")
    bare = pack(tmp_path / "bare/a-0.tar", [("1.png", png(1)), ("2.png", png(2))])
    with pytest.raises(InvalidSource, match="none of its 2 images has a label"):
        sightline.load(bare.parent)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/x.tar").write_bytes(b"")
    with pytest.raises(InvalidSource, match="is no tar that can be read"):
        sightline.load(tmp_path / "broken")
    told = pack(
        tmp_path / "told/a.tar",
        [(f"{n}.{end}", content) for n in range(30) for end, content in (("png", png(n)), ("txt", b"a dog %d" % n))],
    )
    with pytest.raises(InvalidSource, match="descriptions, not classes"):
        sightline.load(told)
    several = pack(tmp_path / "several.tar", [("a.png", png(1)), ("a.json", b'{"label": ["x", "y"]}')])
    with pytest.raises(InvalidSource, match="several labels"):
        sightline.load(several)


def test_a_folder_of_classes_with_an_archive_beside_them_stays_one(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_bytes(png(1))
    pack(tmp_path / "p/backup.tar", samples(0))
    assert sightline.load(tmp_path / "p").class_names == ("cat", "dog")
    flat = tmp_path / "flat"
    pack(flat / "backup.tar", samples(0))
    (flat / "1.png").write_bytes(png(1))
    assert [Path(name).name for name in bulk_images([flat]).names(0, 9)] == ["1.png"]
    packed = pack(tmp_path / "packed.tar", [("cat/1.png", png(1)), ("dog/1.png", png(2)), ("dog/notes.txt", b"x")])
    assert sightline.load(packed).class_names == ("cat", "dog")


def test_predict_names_every_image_of_shards(command: Callable, tmp_path: Path) -> None:
    shards(tmp_path / "s")
    answer = command("predict", "imagenet", "s/shard-{000..001}.tar", "--csv", "a.csv", "--quiet")
    assert answer.code == 0, answer.err
    lines = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines[1:3]] == ["shard-000/0000.png", "shard-000/0001.png"]
    assert len(lines) == 9
    refused = command("sort", "imagenet", "s", "--into", "sorted", "--min-confidence", 0.5)
    assert (refused.code, "no files of their own" in refused.err) == (2, True)
    missing = command("predict", "imagenet", "s/shard-{000..007}.tar")
    assert (missing.code, "5 are not there" in missing.err) == (2, True)


def several(told: list[tuple[str, str]]) -> list[tuple[str, bytes]]:
    """A sample for each (ending, text)."""
    made: list[tuple[str, bytes]] = []
    for number, (ending, text) in enumerate(told):
        made += [(f"{number:04d}.png", png(number)), (f"{number:04d}.{ending}", text.encode())]
    return made


def named(data: sightline.Dataset) -> list[set[str]]:
    return [{name for name, has in zip(data.class_names, row, strict=True) if has} for row in data.labels]


def test_a_sample_may_have_several_labels_or_none(tmp_path: Path) -> None:
    told = [("json", '{"label": ["cat", "dog"]}'), ("json", '{"label": []}'), ("txt", "owl;cat"), ("cls", "dog\nowl")]
    pack(tmp_path / "set" / "a-000.tar", several([*told, ("json", '{"group": "x"}'), ("txt", "owl")]))
    data = sightline.load(tmp_path / "set", task="multi-label")
    assert (data.task.name, data.labels.dtype) == ("multi-label", np.uint8)
    assert data.class_names == ("cat", "dog", "owl")
    assert named(data) == [{"cat", "dog"}, set(), {"owl", "cat"}, {"dog", "owl"}, {"owl"}]
    assert any("has no label" in reason for _, reason in data.left_out)
    again = sightline.load(tmp_path / "set", task="multi-label")  # from the index
    assert again.fingerprint == data.fingerprint


def test_numbers_of_several_labels_stand_for_names_beside_the_shards(tmp_path: Path) -> None:
    pack(tmp_path / "set" / "train-0.tar", several([("json", '{"label": [0, 2]}'), ("json", '{"label": [1]}')]))
    pack(tmp_path / "set" / "test-0.tar", several([("json", '{"label": [2, 1]}'), ("json", '{"label": [0]}')]))
    (tmp_path / "set" / "classes.txt").write_text("cat\ndog\nowl\n", encoding="utf-8")
    data = sightline.load(tmp_path / "set", task="multi-label")
    assert data.class_names == ("cat", "dog", "owl")
    assert named(data) == [{"dog", "owl"}, {"cat"}, {"cat", "owl"}, {"dog"}]
    assert data.given_splits.tolist() == ["test", "test", "train", "train"]


def test_several_labels_are_taken_only_where_they_are_asked_for_and_descriptions_never(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", several([("txt", "cat;dog"), ("txt", "dog;owl"), ("txt", "cat")]))
    with pytest.raises(InvalidSource, match=r"looks like several labels.* or ask for several: --task multi-label"):
        sightline.load(tmp_path / "a.tar")
    words = [("txt", f"a walk in the park on day {day}") for day in range(40)]
    pack(tmp_path / "b.tar", several(words))
    with pytest.raises(InvalidSource, match="these are descriptions, not labels"):
        sightline.load(tmp_path / "b.tar", task="multi-label")
