"""Learning curves of planted truths: what rises, what does not, what hangs together, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles import features as feature_module
from sightline.errors import InvalidSource
from sightline.training.search.learning_curve import _Chosen, _draws, _projections


def planted(num_images: int, *, seed: int, distance: float = 2.2, num_features: int = 60) -> _Chosen:
    """Three classes of one spread in a space of many directions, so that few images say little of where they lie."""
    generator = np.random.default_rng(seed)
    labels = np.arange(num_images) % 3
    features = generator.normal(size=(num_images, num_features)) + distance * np.eye(3, num_features)[labels]
    return _Chosen(features.astype(np.float32), labels, np.arange(num_images), ("a", "b", "c"), ())


def test_the_curve_rises_to_what_the_planted_classes_allow_and_its_projection_holds():
    chosen = planted(900, seed=1)
    steps, sizes, accuracies = _draws(chosen, seed=0)
    assert steps == [5, 10, 20, 40, 80, 160, None]
    assert sizes[:3].tolist() == [15, 30, 60]
    means = accuracies.mean(axis=0)
    assert (np.diff(means) > -0.01).all()
    told, remark = _projections(sizes, 1 - accuracies, 900, 900)
    # The truth, by as many images as were foretold, and judged on many more.
    larger = planted(4500, seed=2)
    _, _, measured = _draws(larger, seed=0)
    assert [one.num_images for one in told] == [900, 1800, 4500]
    assert told[2].interval[0] <= measured[:, -1].mean() <= told[2].interval[1]
    assert told[2].interval[1] - told[2].interval[0] < 0.16
    assert remark == ""


def test_groups_that_give_themselves_away_teach_nothing():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 8)
    labels = generator.integers(0, 2, 60)[groups]
    # Each thing looks the same on all its pictures, and its class is chance.
    features = (5 * generator.normal(size=(60, 40))[groups] + 0.1 * generator.normal(size=(480, 40))).astype(np.float32)
    apart = _draws(_Chosen(features, labels, groups, ("a", "b"), ()), seed=0)[2][:, -1].mean()
    mixed = _draws(_Chosen(features, labels, np.arange(480), ("a", "b"), ()), seed=0)[2][:, -1].mean()
    assert apart < 0.65
    assert mixed > 0.75


def test_what_does_not_rise_is_not_projected():
    generator = np.random.default_rng(3)
    noise = generator.normal(size=(400, 30)).astype(np.float32)
    _, sizes, accuracies = _draws(_Chosen(noise, np.arange(400) % 2, np.arange(400), ("a", "b"), ()), seed=0)
    told, remark = _projections(sizes, 1 - accuracies, 400, 400)
    assert told == ()
    assert "does not rise beyond chance" in remark


def test_the_largest_class_decides_how_far_the_steps_go_and_hardly_larger_ones_are_left_out():
    chosen = planted(300, seed=4)
    rare = np.flatnonzero(chosen.labels < 2)[12:]
    kept = np.setdiff1d(np.arange(300), rare)
    few = _Chosen(chosen.features[kept], chosen.labels[kept], np.arange(len(kept)), ("a", "b", "c"), ())
    steps, sizes, _ = _draws(few, seed=0)
    assert steps[-1] is None
    assert (sizes[1:] >= 1.3 * sizes[:-1]).all()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes that differ in colour, one of a single image, one file that is none."""
    folder = tmp_path_factory.mktemp("curve") / "photos"
    generator = np.random.default_rng(0)
    for name, colour in (("red", (170, 60, 60)), ("green", (60, 150, 60))):
        (folder / name).mkdir(parents=True)
        for number in range(15):
            noise = generator.integers(-50, 50, (12, 12, 3)).repeat(9, 0).repeat(9, 1)
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "alone").mkdir()
    Image.new("RGB", (80, 80), "blue").save(folder / "alone" / "1.png")
    (folder / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    return folder


def test_the_command_tells_the_curve_what_was_left_out_and_what_could_not_be_read(photos, command, tmp_path):
    answer = command("learning-curve", photos, "--quiet", "--json")
    assert answer.code == 1
    told = json.loads(answer.out)
    assert told["class_names"] == ["green", "red"]
    assert told["num_images"] == told["num_groups"] == 30
    assert told["left_out"] == [{"class": "alone", "num_images": 1}]
    assert [error["path"] for error in told["errors"]] == ["red/broken.png"]
    assert [point["images_a_class"] for point in told["points"]] == [2, 5, None]
    assert all(
        low <= point["accuracy"] <= high for point in told["points"] for low, high in [point["accuracy_interval"]]
    )
    # Five images a class leave much open, however well they go.
    assert told["points"][-1]["accuracy_interval"][0] < 0.95
    assert told["projections"] == []
    assert "3 points" in told["remark"]
    assert (tmp_path / told["picture"]).read_bytes().startswith(b"\x89PNG")
    printed = command("learning-curve", photos, "--quiet").out
    assert "left out, for fewer than 5 images that do not hang together: 'alone' (1)" in printed
    assert "1 file could not be read, red/broken.png" in printed


def test_copies_are_on_one_side_and_one_more_file_computes_one(photos, tmp_path, monkeypatch):
    folder = shutil.copytree(photos, tmp_path / "photos")
    computed = []
    as_it_is = feature_module._fill

    def counting(session, images, view, rows, tables):
        computed.append(len(rows))
        return as_it_is(session, images, view, rows, tables)

    monkeypatch.setattr(feature_module, "_fill", counting)
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    before = sightline.learning_curve(folder, mode="quiet")
    Image.open(folder / "red" / "3.png").rotate(90).save(folder / "red" / "turned.png")
    after = sightline.learning_curve(folder, mode="quiet")
    assert computed == [32, 1]
    assert (after.num_images, after.num_groups) == (before.num_images + 1, before.num_groups)


def test_too_few_classes_are_refused_with_their_counts(photos, tmp_path):
    folder = shutil.copytree(photos, tmp_path / "photos")
    for number in range(4, 15):
        (folder / "green" / f"{number}.png").unlink()
    with pytest.raises(InvalidSource, match=r"two classes with at least 5 images .* 'green' \(4\), 'red' \(15\)"):
        sightline.learning_curve(folder, mode="quiet")
    shutil.rmtree(folder / "green")
    shutil.rmtree(folder / "alone")
    with pytest.raises(InvalidSource, match="class"):
        sightline.learning_curve(folder, mode="quiet")


def test_a_picture_is_written_where_it_may_be(photos, tmp_path):
    curve = sightline.learning_curve(photos, out=tmp_path / "curve.png", mode="quiet")
    assert (tmp_path / "curve.png").read_bytes() == curve.png
    assert curve._repr_html_().startswith("<img")
    (tmp_path / "mine.png").write_bytes(b"mine")
    with pytest.raises(sightline.SightlineError, match=r"mine\.png"):
        sightline.learning_curve(photos, out=tmp_path / "mine.png", mode="quiet")
