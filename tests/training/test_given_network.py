"""A training of a network of one's own: from its weights to a bundle, stopped and gone on with, begun with, joined."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sightline
from sightline.errors import InvalidValue, OutputExists
from sightline.system.backends import load_keras

keras = load_keras()

from keras import layers  # noqa: E402  # the backend is chosen first

from sightline.bundles.vetting.network_files import open_network  # noqa: E402

KEYS = {"training.epochs": 2, "optimizer.learning_rate": 0.003}


def network(num_classes: int = 10, side: int = 28, *, seed: int = 3) -> Any:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((side, side, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(num_classes, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def weights_of(run: Path) -> list[bytes]:
    return [weight.tobytes() for weight in open_network(run / "bundle" / "model.keras").get_weights()]


@pytest.fixture(scope="module")
def given_run(small_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> sightline.Run:
    out = tmp_path_factory.mktemp("given") / "run"
    return sightline.train(small_npz, model=network(), recipe=sightline.recipe("fast", KEYS), out=out, mode="quiet")


def test_a_run_of_a_network_of_ones_own_is_a_run_like_any_other(given_run, small_npz, small_arrays, tmp_path):
    recipe = json.loads((given_run.path / "recipe.json").read_text())
    assert (recipe["model"]["name"], recipe["data"]["image_size"], recipe["data"]["color_mode"]) == (
        "custom",
        28,
        "grey",
    )
    settled = {one["key"]: one["reason"] for one in json.loads((given_run.path / "resolution.json").read_text())}
    assert settled["model.name"] == "a network was given"
    # The weights that it began with are kept, and those that it ended with are others.
    begun = open_network(given_run.path / "network.keras").get_weights()
    for ours, given in zip(begun, network().get_weights(), strict=True):
        np.testing.assert_array_equal(ours, given)
    assert weights_of(given_run.path) != [weight.tobytes() for weight in begun]
    assert given_run.evaluation.figures["accuracy"].value > 0.3
    found = sightline.verify(given_run.path)
    assert found.holds, str(found)
    again = sightline.evaluate(given_run.bundle, small_npz)
    assert again.figures["accuracy"].value == pytest.approx(given_run.evaluation.figures["accuracy"].value)
    assert "a network of its user's own" in (given_run.bundle.path / "card.md").read_text()
    exported = sightline.export(given_run.bundle, "onnx", out=tmp_path / "exported")
    assert Path(exported.path).exists()


def test_the_same_network_gives_the_same_run_and_other_weights_another(given_run, small_npz, tmp_path):
    recipe = sightline.recipe("fast", KEYS)
    same = sightline.train(small_npz, model=network(), recipe=recipe, out=tmp_path / "same", mode="quiet")
    if same.backend == "tensorflow":
        assert weights_of(same.path) == weights_of(given_run.path)
    other = sightline.train(small_npz, model=network(seed=4), recipe=recipe, out=tmp_path / "other", mode="quiet")
    assert weights_of(other.path) != weights_of(given_run.path)


BEGINS = """
import os, signal, sys
import sightline
from sightline.system.backends import load_keras
load_keras()
sys.path.insert(0, sys.argv[1])
from test_given_network import KEYS, network
from sightline.training.loop import checkpoint_files
calls, usual = 0, checkpoint_files.write_json
def kill(*arguments, **options):
    global calls
    calls += 1
    if calls == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return usual(*arguments, **options)
