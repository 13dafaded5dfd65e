"""Which recipe is meant where none is named, and how large small pictures become in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.configuration.parsing import parse_recipe
from sightline.data.sources import loading
from sightline.training.setup import resolution
from sightline.training.setup.resolution import (
    chosen_recipe,
    default_recipe,
    opened_and_chosen,
    resolve,
    settle_precision,
)


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
    assert resolve(sightline.recipe(name), sightline.load(place)).data.image_size == image_size


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
    assert chosen_recipe(source, "photos", ["training.epochs=3"]).training.epochs == 3


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
    assert '"labels": ["a", "a", "a", "b", "b", "b", "a"' in shown.out


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
    assert settle_precision(asked, backend).training.precision == expected
    stated = parse_recipe({"training.precision": "mixed_float16"})
    assert settle_precision(stated, backend) == stated


def test_auto_is_float32_where_the_system_does_not_list_its_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolution, "_PROCESSORS", tmp_path / "nothing")
    monkeypatch.setattr(resolution, "_NVIDIA", tmp_path / "nothing")
    assert settle_precision(parse_recipe({"training.precision": "auto"}), "tensorflow").training.precision == "float32"
