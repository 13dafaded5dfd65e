from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.errors import CannotWrite, InvalidValue, UnknownName
from sightline.system.backends import installed_backends
from sightline.system.progress import reporting
from sightline.training.preview import _some_of_each_class
from sightline.training.setup.preparation import prepare


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return picture.size


def test_ten_digits_of_mnist_are_one_of_each() -> None:
    picture = sightline.show("mnist", count=10)
    assert picture.labels == tuple("0123456789")
    assert "10 training images, 1 of each class: 0 1 2 3 4 5 6 7 8 9" in repr(picture)
    assert picture.path is None
    assert picture._repr_png_() == picture.png
    assert size_of(picture.png)[0] > 5 * 28


@pytest.mark.parametrize(
    ("counts", "asked", "shown"),
    [
        ([50, 50], None, [12, 12]),
        ([400, 1, 9], 12, [6, 1, 5]),
        ([9] * 10, 25, [3, 3, 3, 3, 3, 2, 2, 2, 2, 2]),
        ([2] * 10, None, [2] * 10),
        ([9] * 20, None, [3] * 20),
    ],
)
def test_a_few_of_each_class_are_shown(counts: list[int], asked: int | None, shown: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    arrays = {"x_train": np.zeros((len(labels), 8, 8), np.uint8), "y_train": labels}
    labels_shown = sightline.show(arrays, count=asked).labels
    assert labels_shown == tuple(str(label) for label, count in enumerate(shown) for _ in range(count))


def test_of_a_thousand_classes_some_are_shown_from_the_first_to_the_last() -> None:
    arrays = {"x_train": np.zeros((2000, 8, 8), np.uint8), "y_train": np.arange(2000) % 1000}
    picture = sightline.show(arrays)
    assert len(set(picture.labels)) == 120
    assert (picture.labels[0], picture.labels[-1]) == ("0", "999")
    assert "of 120 of 1,000 classes" in repr(picture)


def test_of_a_class_images_are_taken_at_even_distances() -> None:
    dataset = sightline.load({"x_train": np.zeros((90, 8, 8), np.uint8), "y_train": np.repeat([0, 1], [60, 30])})
    assert _some_of_each_class(dataset, 6).tolist() == [0, 20, 40, 60, 70, 80]


def test_a_picture_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    picture = sightline.show("mnist", count=3, out=tmp_path / "new" / "digits.png")
    assert picture.path == tmp_path / "new" / "digits.png"
    assert picture.path.read_bytes() == picture.png


def test_fewer_images_than_asked_for_are_all_shown() -> None:
    arrays = {"x_train": np.zeros((4, 8, 8), np.uint8), "y_train": np.array([0, 1, 1, 0])}
    assert sightline.show(arrays, count=25).labels == ("0", "0", "1", "1")


def test_what_was_noticed_when_the_source_was_opened_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    arrays = {"x_train": np.zeros((4, 8, 8), np.uint8), "y_train": np.array([0, 1, 1, 0]), "mask": np.zeros(4)}
    sightline.show(arrays)
    assert "note: the arrays mask mean nothing here" in capsys.readouterr().err


def test_test_images_are_not_shown(small_arrays: dict[str, np.ndarray]) -> None:
    arrays = {**small_arrays, "x_train": small_arrays["x_train"][:30], "y_train": small_arrays["y_train"][:30]}
    told = sightline.show(sightline.load(arrays, class_names=list("0123456789")), count=100).labels
    assert told == tuple(map(str, sorted(small_arrays["y_train"][:30])))


@pytest.mark.parametrize("count", [0, -1, 401, 2.0, True, "five"])
def test_a_count_out_of_range_is_refused(count: object) -> None:
    with pytest.raises(InvalidValue, match="count must be a whole number from 1 to 400; got"):
        sightline.show("mnist", count=count)  # type: ignore[arg-type]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownName, match="no source is called 'mnits'"):
        sightline.show("mnits")
    with pytest.raises(UnknownName, match="no recipe is called 'fats'"):
        sightline.show("mnist", recipe="fats")


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(CannotWrite, match="a part of the path is a file"):
        sightline.show("mnist", count=1, out=tmp_path / "taken" / "digits.png")


@pytest.mark.skipif(not installed_backends(), reason="no Keras backend is installed")
def test_augmented_variants_stand_beside_each_image(small_npz: Path) -> None:
    plain = sightline.show(small_npz, count=3)
    augmented = sightline.show(small_npz, count=3, augmented=True)
    assert augmented.labels == plain.labels
    assert size_of(augmented.png) != size_of(plain.png)
    other = sightline.show(small_npz, count=3, augmented=True, recipe=sightline.recipe("fast", {"seed": 1}))
    assert other.png != augmented.png
    assert sightline.show(small_npz, count=3, augmented=True).png == augmented.png


def test_a_part_that_is_set_to_off_is_not_named_among_those_that_change_the_images(small_npz: Path) -> None:
    off = {"augmentation.flip": "none", "augmentation.blur_sigma": 0}
    plain = sightline.show(small_npz, count=3, augmented=True)
    assert sightline.show(small_npz, count=3, augmented=True, recipe=sightline.recipe("fast", off)).png == plain.png


@pytest.mark.skipif(not installed_backends(), reason="no Keras backend is installed")
def test_a_recipe_that_changes_no_image_is_refused(small_npz: Path) -> None:
    with pytest.raises(InvalidValue, match="the recipe 'tutorial' changes no image"):
        sightline.show(small_npz, augmented=True, recipe="tutorial")


@pytest.mark.skipif(not installed_backends(), reason="no Keras backend is installed")
def test_mixed_images_are_shown_mixed(small_npz: Path) -> None:
    mixed = {"augmentation.policy": "none", "augmentation.mixup_alpha": 1.0}
    shown = [
        sightline.show(small_npz, count=6, augmented=True, recipe=sightline.recipe("fast", {**mixed, "seed": seed}))
        for seed in (0, 0, 1)
    ]
    assert shown[0].png == shown[1].png
    assert shown[0].png != shown[2].png


@pytest.mark.skipif(not installed_backends(), reason="no Keras backend is installed")
def test_a_flip_of_digits_is_warned_of_where_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting("plain"):
        sightline.show("mnist", count=2, augmented=True, recipe=sightline.recipe("fast", {"augmentation.flip": "both"}))
    assert "warning: augmentation may change the label: flips on 'mnist'" in capsys.readouterr().err


@pytest.mark.skipif(not installed_backends(), reason="no Keras backend is installed")
@pytest.mark.parametrize("where", ["arrays", "files"])
def test_images_that_mirror_those_of_another_class_are_not_shown_mirrored(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    ramp = np.linspace(0, 120, 32).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 100, (100, 32, 32, 3), dtype=np.uint8)
    images = noise + ramp[None, None, :, None]
    images[1::2] = noise[1::2] + ramp[None, None, ::-1, None]
    source: object = {"x_train": images, "y_train": np.arange(100) % 2}
    if where == "files":
        source = tmp_path / "signs"
        for number, image in enumerate(images):
            place = tmp_path / "signs" / f"class {number % 2}" / f"{number:02d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place)
    flipped = sightline.recipe("fast", {"augmentation.policy": "light"})
    trained = prepare(source, flipped).recipe.augmentation
    unflipped = sightline.recipe("fast", {"augmentation.policy": "light", "augmentation.flip": "none"})
    with reporting("plain"):
        shown = sightline.show(source, count=2, augmented=True, recipe=flipped)
    assert "note: images are not mirrored (augmentation.flip=none), because of" in capsys.readouterr().err
    # Two images alone would say nothing: the pictures are what training sees.
    assert trained.flip == "none"
    assert pixels_below_the_title(shown.png) == pixels_below_the_title(
        sightline.show(source, count=2, augmented=True, recipe=unflipped).png
    )


def pixels_below_the_title(png: bytes) -> bytes:
    with Image.open(io.BytesIO(png)) as picture:
        return picture.crop((0, 60, picture.width, picture.height)).tobytes()


@pytest.mark.skipif(not installed_backends(), reason="no Keras backend is installed")
def test_where_training_has_too_few_images_to_tell_it_mirrors_and_so_does_the_preview(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # 24 of each class, of which train keeps fewer than the twenty that say anything.
    ramp = np.linspace(0, 120, 32).astype(np.uint8)
    images = np.random.default_rng(0).integers(0, 100, (48, 32, 32, 3), dtype=np.uint8) + ramp[None, None, :, None]
    images[1::2] = images[1::2, :, ::-1]
    source = {"x_train": images, "y_train": np.arange(48) % 2}
    asked = sightline.recipe("fast", {"augmentation.policy": "light"})
    assert prepare(source, asked).recipe.augmentation.flip is None
    with reporting("plain"):
        sightline.show(source, count=2, augmented=True, recipe=asked)
    assert "not mirrored" not in capsys.readouterr().err
