"""The training images that look most alike: named as brute force finds them, pictured or kept back as was asked."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.bundle import load_bundle, write_manifest
from sightline.bundles.sessions import session_of
from sightline.bundles.trust.neighbours import (
    FILE,
    NamedImages,
    NeighboursMaker,
    neighbours_section,
    read_neighbours,
    read_thumbnails,
    write_neighbours,
    write_thumbnails,
)
from sightline.errors import InvalidBundle, InvalidValue
from sightline.metrics.novelty import placed, squared_distances
from sightline.records import Neighbours


def nearest_of(answers: sightline.Predictions) -> Neighbours:
    found = answers.details["neighbours"]
    assert isinstance(found, Neighbours)
    return found


def test_the_nearest_are_those_of_brute_force_over_the_named_images(
    tiny_run: sightline.Run, small_npz: Path, small_arrays: dict[str, np.ndarray]
) -> None:
    from sightline.training.packaging.novelty_fit import SEEN
    from sightline.training.packaging.novelty_graph import seeing

    named = read_neighbours(tiny_run.bundle)
    dataset = sightline.load(small_npz)
    row_of = {name: row for row, name in enumerate(dataset.row_ids.tolist())}
    rows = np.array([row_of[name] for name in named.names])
    assert sorted(rows.tolist()) == tiny_run.splits.train.tolist()
    assert (dataset.labels[rows] == named.labels).all()
    asked = small_arrays["x_test"][:30]
    with seeing(session_of(tiny_run.bundle), width=84) as session:
        learned = placed(session.collect(np.asarray(dataset.images)[rows], [SEEN])[SEEN])
        points = placed(session.collect(asked[..., None], [SEEN])[SEEN])
    distances = np.sqrt(squared_distances(points, learned))
    found = nearest_of(sightline.predict(tiny_run, asked, nearest=3, progress=False))
    order = np.argsort(distances, axis=1)[:, :3]
    # Kept in float16, so that two that are about as far may change places.
    assert (found.names == named.names[order]).mean() > 0.9
    assert np.abs(found.distances - np.take_along_axis(distances, order, axis=1)).max() < 2e-3
    # A train image is nearest to itself.
    itself = nearest_of(sightline.predict(tiny_run, np.asarray(dataset.images)[rows[:20]], nearest=1, progress=False))
    assert itself.names[:, 0].tolist() == named.names[:20].tolist()


def test_the_command_names_them_in_words_json_and_the_table(
    command: Callable[..., Any], tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    Image.fromarray(small_arrays["x_test"][0]).save(tmp_path / "digit.png")
    answer = command("predict", tiny_run.path, tmp_path / "digit.png", "--nearest", "2", "--csv", "out.csv", "--json")
    (row,) = [json.loads(line) for line in answer.out.splitlines()]
    assert [sorted(one) for one in row["nearest"]] == [["distance", "label", "name"]] * 2
    assert row["nearest"][0]["distance"] <= row["nearest"][1]["distance"]
    with (tmp_path / "out.csv").open(newline="") as table:
        assert json.loads(next(csv.DictReader(table))["nearest"]) == row["nearest"]
    said = command("predict", tiny_run.path, tmp_path / "digit.png", "--nearest", "2").out
    assert f"  nearest: {row['nearest'][0]['name']}, {row['nearest'][1]['name']}\n" in said
    assert command("predict", tiny_run.path, tmp_path / "digit.png", "--nearest", "6").code == 2


def test_whole_numbers_of_numpy_are_numbers(tiny_run: sightline.Run) -> None:
    answers = sightline.predict(tiny_run, np.zeros((9, 9), np.uint8), nearest=np.int64(2), progress=False)
    assert answers.details["neighbours"].names.shape == (1, 2)


@pytest.mark.parametrize("count", [0, 6, True, 1.0, "3"])
def test_numbers_that_are_none_are_refused(tiny_run: sightline.Run, count: Any) -> None:
    with pytest.raises(InvalidValue, match="nearest must be a whole number from 1 to 5; got"):
        sightline.predict(tiny_run, np.zeros((9, 9), np.uint8), nearest=count, progress=False)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"names": np.array(["a"])}, "names are not text"),
        ({"names": np.frombuffer(b'{"a": 1}', np.uint8)}, "no list of text"),
        ({"names": np.frombuffer(b"[" * 5_000, np.uint8)}, "cannot be read"),
        ({"names": np.frombuffer(b'["a", 1]', np.uint8)}, "no list of text"),
        ({"labels": np.zeros(3, np.int32)}, "labels are not one a name"),
        ({"labels": [10]}, "not those of classes"),
        ({"labels": None}, "lacks the array 'labels'"),
    ],
)
def test_a_damaged_file_is_refused_with_what_is_wrong(run_copy: Path, arrays: dict[str, Any], said: str) -> None:
    path = run_copy / "bundle" / FILE
    with np.load(path) as stored:
        kept = dict(stored)
    if isinstance(arrays.get("labels"), list):
        arrays = {"labels": np.full_like(kept["labels"], 10)}
    kept |= arrays
    np.savez(path, **{name: value for name, value in kept.items() if value is not None})
    (run_copy / "bundle" / "manifest.json").unlink()
    write_manifest(run_copy / "bundle")
    with pytest.raises(InvalidBundle, match=f"{FILE}: cannot be read .*{said}|{said}"):
        read_neighbours(load_bundle(run_copy))


def test_a_graph_that_names_images_that_nobody_kept_is_refused() -> None:
    named = NamedImages(np.array(["a", "b"], dtype=object), np.zeros(2, np.int32))
    maker = NeighboursMaker({"nearest": 2}, "", named, ("cat",), Path("bundle"))
    distances = np.zeros((1, 2), np.float32)
    assert maker.make({"nearest": np.float32([[1, 0]]), "nearest_distances": distances}, None).names.tolist() == [
        ["b", "a"]
    ]
    unread = maker.make({"nearest": np.float32([[np.nan] * 2]), "nearest_distances": distances * np.nan}, None)
    assert unread.names.tolist() == unread.classes.tolist() == [["", ""]]
    for rows in ([[0, 2]], [[0, -1]], [[0]]):
        with pytest.raises(InvalidBundle, match=r"^bundle: model\.onnx"):
            maker.make({"nearest": np.float32(rows), "nearest_distances": distances}, None)


def test_a_bundle_without_them_says_so(run_copy: Path) -> None:
    (run_copy / "bundle" / FILE).unlink()
    (run_copy / "bundle" / "manifest.json").unlink()
    write_manifest(run_copy / "bundle")
    with pytest.raises(InvalidBundle, match="cannot name the nearest training images"):
        sightline.predict(run_copy, np.zeros((9, 9), np.uint8), nearest=1, progress=False)
    with pytest.raises(InvalidBundle, match=r"^imagenet: cannot name the nearest training images: none of them came"):
        sightline.predict("imagenet", np.zeros((9, 9), np.uint8), nearest=1, progress=False)
    assert "no training image is named, and neither a picture of a single one" in neighbours_section(0)


def test_thumbnails_are_small_and_come_back_in_order(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), np.uint8).repeat(16, axis=1).repeat(16, axis=2)
    names = ["plain.png", "\udcff broken name.png", "日本.png"]
    num_bytes = write_neighbours(tmp_path, names, np.arange(3)), write_thumbnails(tmp_path, images)
    assert max(num_bytes) < 20_000
    manifest = {"outputs": {"nearest": {}, "nearest_distances": {}}}
    bundle: Any = SimpleNamespace(
        path=tmp_path, capabilities=("neighbours", "thumbnails"), manifest=manifest, class_names=("a", "b", "c")
    )
    assert read_neighbours(bundle).names.tolist() == names
    pictures = read_thumbnails(bundle)
    assert pictures is not None
    for picture, image in zip(pictures, images, strict=True):
        opened = Image.open(io.BytesIO(picture))
        assert opened.size == (96, 64)
        # WebP at this quality keeps a block of eight pixels to some twenty of 255.
        assert np.abs(np.asarray(opened)[4::8, 4::8].astype(int) - image[8::16, 8::16]).mean() < 30
    assert "holds a picture of each, 96 pixels" in neighbours_section(3, *num_bytes)


def test_whatever_the_names_are_what_is_written_can_be_read(tmp_path: Path) -> None:
    # Of six and of twelve bytes a letter as JSON, and as long as an archive lets a name be.
    names = [f"{number} {letter * 60_000}.png" for number in range(500) for letter in ("日", "😀")]
    num_bytes = write_neighbours(tmp_path, names, np.zeros(1_000, np.int64))
    assert num_bytes < 4 * 2**20
    manifest = {"outputs": {"nearest": {}, "nearest_distances": {}}}
    bundle: Any = SimpleNamespace(path=tmp_path, capabilities=("neighbours",), manifest=manifest, class_names=("a",))
    found = read_neighbours(bundle).names.tolist()
    assert [name.split()[0] for name in found] == [name.split()[0] for name in names]
    assert all(name.endswith(".png") and "…" in name for name in found)


@pytest.mark.slow
@pytest.mark.soak
def test_training_keeps_what_was_asked_for_and_nothing_of_one_image_otherwise(small_npz: Path, tmp_path: Path) -> None:
    kept = {}
    for kind in ("thumbnails", "none"):
        keys = {"model.name": "mlp", "training.epochs": 1, "data.neighbours": kind, "data.fraction": 0.5}
        recipe = sightline.recipe("fast", keys)
        run = sightline.train(small_npz, recipe=recipe, out=tmp_path / kind, mode="quiet")
        kept[kind] = run.bundle
    assert {"neighbours", "thumbnails"} <= set(kept["thumbnails"].capabilities)
    assert len(read_thumbnails(kept["thumbnails"]) or ()) == len(read_neighbours(kept["thumbnails"]).names)
    card = (kept["thumbnails"].path / "card.md").read_text(encoding="utf-8")
    assert "holds a picture of each" in card
    assert not {"neighbours", "thumbnails"} & set(kept["none"].capabilities)
    assert "nearest" not in kept["none"].manifest["outputs"]
    assert sightline.predict(kept["none"], np.zeros((9, 9), np.uint8), progress=False).predicted
    assert read_thumbnails(kept["none"]) is None
    # The bank of the usual score would be 1,000 rows of what the network sees of single images.
    assert (kept["none"].path / "model.onnx").stat().st_size < (kept["thumbnails"].path / "model.onnx").stat().st_size


def test_the_option_is_short_for_the_key() -> None:
    from sightline.cli.main import build_parser

    for command in ("train", "distil"):
        typed = build_parser().parse_args([command, "x", "--neighbours", "none"])
        assert typed.settings == ["data.neighbours=none"]
