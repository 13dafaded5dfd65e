"""Classes that a run knew and the new images lack, kept by the images that the run was made with."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.data.sources.joining import joined
from sightline.errors import InvalidSource, InvalidValue

LEVELS = {"black": 10, "dark": 90, "light": 170, "white": 245}
RECIPE = {
    "training.epochs": 25,
    "optimizer.learning_rate": 0.01,
    "model.name": "mlp",
    "augmentation.policy": "none",
    "training.batch_size": 16,
}


def photographs(folder: Path, names: tuple[str, ...], *, seed: int, count: int = 60) -> Path:
    generator = np.random.default_rng(seed)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            noise = generator.integers(-9, 10, (16, 16))
            Image.fromarray((LEVELS[name] + noise).clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    place = tmp_path_factory.mktemp("first")
    source = photographs(place / "old", ("black", "light", "white"), seed=1)
    return sightline.train(source, recipe=sightline.recipe("photos", RECIPE), out=place / "first", mode="quiet")


@pytest.fixture(scope="module")
def kept(first, tmp_path_factory):
    place = tmp_path_factory.mktemp("kept")
    source = photographs(place / "new", ("dark", "light"), seed=2)
    return sightline.train(source, start=first, keep_classes=True, out=place / "run", mode="quiet")


def lines(run):
    with (run.path / "splits.csv").open(encoding="utf-8", newline="") as stream:
        return {line["row_id"]: line["split"] for line in csv.DictReader(stream)}


def test_kept_classes_are_learned_and_judged_by_images_of_the_run_in_their_splits(kept, first, tmp_path):
    assert kept.bundle.class_names == ("black", "dark", "light", "white")
    before, now = lines(first), lines(kept)
    of_run = {row: split for row, split in now.items() if row.startswith("first/")}
    assert of_run == {f"first/{row}": split for row, split in before.items() if row.split("/")[0] in ("black", "white")}
    assert set(of_run.values()) == {"train", "validation", "calibration", "test"}
    # A class in both is that of the new images alone.
    assert {row.split("/")[0] for row in now if "light" in row} == {"light"}
    confusion = np.asarray(kept.evaluation.confusion)
    assert (confusion.sum(axis=1) > 0).all(), "each class has test images"
    for name in LEVELS:
        answer = sightline.predict(kept.bundle, photographs(tmp_path / name, (name,), seed=3, count=1))
        assert list(answer.predicted) == [name]
    assert "are kept by images of that" in (kept.bundle.path / "card.md").read_text()


def test_the_run_is_judged_again_on_the_same_images(kept):
    again = sightline.evaluate(kept.bundle)
    assert again.num_images == kept.evaluation.num_images
    assert again.figures["accuracy"].value == kept.evaluation.figures["accuracy"].value
    found = sightline.verify(kept.path)
    assert found.holds, str(found)
    assert sightline.mistakes(kept).about_images == ""


def test_where_the_run_before_is_gone_it_is_said_what_it_was_for(kept, first, tmp_path):
    shutil.move(first.path, tmp_path / "away")
    try:
        with pytest.raises(
            InvalidSource, match=r"keeps classes by images of the run .*first, which cannot be opened: "
        ):
            sightline.evaluate(kept.bundle)
        assert "keeps classes by images of the run" in sightline.mistakes(kept).about_images
        named = json.loads((kept.bundle.path / "metrics.json").read_text())["source"]["typed"]
        assert 0 < sightline.evaluate(kept.bundle, named).num_images < kept.evaluation.num_images
    finally:
        shutil.move(tmp_path / "away", first.path)


def test_a_run_that_kept_classes_hands_them_on_with_its_own(kept, tmp_path):
    source = photographs(tmp_path / "newest", ("light",), seed=5)
    third = sightline.train(source, start=kept, keep_classes=True, out=tmp_path / "third", mode="quiet")
    assert third.bundle.class_names == kept.bundle.class_names
    before = {row: split for row, split in lines(kept).items() if not row.startswith("light/")}
    assert {row: split for row, split in lines(third).items() if row.startswith("run/")} == {
        f"run/{row}": split for row, split in before.items()
    }


def test_where_the_images_have_all_classes_none_is_kept_and_that_is_said(first, tmp_path, capsys):
    source = photographs(tmp_path / "new", ("black", "light", "white"), seed=4, count=30)
    run = sightline.train(source, start=first, keep_classes=True, out=tmp_path / "run", mode="plain")
    assert "none is kept by images of the run" in capsys.readouterr().err
    assert not any(row.startswith("first/") for row in lines(run))


def test_images_that_are_gone_changed_or_unknown_are_refused_with_what_to_do(first, tmp_path, monkeypatch):
    new = photographs(tmp_path / "new", ("dark",), seed=2, count=30)
    old = Path(json.loads((first.bundle.path / "metrics.json").read_text())["source"]["typed"])
    monkeypatch.setattr("sightline.training.setup.preparation.read_pixels", lambda *_, **__: pytest.fail("decoded"))

    def refusal():
        with pytest.raises(InvalidSource) as refused:
            sightline.train(new, start=first, keep_classes=True, out=tmp_path / "run", mode="quiet")
        assert not (tmp_path / "run").exists()
        return str(refused.value)

    shutil.move(old, tmp_path / "away")
    try:
        assert "to keep 'black', 'light', 'white', the images of the run are needed, and they cannot be" in refusal()
    finally:
        shutil.move(tmp_path / "away", old)
    added = old / "white" / "one-more.png"
    shutil.copy(old / "white" / "1.png", added)
    try:
        assert "they are not those any more that it learned from" in refusal()
    finally:
        added.unlink()
    arrays = {"x_train": np.zeros((20, 16, 16), np.uint8), "y_train": np.arange(20) % 2}
    with pytest.raises(InvalidSource, match="holds arrays and 'old' files, which cannot be joined"):
        sightline.train(arrays, start=first, keep_classes=True, out=tmp_path / "run", mode="quiet")


def test_without_a_run_there_is_nothing_to_keep(first, tmp_path, command):
    new = photographs(tmp_path / "new", ("dark", "light"), seed=2, count=5)
    with pytest.raises(InvalidValue, match="keep_classes keeps those of a run"):
        sightline.train(new, keep_classes=True, mode="quiet")
    with pytest.raises(InvalidValue, match=r"data\.keep_classes=true would change nothing"):
        sightline.recipe("photos", {"data.keep_classes": True})
    recipe = sightline.recipe(
        "photos", {"data.keep_classes": True, "model.name": "mlp", "model.weights": str(first.bundle.path)}
    )
    with pytest.raises(InvalidValue, match="goes by the images of a run"):
        sightline.train(new, recipe=recipe, out=tmp_path / "run", mode="quiet")
    answer = command("train", new, "--keep-classes")
    assert answer.code == 2
    assert "data.keep_classes=true would change nothing" in answer.err or "name it" in answer.err


def test_joined_sources_read_and_know_each_image_where_it_lies(tmp_path):
    one = sightline.load(photographs(tmp_path / "one", ("black", "white"), seed=1, count=3))
    other = sightline.load(photographs(tmp_path / "other", ("white", "dark"), seed=2, count=2))
    both = joined(one, other, prefix="one")
    assert both.class_names == ("black", "dark", "white")
    assert both.named() == (*one.named(), *other.named())
    rows = np.array([9, 0, 6])
    taken = both.take(rows).images
    files = [
        *(tmp_path / "one" / name for name in one.images.names),
        *(tmp_path / "other" / n for n in other.images.names),
    ]
    assert [taken.read(row) for row in range(3)] == [files[row].read_bytes() for row in rows]
    apart = [*one.images.identities(np.arange(6)), *other.images.identities(np.arange(4))]
    assert taken.identities(np.arange(3)) == [apart[row] for row in rows]
    assert len(set(both.row_ids.tolist())) == 10
    again = joined(one, other, prefix="one")
    assert again.fingerprint == both.fingerprint != joined(one, other.take(np.arange(3)), prefix="one").fingerprint


def test_asked_again_by_its_recipe_it_is_divided_as_it_was(kept):
    from sightline.configuration.recipes import parse_recipe
    from sightline.data.splitting.splits import splits_csv
    from sightline.training.setup.preparation import prepare

    # As `resume` asks, and as members of an ensemble prepare it in other processes.
    source = json.loads((kept.bundle.path / "metrics.json").read_text())["source"]
    data = prepare(source["typed"], parse_recipe(kept.recipe))
    assert splits_csv(data.dataset, data.splits) == (kept.path / "splits.csv").read_text()
    assert data.dataset.fingerprint == source["fingerprint"]
    assert source["kept"] == kept.recipe["model"]["weights"]
