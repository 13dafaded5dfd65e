"""Which rows a bundle is judged on, wherever its images lie."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.identity import (
    FILE,
    NEW,
    Identity,
    content_digests,
    identity_of,
    merged_identities,
    read_identity,
    write_identity,
)
from sightline.data.inputs.pixels import read_pixels
from sightline.data.sources.loading import load, open_again
from sightline.data.splitting.splits import splits_csv
from sightline.errors import InvalidBundle, InvalidSource, InvalidValue
from sightline.evaluation.measuring.judging import choose_rows, in_words, recorded_source
from sightline.records import Bundle, Dataset, InputSpec, Splits
from sightline.system.progress import reporting

SPEC = InputSpec(16, 16, "rgb")
NUM_IMAGES = 40


@pytest.fixture(autouse=True)
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    with reporting("quiet"):
        yield


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    for number in range(NUM_IMAGES):
        place = tmp_path / "photos" / "ab"[number % 2] / f"{number:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(place)
    return tmp_path / "photos"


def digests_of(dataset: Dataset) -> np.ndarray:
    return content_digests(dataset, read_pixels(dataset, SPEC), SPEC)


def made(photos: Path, folder: Path, *, identity: bool = True, in_run: bool = False) -> tuple[Bundle, Splits]:
    """What a run leaves for judging; the network is of no matter here."""
    dataset = load(photos)
    splits = sightline.split(dataset, seed=3)
    place = folder / "bundle"
    place.mkdir(parents=True)
    if identity:
        write_identity(place, identity_of(dataset, splits, digests_of(dataset)))
    if in_run:
        (folder / "splits.csv").write_text(splits_csv(dataset, splits))
        for name in ("recipe.json", "metrics.json"):
            (folder / name).write_text("{}")
    source = {"typed": str(photos), "fingerprint": dataset.fingerprint, "name": dataset.name}
    manifest = {"capabilities": ["identity"] if identity else []}
    return Bundle(place, dataset.class_names, SPEC, 1.0, 0, {"source": source}, manifest), splits


def stems(dataset: Dataset, rows: np.ndarray) -> set[str]:
    return {Path(row_id).stem for row_id in dataset.row_ids[rows].tolist()}


def touched(photos: Path) -> Path:
    os.utime(photos / "a" / "00.png", (1, 1))
    return photos


def renamed(photos: Path) -> Path:
    for path in list(photos.rglob("*.png")):
        path.rename(path.with_name(f"{path.stem}.PNG.png"))
    return photos


def copied(photos: Path) -> Path:
    return Path(shutil.copytree(photos, photos.parent / "elsewhere", copy_function=shutil.copyfile))


def packed(photos: Path) -> Path:
    return Path(shutil.make_archive(str(photos.parent / "packed"), "zip", photos))


def saved_anew(photos: Path) -> Path:
    for path in list(photos.rglob("*.png")):
        with Image.open(path) as image:
            image.save(path.with_suffix(".bmp"))
        path.unlink()
    return photos


@pytest.mark.parametrize("change", [touched, renamed, copied, packed, saved_anew])
def test_the_test_images_are_found_by_content_wherever_they_lie(change: Any, photos: Path, tmp_path: Path) -> None:
    bundle, splits = made(photos, tmp_path / "run")
    expected = stems(load(photos), splits.test)
    now = load(change(photos))
    choice = choose_rows(bundle, now, None)
    assert {stem.removesuffix(".PNG") for stem in stems(now, choice.rows)} == expected
    assert choice.told["judged"] == {"test": len(splits.test)}
    left_out = {
        "train": len(splits.train),
        "validation": len(splits.validation),
        "calibration": len(splits.calibration),
    }
    assert choice.told["left_out"] == left_out
    assert choice.told["known_by"] == "content"
    assert not choice.told["mixed"]


def test_whether_likeness_tells_copies_apart_is_asked_of_the_whole_source(tmp_path: Path) -> None:
    # One part under a fixed camera: eight test images of it alone could be taken for a burst of copies.
    generator = np.random.default_rng(2)
    part = generator.integers(0, 255, (8, 8, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    for number in range(NUM_IMAGES):
        place = tmp_path / "parts" / "ab"[number % 2] / f"{number:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        scratched = part.copy()
        scratched[number, number : number + 2] = 255 - scratched[number, number : number + 2]
        Image.fromarray(scratched).save(place)
    bundle, splits = made(tmp_path / "parts", tmp_path / "run")
    choice = choose_rows(bundle, load(copied(tmp_path / "parts")), None)
    assert choice.groups is not None
    assert len(set(choice.groups.tolist())) == len(choice.rows) == len(splits.test) == 8


def test_images_that_cannot_be_read_are_not_told_as_judged(photos: Path, tmp_path: Path) -> None:
    bundle, splits = made(photos, tmp_path / "run")
    for number in range(3):
        (photos / "a" / f"broken{number}.jpg").write_text("no image")
    choice = choose_rows(bundle, load(photos), None)
    assert choice.told["judged"] == {"test": len(splits.test)}
    assert len(choice.rows) == len(splits.test) + 3


def test_what_was_noticed_when_the_source_was_opened_is_told(photos: Path, tmp_path: Path) -> None:
    bundle, _ = made(photos, tmp_path / "run")
    rows = [f"{name}/{number:02d}.png,{name}" for number, name in enumerate("ab" * 20)]
    (photos / "list.csv").write_text("\n".join(["path,label", *rows[:-1], rows[-1].replace(",b", ",")]))
    told = choose_rows(bundle, load(photos / "list.csv"), None).told
    assert told["notes"] == ["lines left out: 1 of 40 (has no label)"]


def test_arrays_of_the_same_pixels_are_the_same_images(photos: Path, tmp_path: Path) -> None:
    bundle, splits = made(photos, tmp_path / "run")
    dataset = load(photos)
    names = dataset.row_ids.tolist()
    images = np.stack([np.asarray(Image.open(photos / name)) for name in names])
    array = dataclasses.replace(dataset, images=images, fingerprint="another")
    assert choose_rows(bundle, array, None).rows.tolist() == splits.test.tolist()


def test_new_images_are_judged_beside_the_test_images(photos: Path, tmp_path: Path) -> None:
    bundle, splits = made(photos, tmp_path / "run")
    Image.new("RGB", (40, 40), (10, 200, 30)).save(photos / "a" / "new.png")
    choice = choose_rows(bundle, load(photos), None)
    assert choice.told["judged"] == {"test": len(splits.test), NEW: 1}
    assert f"judged on {len(splits.test)} test, 1 that the bundle does not know; left out" in in_words(choice.told)


def test_states_are_told_in_words_that_say_whose_they_are() -> None:
    told = {"judged": {"test": 20, NEW: 2}, "left_out": {"train": 78, "left out": 6}, "known_by": "content"}
    assert in_words({**told, "is_other_source": False}) == (
        "judged on 20 test, 2 that the bundle does not know; left out 78 train, 6 that training left out "
        "(told apart by content)"
    )


def test_where_no_image_could_be_read_none_is_told_as_judged() -> None:
    told = {"judged": {}, "left_out": {}, "known_by": "content", "is_other_source": False}
    assert in_words(told) == "judged on no image (told apart by content)"


def test_a_copy_of_a_train_image_is_not_judged_under_another_name(photos: Path, tmp_path: Path) -> None:
    bundle, splits = made(photos, tmp_path / "run")
    shutil.copy(photos / str(load(photos).row_ids[splits.train[0]]), photos / "a" / "copy.png")
    choice = choose_rows(bundle, load(photos), None)
    assert choice.told["judged"] == {"test": len(splits.test)}
    assert choice.told["left_out"]["train"] == len(splits.train) + 1


def test_only_learned_images_are_refused_and_all_says_what_it_mixes(photos: Path, tmp_path: Path) -> None:
    bundle, splits = made(photos, tmp_path / "run")
    dataset = load(photos)
    learned = dataclasses.replace(dataset.take(splits.train), fingerprint="another")
    with pytest.raises(InvalidSource, match=f"made with all of its images .{len(splits.train)} train.*--split all"):
        choose_rows(bundle, learned, None)
    mixed = choose_rows(bundle, dataclasses.replace(dataset, fingerprint="another"), "all").told["mixed"]
    assert mixed.startswith(f"{NUM_IMAGES - len(splits.test)} of which the bundle was made with (")
    assert f"{len(splits.train)} train" in mixed
    for name in ("train", "validation", "calibration", "test"):
        rows = choose_rows(bundle, dataclasses.replace(dataset, fingerprint="another"), name).rows
        assert rows.tolist() == getattr(splits, name).tolist()


def test_the_same_images_under_other_classes_are_another_source(photos: Path, tmp_path: Path) -> None:
    bundle, _ = made(photos, tmp_path / "run")
    for old, new in (("a", "x"), ("b", "a"), ("x", "b")):
        (photos / old).rename(photos / new)
    told = choose_rows(bundle, load(photos), None).told
    assert told["is_other_source"]
    assert in_words(told).startswith("another source than the one of that name")
    assert f"{NUM_IMAGES} of the {NUM_IMAGES} images that the bundle knows are of another class" in told["notes"][0]


def test_other_images_under_the_same_name_are_another_source(photos: Path, tmp_path: Path) -> None:
    bundle, _ = made(photos, tmp_path / "run")
    for path in photos.rglob("*.png"):
        with Image.open(path) as image:
            image.rotate(90).save(path)
    told = choose_rows(bundle, load(photos), None).told
    assert told["is_other_source"]
    assert told["judged"] == {NEW: NUM_IMAGES}


def test_without_hashes_a_run_knows_its_images_by_its_table_and_then_by_name(photos: Path, tmp_path: Path) -> None:
    bundle, splits = made(photos, tmp_path / "run", identity=False, in_run=True)
    same = choose_rows(bundle, load(photos), None)
    assert (same.rows.tolist(), same.told["known_by"]) == (splits.test.tolist(), "splits.csv")
    changed = choose_rows(bundle, load(touched(photos)), None)
    assert (changed.rows.tolist(), changed.told["known_by"]) == (splits.test.tolist(), "names")
    assert changed.told["notes"]


def test_where_nothing_tells_images_apart_that_is_said_or_refused(photos: Path, tmp_path: Path) -> None:
    bundle, _ = made(photos, tmp_path / "run", identity=False)
    with pytest.raises(InvalidSource, match="learned from these images, and which of them it did not"):
        choose_rows(bundle, load(photos), None)
    told = choose_rows(bundle, load(touched(photos)), None).told
    assert told["known_by"] == "nothing"
    assert "may have learned from" in told["mixed"]


def test_a_recorded_source_is_opened_only_where_the_bundle_lies_in_its_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, _ = made(photos, tmp_path / "run", in_run=True)
    apart, _ = made(photos, tmp_path / "strange")
    assert recorded_source(inside) == str(photos)
    with pytest.raises(InvalidValue, match="lies apart from its run"):
        recorded_source(apart)
    monkeypatch.chdir(inside.path)
    assert recorded_source(dataclasses.replace(inside, path=Path())) == str(photos)


def test_equal_images_have_the_strictest_state_and_parts_are_kept_once(photos: Path) -> None:
    dataset = load(photos)
    splits, digests = sightline.split(dataset, seed=3), digests_of(dataset)
    names = [dataset.class_names[label] for label in dataset.labels]
    digests[splits.test[0]] = digests[splits.train[0]]
    one = identity_of(dataset, splits, digests)
    found, _ = one.find(digests, names)
    assert found[splits.test[0]] == "train"
    assert (found[splits.test[1:]] == "test").all()
    other = identity_of(dataset, dataclasses.replace(splits, train=splits.test, test=splits.train), digests)
    both = merged_identities([one, other, one])
    assert both is not None
    assert len(both.parts) == 2
    assert set(both.find(digests, names)[0].tolist()) == {"train", "validation", "calibration"}
    assert (Identity(()).find(digests, names)[0] == NEW).all()
    part = merged_identities([one, None])
    assert part is not None
    assert not part.is_whole


def test_the_file_is_small_and_says_nothing_that_two_bundles_share(photos: Path, tmp_path: Path) -> None:
    generator, count = np.random.default_rng(0), 2_000
    digests = np.array([generator.bytes(32) for _ in range(count)], dtype="S32")
    dataset = load(photos)
    many = Dataset("many", ("a",), np.arange(count).astype(str), np.zeros(count, np.int64), np.zeros((count, 1, 1, 1), np.uint8), np.full(count, ""), "")  # fmt: skip  # noqa: E501
    rows = np.arange(count)
    splits = Splits(rows[:1000], rows[1000:1200], rows[1200:1400], rows[1400:], "")
    assert write_identity(tmp_path, identity_of(many, splits, digests)) < 10 * count + 2_000
    first = identity_of(many, splits, digests).parts[0]
    other = identity_of(dataclasses.replace(many), dataclasses.replace(splits, test=rows[1401:]), digests).parts[0]
    assert not set(first.hashes.tolist()) & set(other.hashes.tolist())
    assert len(dataset)


@pytest.mark.parametrize("key", ["keys", "sizes", "hashes", "states", "classes", "is_whole"])
def test_a_damaged_file_is_refused(key: str, photos: Path, tmp_path: Path) -> None:
    bundle, _ = made(photos, tmp_path / "run")
    with np.load(bundle.path / FILE) as arrays:
        content = dict(arrays)
    for wrong in (np.zeros(3, np.float64), np.array(["a"]), np.zeros(NUM_IMAGES, np.int16)):
        np.savez(bundle.path / FILE, **{**content, key: wrong})
        with pytest.raises(InvalidBundle, match=r"identity\.npz"):
            read_identity(bundle)
    assert json.dumps(choose_rows(made(photos, tmp_path / "b")[0], load(touched(photos)), None).told)


def test_an_identity_that_unpacks_to_gigabytes_is_refused_before_it_is_read(photos: Path, tmp_path: Path) -> None:
    bundle, _ = made(photos, tmp_path / "run")
    with zipfile.ZipFile(bundle.path / FILE, "w") as archive:
        for key in ("keys", "sizes", "hashes", "states", "classes", "is_whole"):
            archive.writestr(f"{key}.npy", bytes(2**18))
            archive.getinfo(f"{key}.npy").file_size = 200 * 2**20
    with pytest.raises(InvalidBundle, match=r"identity\.npz: cannot be read \(it says that it holds 1,258,291,200"):
        read_identity(bundle)


def test_images_of_one_class_are_enough_to_judge_by(photos: Path, tmp_path: Path) -> None:
    bundle, splits = made(photos, tmp_path / "run")
    shutil.rmtree(photos / "b")
    (photos.parent / "one.csv").write_text("path,label\n" + "".join(f"{path},a\n" for path in photos.rglob("*.png")))
    with pytest.raises(InvalidSource, match="one class only"):
        load(photos)
    for source in (photos, photos.parent / "one.csv"):
        dataset = open_again(source, {})
        judged = stems(dataset, choose_rows(bundle, dataset, None).rows)
        assert judged == {stem for stem in judged if int(stem) % 2 == 0}
        assert len(judged) <= len(splits.test)