checkpoint_files.write_json = kill
recipe = sightline.recipe("fast", KEYS)
sightline.train(sys.argv[2], model=network(), recipe=recipe, out="run", checkpoint_every="1steps", mode="quiet")
"""


@pytest.mark.slow
def test_a_run_that_is_killed_is_gone_on_with_by_what_its_folder_keeps(given_run, small_npz, tmp_path):
    words = [sys.executable, "-c", BEGINS, str(Path(__file__).parent), str(small_npz)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == -9, done.stderr
    run = tmp_path / "run"
    assert (run / "checkpoints" / "000001").is_dir()
    assert not (run / "metrics.json").exists()
    with pytest.raises(OutputExists, match="the network that is given is another, or has other weights"):
        sightline.train(small_npz, model=network(seed=4), recipe=sightline.recipe("fast", KEYS), out=run, mode="quiet")
    assert sightline.resume(run, mode="quiet").history[-1]["epoch"] == 2
    if given_run.backend == "tensorflow":
        assert weights_of(run) == weights_of(given_run.path)


def test_a_training_begins_with_such_a_run_with_classes_by_name(given_run, small_arrays, tmp_path):
    fewer = small_arrays["y_test"] < 6
    source = sightline.load({"x_train": small_arrays["x_test"][fewer], "y_train": small_arrays["y_test"][fewer]})
    begun = sightline.train(source, start=given_run, out=tmp_path / "begun", mode="quiet")
    assert begun.recipe["model"] | {"weights": ""} == given_run.recipe["model"] | {"weights": ""}
    assert begun.bundle.class_names == given_run.bundle.class_names[:6]
    assert sightline.verify(begun.bundle).holds
    assert not (begun.path / "network.keras").exists()


@pytest.mark.slow
def test_such_a_run_is_extended(given_run, small_npz, tmp_path):
    longer = sightline.extend(given_run, epochs=1, source=small_npz, out=tmp_path / "longer", mode="quiet")
    assert [epoch["epoch"] for epoch in longer.history] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["deep", "greedy-soup", "bagging"])
def test_members_of_an_ensemble_begin_with_the_weights_that_were_given(kind, small_npz, tmp_path):
    keys = KEYS | {"ensemble.kind": kind, "ensemble.members": 2, "training.epochs": 1}
    recipe, out = sightline.recipe("fast", keys), tmp_path / kind
    # What is trained in another process finds the network in the folder of the run.
    jobs = 2 if kind == "deep" else 1
    run = sightline.train(small_npz, model=network(), recipe=recipe, out=out, jobs=jobs, mode="quiet")
    assert [open_network(out / "members" / f"0{n}" / "model.keras").get_layer("logits").units for n in (1, 2)] == [
        10,
        10,
    ]
    assert sightline.verify(run.bundle).holds


@pytest.mark.parametrize(
    ("options", "keys", "why"),
    [
        ({"model": "lenet5"}, {}, "takes a network of Keras 3"),
        ({"start": "runs/some"}, {}, "model and start both say which network learns"),
        ({}, {"data.image_size": 32}, "takes images of 28 pixels a side; got data.image_size=32"),
        ({}, {"data.color_mode": "rgb"}, "takes 1 channel; got data.color_mode=rgb"),
        ({}, {"model.dropout": 0.5}, "model.dropout is for networks of Sightline's; got 0.5"),
        ({}, {"training.precision": "mixed_bfloat16"}, "training.precision=mixed_bfloat16 is for networks that"),
        ({"recipe": "transfer"}, {}, "recipe transfer fits a head on a pretrained network"),
        ({"classes": 7}, {}, "gives 7 numbers, and 'small' has 10 classes. End it in keras.layers.Dense(10)"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_decoded(
    options, keys, why, small_npz, tmp_path, monkeypatch
):
    monkeypatch.setattr("sightline.training.setup.preparation.read_pixels", lambda *_, **__: pytest.fail("decoded"))
    recipe = options.pop("recipe", None) or sightline.recipe("fast", keys)
    model = options.pop("model", None) or network(options.pop("classes", 10))
    with pytest.raises(InvalidValue) as refused:
        sightline.train(small_npz, model=model, recipe=recipe, out=tmp_path / "run", mode="quiet", **options)
    assert why in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_says_that_a_network_is_given_is_refused_where_none_is(given_run, small_npz, tmp_path, command):
    answer = command("train", small_npz, "--recipe", given_run.path / "recipe.json")
    assert answer.code == 2
    assert "model.name=custom stands for a network that is given, and none is" in answer.err


def test_a_network_in_the_folder_of_a_run_that_was_changed_is_refused(given_run, tmp_path):
    copy = Path(shutil.copytree(given_run.path, tmp_path / "copy"))
    content = bytearray((copy / "network.keras").read_bytes())
    content[len(content) // 2] ^= 255
    (copy / "network.keras").write_bytes(bytes(content))
    from sightline.bundles.vetting.given_networks import given_to
    from sightline.configuration.recipes import parse_recipe
    from sightline.errors import InvalidBundle

    with pytest.raises(InvalidBundle, match=r"network\.keras: not a network that Sightline opens"):
        given_to(copy, parse_recipe(given_run.recipe).model)


def test_photographs_learn_by_the_recipe_for_photographs_where_none_is_named(tmp_path, capsys):
    from PIL import Image

    generator = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(30):
            pixels = generator.integers(level, level + 50, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(2)])
    run = sightline.train(tmp_path / "photos", model=model, out=tmp_path / "run", mode="plain")
    assert "recipe photos, by the rule: photos for files where a network is given" in capsys.readouterr().err
    assert (run.recipe["name"], run.bundle.input.shape) == ("photos", (16, 16, 3))
