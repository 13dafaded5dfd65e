from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sightline
from sightline.configuration.schema import EnsembleRecipe, Recipe
from sightline.data.inputs.pixels import read_pixels
from sightline.data.splitting.splits import read_splits_csv
from sightline.errors import InvalidValue, OutputExists, TrainingFailed
from sightline.metrics.classification import softmax
from sightline.system.backends import installed_backends, load_keras
from sightline.system.workers import available_processors
from sightline.training.setup import resolution
from sightline.training.setup.processes import check_jobs

keras = load_keras()

from sightline.bundles.parity import check_difference  # noqa: E402  # the backend is chosen first
from sightline.training.packaging.contract import largest_probability_difference  # noqa: E402  # the backend is chosen first

TRAIN = """
import sys
from sightline.cli.main import main
sys.exit(main(["train", "--json", *sys.argv[1:]]))
"""
SHORT = ("--epochs", 2, "--model", "lenet5")
AS_THE_TINY_RUN = ("--set", "optimizer.name=adamw")
# What the documentation promises of `sightline train --json`.
PROMISED = {
    "run",
    "bundle",
    "recipe",
    "backend",
    "epochs",
    "stopped_early",
    "num_parameters",
    "validation",
    "test",
    "seconds",
    "images_per_second",
}


def weights_of(run: sightline.Run | Path) -> list[bytes]:
    path = (run if isinstance(run, Path) else run.path) / "bundle" / "model.keras"
    return [array.tobytes() for array in keras.saving.load_model(path, compile=False).get_weights()]


