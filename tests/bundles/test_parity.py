from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

import sightline
from sightline.bundles.bundle import FOLDER, load_bundle, write_manifest
from sightline.bundles.parity import FILE, made_images, num_parity_images, read_parity
from sightline.bundles.sessions import open_session
from sightline.cli.main import build_parser
from sightline.errors import InvalidBundle
from sightline.records import InputSpec
from sightline.system.stored import read_arrays


def test_a_trained_bundle_holds_test_images_with_the_logits_of_its_network(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray]
) -> None:
    found = read_arrays(tiny_run.path / "bundle" / FILE)
    assert load_bundle(tiny_run.path).capabilities.count("parity") == 1
    assert (found["images"].shape, found["images"].dtype, str(found["kind"])) == (
        (32, 28, 28, 1),
        np.uint8,
        "photographs",
    )
    known = {image.tobytes() for image in small_arrays["x_test"]}
    assert all(image.tobytes() in known for image in found["images"])
    np.testing.assert_allclose(open_session(tiny_run.bundle).logits(found["images"]), found["logits"], atol=1e-4)
    assert "holds 32 images with their logits, to verify the bundle: pictures of the data" in (
        tiny_run.path / "bundle" / "card.md"
    ).read_text(encoding="utf-8")


def test_the_network_of_the_package_holds_made_images(tmp_path: Path) -> None:
    bundle = load_bundle("imagenet")
    found = read_arrays(bundle.path / FILE)
    assert bundle.capabilities == ("parity",)
    assert str(found["kind"]) == "made"
    np.testing.assert_array_equal(found["images"], made_images(bundle.input))
    np.testing.assert_allclose(open_session(bundle).logits(found["images"][:2]), found["logits"][:2], atol=1e-3)


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        (InputSpec(28, 28, "grey"), 32),
        (InputSpec(224, 224, "rgb"), 13),
        (InputSpec(1024, 1024, "rgb"), 1),
        (InputSpec(1, 5, "rgb"), 32),
    ],
)
def test_the_images_stay_within_two_megabytes_and_differ(spec: InputSpec, count: int) -> None:
    images = made_images(spec)
    assert (len(images), num_parity_images(spec), images.shape[1:], images.dtype) == (
        count,
        count,
        spec.shape,
        np.uint8,
    )
    assert len({image.tobytes() for image in images}) == count


def test_no_picture_of_the_data_is_kept_where_the_recipe_says_so(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    from sightline.training.packaging.bundling import _write_parity
    from sightline.training.setup.preparation import prepare

    recipe = sightline.recipe("fast", {"data.parity_images": False})
    data = prepare({name: array[:100] for name, array in small_arrays.items()}, recipe)
    session = open_session(tiny_run.bundle)
    assert "no picture of the data is in the bundle" in _write_parity(tmp_path, session, data)
    assert str(read_arrays(tmp_path / FILE)["kind"]) == "made"
    few = dataclasses.replace(data.splits, test=data.splits.test[:3])
    told = _write_parity(tmp_path, session, dataclasses.replace(data, recipe=sightline.recipe("fast"), splits=few))
    assert "holds 3 images" in told


def test_images_or_logits_that_do_not_fit_the_bundle_are_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FOLDER, tmp_path / "bundle"))
    for images, logits in (((2, 8, 8, 3), (2, 1000)), ((2, 224, 224, 3), (3, 1000)), ((0, 224, 224, 3), (0, 1000))):
        np.savez(folder / FILE, images=np.zeros(images, np.uint8), logits=np.zeros(logits, np.float32))
        write_manifest(folder, kind="embedded")
        with pytest.raises(InvalidBundle, match="holds other images or logits"):
            read_parity(load_bundle(folder))
    (folder / FILE).write_bytes(b"no archive")
    write_manifest(folder, kind="embedded")
    with pytest.raises(InvalidBundle, match="cannot be read"):
        read_parity(load_bundle(folder))
    (folder / FILE).unlink()
    write_manifest(folder, kind="embedded")
    assert read_parity(load_bundle(folder)) is None


@pytest.mark.parametrize("command", ["train", "distil"])
def test_the_option_sets_the_key(command: str) -> None:
    assert build_parser().parse_args([command, "x", "--no-parity-images"]).settings == ["data.parity_images=false"]
    assert build_parser().parse_args([command, "x", "--set", "seed=1"]).settings == ["seed=1"]
    assert build_parser().parse_args([command, "x"]).settings == []
