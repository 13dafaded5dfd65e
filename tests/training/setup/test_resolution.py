"""Which recipe is meant where none is named, and how large small pictures become in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.configuration.recipes import parse_recipe
from sightline.data.sources import loading
from sightline.errors import InvalidValue, UnknownName
from sightline.training.setup import resolution
from sightline.training.setup.resolution import (
    Settled,
    default_recipe,
    opened_and_chosen,
    settle,
    take_steps,
)

AUTO = parse_recipe({"training.precision": "auto"})


def folder(place: Path, *, side: int, channels: int) -> Path:
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (place / name).mkdir(parents=True)
        for number in range(3):
            pixels = draw.integers(0, 256, (side, side, channels), dtype=np.uint8)
            Image.fromarray(pixels if channels == 3 else pixels[:, :, 0]).save(place / name / f"{number}.png")
    return place


@pytest.mark.parametrize(
    ("side", "channels", "name", "image_size"),
    [(32, 1, "photos", 32), (32, 3, "transfer", 96), (63, 3, "transfer", 96), (64, 1, "transfer", 224)],
)
def test_the_default_goes_by_colour_and_size(tmp_path: Path, side: int, channels: int, name: str, image_size) -> None:
    place = folder(tmp_path / "photos", side=side, channels=channels)
    assert default_recipe(sightline.load(place)) == name
    assert settle(sightline.recipe(name), dataset=sightline.load(place)).recipe.data.image_size == image_size


def test_names_and_arrays_are_trained_fast() -> None:
    assert default_recipe(sightline.load("mnist")) == "fast"
    assert opened_and_chosen("mnist", None)[0] == "mnist", "opened when its backend is loaded"


def test_a_folder_is_walked_once_though_the_rule_looks_into_it_first(tmp_path: Path, command, monkeypatch) -> None:
    place, walked, usual = folder(tmp_path / "photos", side=32, channels=3), [], loading.read_folder
    monkeypatch.setattr(
        loading, "read_folder", lambda *parts, **options: (walked.append(1), usual(*parts, **options))[1]
    )
    source, asked = opened_and_chosen(place, None)
    assert (sightline.load(source) is source, source.typed, asked.name) == (True, str(place), "transfer")
    assert command("show", place).code == 0
    assert len(walked) == 2, "once for each of the two"
    assert opened_and_chosen(place, "photos")[0] == place
    assert opened_and_chosen(source, "photos", ["training.epochs=3"])[1].training.epochs == 3


def test_the_rule_opens_nested_folders_the_way_the_settings_say(tmp_path: Path, command) -> None:
    for place in ("one", "two"):
        folder(tmp_path / "photos" / place, side=32, channels=3)
    last = "data.label_from=last"
    assert opened_and_chosen(tmp_path / "photos", None, [last])[1].name == "transfer"
    refused = command("show", tmp_path / "photos")
    assert refused.code == 2
    assert "label_from='last'" in refused.err
    shown = command("show", tmp_path / "photos", "--set", last, "--json")
    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["labels"] == ["a"] * 6 + ["b"] * 6


@pytest.mark.parametrize(
    ("backend", "flags", "has_gpu", "expected"),
    [
        ("tensorflow", "fpu amx_bf16 amx_tile", False, "mixed_bfloat16"),
        ("tensorflow", "fpu avx512_bf16 amx_bf16x", False, "float32"),
        ("tensorflow", "fpu amx_bf16", True, "float32"),
        ("torch", "fpu amx_bf16", False, "float32"),
        ("jax", "fpu amx_bf16", False, "float32"),
    ],
)
def test_auto_computes_in_bfloat16_only_where_tensorflow_and_the_processor_are_fast_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, flags: str, has_gpu: bool, expected: str
) -> None:
    processors, gpu = tmp_path / "cpuinfo", tmp_path / "nvidiactl"
    processors.write_text(f"processor\t: 0\nmodel name\t: amx_bf16\nflags\t\t: {flags}\n", encoding="utf-8")
    if has_gpu:
        gpu.touch()
    monkeypatch.setattr(resolution, "_PROCESSORS", processors)
    monkeypatch.setattr(resolution, "_NVIDIA", gpu)
    asked = parse_recipe({"training.precision": "auto"})
    assert settle(asked, backend=backend).recipe.training.precision == expected
    stated = parse_recipe({"training.precision": "mixed_float16"})
    assert settle(stated, backend=backend).recipe == stated


def test_auto_is_float32_where_the_system_does_not_list_its_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolution, "_PROCESSORS", tmp_path / "nothing")
    monkeypatch.setattr(resolution, "_NVIDIA", tmp_path / "nothing")
    assert settle(AUTO, backend="tensorflow").recipe.training.precision == "float32"


def changes_of(settled) -> dict[str, tuple[object, object]]:
    return {change.key: (change.asked, change.settled) for change in settled.changes}


def test_what_is_settled_is_told_with_what_was_asked_and_why() -> None:
    settled = settle(sightline.recipe("fast"), dataset=sightline.load("mnist"), num_train=60_000)
    assert changes_of(settled) == {
        "data.image_size": ("auto", 28),
        "data.color_mode": ("auto", "grey"),
        "model.name": ("auto", "lenet5"),
        "augmentation.policy": ("auto", "digits"),
        "training.epochs": ("auto", 8),
    }
    assert [change.reason for change in settled.changes] == [
        "the source has 28x28",
        "the source has grey",
        "grey images of 28 pixels a side",
        "grey images, which may be letters or digits",
        "8 to 40 that show about 80,000 images, of 60,000 train images",
    ]
    assert "auto" not in json.dumps(settled.recipe.to_dict())


def test_no_reason_gives_files_a_size_that_they_do_not_have(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (300, 200)).save(tmp_path / "photos" / name / "1.png")
    photos = sightline.load(tmp_path / "photos")
    told = {
        name: {change.key: change.reason for change in settle(sightline.recipe(name), dataset=photos).changes}
        for name in ("transfer", "photos")
    }
    assert told["transfer"]["data.image_size"] == "what efficientnet-lite0 is fed of images of 64 pixels a side or more"
    assert told["photos"]["data.image_size"] == "the median longer side, 64 at most"


def test_a_recipe_is_settled_in_steps_as_at_once() -> None:
    asked, mnist = sightline.recipe("accurate", {"training.epochs": "auto"}), sightline.load("mnist")
    at_once = settle(asked, backend="jax", dataset=mnist, num_train=500)
    steps = settle(settle(settle(asked, backend="jax"), dataset=mnist), num_train=500)
    assert steps == at_once
    assert changes_of(at_once)["training.epochs"] == ("auto", 40)
    assert settle(at_once.recipe, backend="jax", dataset=mnist, num_train=500).changes == (), "nothing is left"
    assert at_once.recipe.changed({key: asked for key, (asked, _) in changes_of(at_once).items()}) == asked


def test_a_key_that_is_settled_twice_is_told_once_and_one_that_comes_back_not_at_all() -> None:
    arrays = {"x_train": np.zeros((8, 32, 32, 3), np.uint8), "y_train": np.arange(8) % 2}
    keys = {"augmentation.policy": "photos", "ensemble.test_views": "auto", "training.epochs": 1}
    asked = sightline.recipe("fast", keys)
    first = settle(asked, dataset=sightline.load(arrays))
    assert changes_of(first)["ensemble.test_views"] == ("auto", "mirror")
    then = settle(first, unmirrored="classes that are told apart by a side")
    assert changes_of(then)["ensemble.test_views"] == ("auto", "shifts")
    assert changes_of(then)["augmentation.flip"] == (None, "none")
    assert [change.key for change in then.changes].count("ensemble.test_views") == 1
    assert changes_of(settle(then, num_train=8)) == changes_of(then)


def test_what_loses_its_use_by_a_step_is_told_as_well() -> None:
    asked = sightline.recipe("transfer", {"training.finetune_epochs": 5})
    told = take_steps(Settled(asked), [("model.name", "lenet5", "asked for")]).changes
    assert [(change.key, change.asked, change.settled) for change in told] == [
        ("model.name", "efficientnet-lite0", "lenet5"),
        ("training.finetune_epochs", 5, 0),
        ("training.feature_variants", "auto", 1),
    ]
    assert told[1].reason.startswith("it matters only for a pretrained network")


@pytest.mark.parametrize("variants", ["auto", 4])
def test_views_that_are_all_the_same_shorten_no_fine_tuning(variants: int | str) -> None:
    settings = {"augmentation.policy": "none", "training.feature_variants": variants}
    arrays = sightline.load({"x_train": np.zeros((4, 70, 70, 3), np.uint8), "y_train": np.array([0, 1, 0, 1])})
    settled = settle(sightline.recipe("transfer", settings), dataset=arrays, num_train=1_500)
    told = {change.key: (change.settled, change.reason) for change in settled.changes}
    assert told["training.finetune_epochs"][0] == round(13_000 / 1_500)
    assert "1,500 in each" in told["training.finetune_epochs"][1]
    assert told.get("training.feature_variants", (1, ""))[0] == 1


@pytest.mark.parametrize(("part", "shown"), [("upper", 6_000), ("all", 1_500)])
def test_epochs_of_fine_tuning_follow_what_one_of_them_shows(part: str, shown: int) -> None:
    settings = {"training.feature_variants": 4, "training.finetune_part": part}
    arrays = sightline.load({"x_train": np.zeros((4, 70, 70, 3), np.uint8), "y_train": np.array([0, 1, 0, 1])})
    settled = settle(sightline.recipe("transfer", settings), dataset=arrays, num_train=1_500)
    told = {change.key: (change.settled, change.reason) for change in settled.changes}["training.finetune_epochs"]
    assert told == (round(13_000 / shown), f"1 to 10 that show about 13,000 images, {shown:,} in each")


def test_a_mistyped_setting_is_told_before_a_folder_is_opened() -> None:
    for setting, error in (("trianing.epochs=3", UnknownName), ("training.epochs=often", InvalidValue)):
        with pytest.raises(error, match=r"tr[ai]+ning\.epochs"):
            opened_and_chosen("no/such/folder", None, [setting])


def test_augmentation_that_nothing_learns_from_is_told_of_as_settled() -> None:
    settled = settle(sightline.recipe("transfer"), num_train=10_000)
    assert changes_of(settled) == {
        "training.feature_variants": ("auto", 1),
        "training.finetune_epochs": ("auto", 1),
        "augmentation.policy": ("photos", "none"),
    }