@pytest.fixture(scope="module")
def other_process(small_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The tiny run once more, in another process and by the command line: its folder and both streams.

    Its home holds the settings of another project, which are none of a run's business.
    """
    import subprocess

    out, home = tmp_path_factory.mktemp("other") / "run", tmp_path_factory.mktemp("keras")
    settings = {"floatx": "float16", "epsilon": 0.01, "image_data_format": "channels_first", "backend": "numpy"}
    (home / "keras.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(small_npz), "--out", str(out), *map(str, SHORT), *AS_THE_TINY_RUN],
        env={**os.environ, "KERAS_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return out, done.stdout, done.stderr


def test_the_same_seed_gives_byte_equal_weights_in_another_process(tiny_run: sightline.Run, other_process) -> None:
    if tiny_run.backend != "tensorflow":
        pytest.skip("only TensorFlow promises equal bytes")
    assert tiny_run.recipe["augmentation"]["policy"] == "digits"
    assert weights_of(tiny_run) == weights_of(other_process[0])


def test_the_network_in_keras_is_compared_on_the_processor(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where a GPU multiplies in TF32, it differs from ONNX Runtime by more than is put down to rounding.
    devices, opened = [], keras.saving.load_model

    def load_model(*names: object, **settings: object) -> object:
        devices.append(open_devices[-1])
        return opened(*names, **settings)

    open_devices, device = ["as Keras chooses"], keras.device
    monkeypatch.setattr(keras, "device", lambda name: open_devices.append(name) or device(name))
    monkeypatch.setattr(keras.saving, "load_model", load_model)
    images = small_arrays["x_test"][:20, :, :, None]
    with np.load(tiny_run.path / "predictions.npz") as saved:
        assert (
            largest_probability_difference(tiny_run.bundle.path / "model.keras", images, saved["test_logits"][:20])
            < 1e-5
        )
    assert devices == ["cpu:0"]


def test_train_prints_one_json_object_and_all_else_on_stderr(other_process) -> None:
    out, stdout, stderr = other_process
    figures = json.loads(stdout)
    assert set(figures) >= PROMISED
    assert (figures["run"], figures["bundle"]) == (str(out), str(out / "bundle"))
    assert (figures["epochs"], figures["stopped_early"], figures["num_parameters"]) == (2, False, 61_706)
    for name, num_images in (("validation", 30), ("test", 200)):
        assert figures[name]["num_images"] == num_images
        assert figures[name]["accuracy"] == figures[name]["num_correct"] / num_images
        lower, upper = figures[name]["accuracy_interval"]
        assert 0 <= lower <= figures[name]["accuracy"] <= upper <= 1
        assert figures[name]["cross_entropy"] > 0
    assert {"import", "data", "fit", "evaluate", "export", "total"} <= set(figures["seconds"])
    assert figures["images_per_second"] > 0
    assert figures["recipe"]["seed"] == 0
    assert "epoch 2/2" in stderr
    assert "settled: data.image_size=28, data.color_mode=grey, augmentation.policy=digits\n" in stderr
    assert json.loads((out / "metrics.json").read_text()) == figures


def test_a_run_leaves_every_file_of_the_design(tiny_run: sightline.Run) -> None:
    names = {str(path.relative_to(tiny_run.path)) for path in tiny_run.path.rglob("*") if path.is_file()}
    bundle = "manifest.json input.json labels.json model.keras model.onnx calibration.json metrics.json card.md"
    bundle += " parity.npz identity.npz sets.npz abstention.npz reference.npz"
    bundle += " novelty.npz neighbours.npz"
    assert names == {
        *[
            "recipe.json",
            "report.html",
            "resolution.json",
            "splits.csv",
            "excluded.csv",
            "labels.csv",
            "findings.json",
            "history.jsonl",
            "predictions.npz",
            "metrics.json",
        ],
        *["curves.png", "confusion.png", "reliability.png", "mistakes.png"],
        *(str(Path("bundle") / name) for name in bundle.split()),
    }


def test_the_recipe_of_a_run_trains_the_same_again(tiny_run: sightline.Run) -> None:
    recorded = sightline.recipe(tiny_run.path / "recipe.json")
    assert recorded.to_dict() == tiny_run.recipe
    assert (recorded.model.name, recorded.data.image_size, recorded.data.color_mode) == ("lenet5", 28, "grey")
    assert (recorded.name, recorded.training.epochs) == ("fast", 2)


def test_a_run_keeps_what_was_settled_of_the_recipe_that_was_asked_for_and_why(tiny_run: sightline.Run) -> None:
    kept = json.loads((tiny_run.path / "resolution.json").read_text())
    assert kept[0] == {"key": "data.image_size", "asked": "auto", "settled": 28, "reason": "the source has 28x28"}
    recorded = sightline.recipe(tiny_run.path / "recipe.json")
    keys = {"model.name": "lenet5", "training.epochs": 2, "optimizer.name": "adamw"}
    asked = sightline.recipe("fast", keys)
    assert asked.changed({change["key"]: change["settled"] for change in kept}) == recorded


def test_the_splits_of_a_run_can_be_given_back(tiny_run: sightline.Run, small_npz: Path) -> None:
    read = read_splits_csv((tiny_run.path / "splits.csv").read_text(), sightline.load(small_npz))
    for name in ("train", "validation", "calibration", "test"):
        np.testing.assert_array_equal(read.rows(name), tiny_run.splits.rows(name))


def test_the_saved_predictions_are_those_that_were_judged(tiny_run: sightline.Run) -> None:
    with np.load(tiny_run.path / "predictions.npz", allow_pickle=False) as saved:
        logits, labels = saved["test_logits"], saved["test_labels"]
        assert saved["class_names"].tolist() == list(tiny_run.bundle.class_names)
        assert saved["test_row_ids"][0] == "test/00000"
        assert (len(saved["validation_labels"]), len(saved["calibration_labels"])) == (30, 30)
    assert (logits.argmax(axis=1) == labels).sum() == tiny_run.evaluation.num_correct
    assert tiny_run.evaluation.num_images == 200


def test_the_figures_are_those_of_the_history(tiny_run: sightline.Run) -> None:
    # The temperature moves the loss but no answer.
    assert tiny_run.validation.accuracy == pytest.approx(tiny_run.history[-1]["validation_accuracy"], abs=1e-6)
    assert len(tiny_run.history) == tiny_run.chosen_epoch == 2


def test_the_temperature_comes_from_the_calibration_rows_and_is_in_the_bundle(tiny_run: sightline.Run) -> None:
    from sightline.metrics.calibration.temperature import fit_temperature

    with np.load(tiny_run.path / "predictions.npz") as saved:
        fitted = fit_temperature(saved["calibration_logits"], saved["calibration_labels"])
    told = json.loads((tiny_run.path / "bundle" / "calibration.json").read_text())
    assert told["temperature"] == pytest.approx(fitted)
    assert (told["num_images"], tiny_run.bundle.temperature) == (30, told["temperature"])
    assert fitted != 1


def test_test_labels_influence_nothing_but_the_test_figures(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    changed = {**small_arrays, "y_test": np.roll(small_arrays["y_test"], 7)}
    changed["x_test"] = 255 - changed["x_test"]
    recipe = sightline.recipe(tiny_run.path / "recipe.json")
    run = sightline.train(changed, recipe=recipe, out=tmp_path / "run", mode="quiet")
    if tiny_run.backend == "tensorflow":
        assert weights_of(run) == weights_of(tiny_run)
    assert run.bundle.temperature == tiny_run.bundle.temperature
    assert run.bundle.input == tiny_run.bundle.input
    assert run.validation.num_correct == tiny_run.validation.num_correct
    assert run.evaluation.num_correct < tiny_run.evaluation.num_correct


def test_model_keras_opens_in_plain_keras_and_answers_as_model_onnx(tiny_run: sightline.Run, small_npz: Path) -> None:
    import onnxruntime

    dataset = sightline.load(small_npz)
    images = read_pixels(dataset, tiny_run.bundle.input)[tiny_run.splits.test]
    network = keras.saving.load_model(tiny_run.bundle.path / "model.keras")
    answer = network(images)
    assert set(answer) == {"features", "logits"}
    session = onnxruntime.InferenceSession(tiny_run.bundle.path / "model.onnx", providers=["CPUExecutionProvider"])
    (given,), outputs = session.get_inputs(), {output.name: output for output in session.get_outputs()}
    assert set(outputs) == {"features", "logits", "novelty", "nearest", "nearest_distances"}
    told = outputs["logits"]
    assert (given.name, given.type, given.shape[1:]) == ("images", "tensor(uint8)", [28, 28, 1])
    assert (told.name, told.type) == ("logits", "tensor(float)")
    (logits,) = session.run(["logits"], {"images": images})
    difference = np.abs(softmax(np.asarray(answer["logits"])) - softmax(logits)).max()
    assert difference <= 1e-4
    assert not np.isnan(logits).any()


def test_nothing_but_keras_own_layers_is_in_model_keras(tiny_run: sightline.Run) -> None:
    with zipfile.ZipFile(tiny_run.bundle.path / "model.keras") as archive:
        config = json.load(io.TextIOWrapper(archive.open("config.json")))
    layers = config["config"]["layers"]
    assert all(layer["module"].startswith("keras.") and layer["registered_name"] is None for layer in layers)
    assert not [layer for layer in layers if "Random" in layer["class_name"] or "affine" in layer["config"]["name"]]


def test_a_graph_that_differs_is_refused() -> None:
    logits = np.array([[2.0, 1.0, 0.0], [0.0, 0.5, 1.0]], np.float32)
    assert check_difference(logits, logits + 3) < 1e-6
    check_difference(logits, logits + np.array([[1e-4, 0, 0]], np.float32))
    with pytest.raises(TrainingFailed, match=r"differ by .* in a probability; 0\.0001 is allowed"):
        check_difference(logits, logits + np.array([[1e-2, 0, 0]], np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_graph_that_answers_no_number_is_refused(bad: float) -> None:
    logits = np.zeros((2, 3), np.float32)
    broken = logits.copy()
    broken[1, 2] = bad
    with pytest.raises(TrainingFailed, match="The bundle was refused"):
        check_difference(logits, broken)


def test_without_test_calibration_and_validation_rows_a_bundle_is_made_nonetheless(
    small_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    arrays = {key: small_arrays[key] for key in ("x_train", "y_train")}
    nothing = {f"data.{name}_fraction": 0 for name in ("validation", "calibration", "test")}
    recipe = sightline.recipe("fast", {**nothing, "model.name": "mlp", "training.epochs": 1})
    run = sightline.train(arrays, recipe=recipe, out=tmp_path / "run", mode="quiet")
    assert (run.validation, run.evaluation, run.bundle.temperature) == (None, None, 1.0)
    assert "no test rows" in repr(run)
    assert "nothing is known about how good it is" in (run.bundle.path / "card.md").read_text()
    assert (run.path / "curves.png").is_file()
    assert not (run.path / "confusion.png").exists()


@pytest.mark.soak
def test_colour_pictures_of_another_size_train_a_convnet_and_names_travel(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = numbers.integers(0, 80, (60, 20, 24, 3)) + 60 * labels[:, None, None, None]
    arrays = {"x_train": images.astype(np.uint8), "y_train": labels}
    source = sightline.load(arrays, class_names=["dark", "medium", "bright"], name="greys")
    recipe = sightline.recipe("fast", {"training.epochs": 1, "data.image_size": 16})
    run = sightline.train(source, recipe=recipe, out=tmp_path / "run", mode="quiet")
    assert (run.recipe["model"]["name"], run.recipe["augmentation"]["policy"]) == ("convnet", "light")
    assert run.bundle.class_names == ("dark", "medium", "bright")
    assert run.bundle.input.shape == (16, 16, 3)
    assert "dark, medium, bright" in (run.bundle.path / "card.md").read_text()


def test_a_diverged_run_leaves_no_bundle_and_says_so(small_npz: Path, tmp_path: Path) -> None:
    settings = {
        "model.name": "mlp",
        "model.pixel_scaling": "none",
        "optimizer.name": "sgd",
        "optimizer.learning_rate": 10,
        "optimizer.weight_decay": 1,  # each step then multiplies the weights by -9
        "schedule.name": "constant",
    }
    with pytest.raises(TrainingFailed, match="no longer a finite number"):
        sightline.train(small_npz, recipe=sightline.recipe("fast", settings), out=tmp_path / "run", mode="quiet")
    assert not list((tmp_path / "run").glob("*bundle*"))
    with pytest.raises(sightline.SightlineError, match="this run has no bundle; its training did not finish"):
        sightline.predict(tmp_path / "run", ["a.png"])


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on file sizes to set")
@pytest.mark.soak
def test_a_network_that_cannot_be_written_whole_leaves_no_bundle(small_npz: Path, tmp_path: Path, python) -> None:
    # Enough for the tables and pictures, not for 61,706 weights.
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
    answer = python(limited + TRAIN, small_npz, "--out", tmp_path / "run", *SHORT)
    assert (answer.code, answer.out) == (2, ""), answer.err
    assert "bundle: the file would be larger than is allowed here" in answer.err
    assert "Traceback" not in answer.err
    assert not [path.name for path in (tmp_path / "run").iterdir() if "bundle" in path.name]


def test_an_image_too_large_for_the_model_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    arrays = {"x_train": np.zeros((20, 70, 70), np.uint8), "y_train": np.arange(20) % 2}
    recipe = sightline.recipe("fast", {"model.name": "lenet5"})
    with pytest.raises(InvalidValue, match=r"lenet5 takes images up to 64 pixels a side; got 70x70"):
        sightline.train(arrays, recipe=recipe, out=tmp_path / "run", mode="quiet")
    assert not (tmp_path / "run").exists()


def test_a_taken_folder_is_refused_and_untouched(small_npz: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(OutputExists, match="is a folder that is not empty"):
        sightline.train(small_npz, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("log_every", [0, -1, 2.5, "ten", True])
def test_log_every_is_a_whole_number(log_every: object, small_npz: Path) -> None:
    with pytest.raises(InvalidValue, match="log_every must be a whole number of at least 1"):
        sightline.train(small_npz, log_every=log_every)  # type: ignore[arg-type]


def test_a_run_shows_its_figures_and_pictures(tiny_run: sightline.Run) -> None:
    assert repr(tiny_run) == f"Run '{tiny_run.path}': test {tiny_run.evaluation}, 2 epochs on {tiny_run.backend}"
    assert tiny_run._repr_html_().count("data:image/png;base64,") == 4
    assert "<th>precision</th>" in tiny_run.evaluation._repr_html_()
    assert repr(tiny_run.bundle).endswith("10 classes, 28x28x1 uint8 in")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.soak
def test_every_installed_backend_trains_a_bundle_that_predicts(
    backend: str, small_npz: Path, tmp_path: Path, python, small_arrays: dict[str, np.ndarray]
) -> None:
    if backend not in installed_backends():
        pytest.skip(f"{backend} is not installed")
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    short = ("--backend", backend, "--model", "mlp", "--epochs", 1)
    answer = python(TRAIN, small_npz, "--out", tmp_path / "run", *short, env=environment)
    assert answer.code == 0, answer.err
    figures = json.loads(answer.out)
    assert (figures["backend"], figures["num_parameters"]) == (backend, 235_146)
    predictions = sightline.predict(tmp_path / "run", small_arrays["x_test"], progress=False)
    correct = int((predictions.logits.argmax(axis=1) == small_arrays["y_test"]).sum())
    assert correct == figures["test"]["num_correct"]


@pytest.mark.soak
def test_a_network_trained_in_mixed_precision_is_saved_in_float32(small_npz: Path, tmp_path: Path) -> None:
    recipe = sightline.recipe(
        "fast", {"model.name": "mlp", "training.epochs": 1, "training.precision": "mixed_bfloat16"}
    )
    run = sightline.train(small_npz, recipe=recipe, out=tmp_path / "run", mode="quiet")
    network = keras.saving.load_model(run.bundle.path / "model.keras", compile=False)
    assert {layer.compute_dtype for layer in network.layers if layer.weights} == {"float32"}
    assert keras.config.dtype_policy().name == "float32", "the setting of the process is put back"


def test_the_precision_auto_is_settled_before_anything_is_recorded(
    small_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolution, "_multiplies_in_bfloat16", lambda: True)
    monkeypatch.setattr(resolution, "_NVIDIA", tmp_path / "no-gpu")
    asked = sightline.recipe("accurate", {"model.name": "mlp", "training.epochs": 1})
    assert asked.training.precision == "auto"
    run = sightline.train(small_npz, recipe=asked, out=tmp_path / "run", mode="quiet")
    expected = "mixed_bfloat16" if run.backend == "tensorflow" else "float32"
    assert run.recipe["training"]["precision"] == expected


@pytest.mark.soak
def test_one_network_answers_with_the_mean_over_views_where_they_are_asked_for(small_npz: Path, tmp_path: Path) -> None:
    settings = {"model.name": "mlp", "training.epochs": 1, "augmentation.policy": "none"}
    plain, seen = (
        sightline.train(
            small_npz,
            recipe=sightline.recipe("fast", {**settings, "ensemble.test_views": views}),
            out=tmp_path / views,
            mode="quiet",
        )
        for views in ("none", "mirror")
    )
    images = np.random.default_rng(0).integers(0, 256, (5, *seen.bundle.input.shape), dtype=np.uint8)
    alone = [softmax(sightline.predict(plain, views, progress=False).logits) for views in (images, images[:, :, ::-1])]
    together = sightline.predict(seen, images, progress=False)
    np.testing.assert_allclose(softmax(together.logits), np.mean(alone, axis=0), atol=1e-4)
    assert seen.ensemble is None
    assert together.disagreements is None


BAGGING, BOOSTING = (Recipe(ensemble=EnsembleRecipe(kind=kind)) for kind in ("bagging", "boosting"))


@pytest.mark.parametrize("jobs", [0, -1, 1.0, True, "2", None, float("nan")])
def test_a_number_of_jobs_that_is_none_is_refused(jobs: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^jobs must be a whole number of at least 1; got"):
        check_jobs(jobs, BAGGING)


def test_jobs_without_members_to_spread_are_refused() -> None:
    with pytest.raises(InvalidValue, match="jobs=2 trains members of an ensemble at once, and there is none"):
        check_jobs(2, Recipe())
    with pytest.raises(InvalidValue, match="members of a boosted ensemble build on one another"):
        check_jobs(2, BOOSTING)
    check_jobs(1, BOOSTING)


def test_more_jobs_than_processors_are_refused() -> None:
    most = available_processors()
    check_jobs(most, BAGGING)
    with pytest.raises(InvalidValue, match=f"jobs={most + 1} processes are more than .* Set as many or fewer"):
        check_jobs(most + 1, BAGGING)
