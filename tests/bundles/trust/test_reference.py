"""What a bundle keeps of its images to compare others with: measured once, the same wherever they come, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.bundle import load_bundle, write_manifest
from sightline.bundles.prediction import predict_with
from sightline.bundles.trust.reference import (
    FILE,
    PROPERTIES,
    PropertyMaker,
    read_reference,
    refer,
    reference_section,
    write_reference,
)
from sightline.data.inputs.pixels import read_pixels
from sightline.errors import InvalidBundle
from sightline.metrics.conformal import label_scores
from sightline.records import Predictions


@pytest.mark.slow
def test_a_training_keeps_what_its_calibration_images_are_like(tiny_run: sightline.Run, small_npz: Path) -> None:
    kept = read_reference(tiny_run.bundle)
    rows = tiny_run.splits.calibration
    dataset = sightline.load(small_npz).take(rows)
    answers = sightline.predict(tiny_run, dataset, progress=False)
    assert len(kept) == kept.num_images == len(rows)
    # Arrays have no file, and a network that sees no colour none.
    assert set(kept.columns) == set(PROPERTIES) - {"format", "colour"}
    assert (kept.columns["novelty"] > 0).all()
    assert kept.columns["class"].tolist() == answers.logits.argmax(axis=1).tolist()
    assert kept.columns["brightness"] == pytest.approx(dataset.images.mean(axis=(1, 2, 3)) / 255, rel=1e-5)
    # At temperature 1.
    assert kept.columns["certainty"] == pytest.approx(-label_scores(answers.logits).min(axis=1), rel=1e-5)


@pytest.mark.slow
def test_the_card_names_what_is_kept_and_its_size(tiny_run: sightline.Run) -> None:
    card = (tiny_run.bundle.path / "card.md").read_text()
    num_bytes = (tiny_run.bundle.path / FILE).stat().st_size
    assert f"calibration images (`{FILE}`, {num_bytes:,} bytes). No image and no name is kept" in card
    assert "reference" in tiny_run.bundle.capabilities


@pytest.mark.slow
def test_an_image_has_the_same_properties_as_file_array_dataset_alone_and_among_others(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    images = small_arrays["x_test"][:5]
    for row, image in enumerate(images):
        (tmp_path / "ab"[row % 2]).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "ab"[row % 2] / f"{row}.png")
    dataset = sightline.load(tmp_path)
    makers = {"properties": PropertyMaker(read_reference(tiny_run.bundle).key, {})}

    def told(given: Any) -> Any:
        return predict_with(tiny_run.bundle, given, makers).details["properties"]

    arrays = told(images)
    places = [int(Path(name).stem) for name in dataset.row_ids.tolist()]
    for found in (told(dataset), told([tmp_path / name for name in dataset.row_ids.tolist()])):
        assert found.table[:, :6].tolist() == pytest.approx(arrays.table[places, :6], nan_ok=True)
        assert found.table[:, 7:] == pytest.approx(arrays.table[places, 7:], rel=1e-3)
        assert found.draws.tolist() == arrays.draws[places].tolist()
        assert (found.table[:, 6] == 1).all()  # PNG
    assert np.isnan(arrays.table[:, 6]).all()
    alone = told(images[3])
    assert (alone.draws[0], alone.table[0, 2]) == (arrays.draws[3], arrays.table[3, 2])
    assert arrays.cells(0, np.zeros(2), ())["format"] is None


def given(num_images: int, *, groups: Any = None) -> tuple[Predictions, sightline.Dataset]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (num_images, 8, 8, 1), dtype=np.uint8)
    dataset = sightline.load({"x_train": images, "y_train": np.arange(num_images) % 2})
    logits = random.normal(size=(num_images, 2)).astype(np.float32)
    names = [str(row) for row in range(num_images)]
    return Predictions.of(names, logits, class_names=("0", "1"), groups=groups), dataset


def kept_of(predictions: Predictions, dataset: sightline.Dataset, **outputs: np.ndarray) -> Any:
    spec = sightline.records.InputSpec(8, 8, "grey")
    found = {"logits": predictions.logits, **outputs}
    return refer(found, dataset, read_pixels(dataset, spec), groups=predictions.groups, spec=spec, seed=0)


def test_where_the_graph_tells_how_far_an_image_lies_that_is_kept_too() -> None:
    predictions, dataset = given(4)
    kept = kept_of(predictions, dataset, novelty=np.array([[0.5], [np.inf], [0.25], [np.nan]], np.float32))
    farthest = np.finfo(np.float32).max
    assert kept.columns["novelty"].tolist() == [0.5, farthest, 0.25, farthest]


def test_of_each_group_one_image_is_kept() -> None:
    predictions, dataset = given(60, groups=np.array([f"g{row // 20}" for row in range(60)]))
    kept = kept_of(predictions, dataset)
    assert (len(kept), kept.num_images, kept.is_grouped) == (3, 60, True)
    assert kept.words == "60 calibration images (3 groups, one of each counted)"


def test_without_calibration_images_nothing_is_kept_and_the_card_says_so() -> None:
    predictions, dataset = given(4)
    nothing = np.empty(0, np.int64)
    assert kept_of(predictions.take(nothing), dataset.take(nothing)) is None
    assert "`check` has nothing to compare images with" in reference_section(None)


def test_an_image_takes_less_than_a_hundred_bytes(tmp_path: Path) -> None:
    predictions, dataset = given(2_000)
    kept = kept_of(predictions, dataset)
    assert write_reference(tmp_path, kept) < 100 * 2_000
    assert sorted(np.load(tmp_path / FILE)) == sorted([*kept.columns, "is_grouped", "key", "num_images"])


@pytest.mark.slow
def test_a_bundle_without_it_opens_and_says_what_it_lacks(run_copy: Path) -> None:
    (run_copy / "bundle" / FILE).unlink()
    (run_copy / "bundle" / "manifest.json").unlink()
    write_manifest(run_copy / "bundle")
    bundle = load_bundle(run_copy)
    with pytest.raises(InvalidBundle, match=r"without calibration images, or by an earlier Sightline\. Train again"):
        read_reference(bundle)
    with pytest.raises(InvalidBundle, match="imagenet: cannot tell what its images were like"):
        read_reference(load_bundle("imagenet"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"key": np.zeros(3, np.uint8)}, "its key is not of 16 bytes"),
        ({"brightness": np.zeros(3, np.float32)}, "its brightness is not one finite float32 an image"),
        ({"class": None}, "it has no classes"),
        ({"certainty": None}, "it does not say how surely they were answered"),
        ({"num_images": np.array(1, np.int64)}, "its counts do not go together"),
        ({"num_images": None}, "num_images"),
    ],
)
def test_a_damaged_one_is_refused(altered: Callable[..., Path], arrays: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidBundle, match=rf"reference\.npz: cannot be read \(.*{reason}.*Copy the whole bundle"):
        read_reference(load_bundle(altered(**arrays)))


@pytest.mark.slow
def test_numbers_of_a_stranger_are_looked_at_and_those_of_a_newer_version_passed_over(
    altered: Callable[..., Path], tiny_run: sightline.Run
) -> None:
    count = len(read_reference(tiny_run.bundle))
    for name, value, reason in (
        ("certainty", np.nan, "its certainty is not one finite"),
        ("class", 10, "its class is not one of 10"),
        ("class", 0.5, "its class is not one of 10"),
        ("format", 99, "its format is not one of 10"),
    ):
        usual = {one: np.zeros(count, np.float32) for one in ("certainty", "class", "format")}
        with pytest.raises(InvalidBundle, match=reason):
            read_reference(load_bundle(altered(**usual | {name: np.full(count, value, np.float32)})))
    usual["smell"] = np.array(["sweet"])
    assert "smell" not in read_reference(load_bundle(altered(**usual))).columns


def test_a_kept_one_comes_back_as_it_was(tmp_path: Path) -> None:
    predictions, dataset = given(30)
    kept = kept_of(predictions, dataset)
    write_reference(tmp_path, kept)
    bundle: Any = dataclasses.make_dataclass("Bundle", ["path", "class_names", "capabilities", "manifest"])(
        tmp_path, ("0", "1"), ("reference",), {}
    )
    back = read_reference(bundle)
    assert (back.key, back.num_images, back.is_grouped) == (kept.key, 30, False)
    assert all((back.columns[name] == kept.columns[name]).all() for name in kept.columns)
