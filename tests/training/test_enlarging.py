"""A larger side within a time budget: when it is looked at, when taken, and what is told of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.system.backends import load_keras
from sightline.system.progress import reporting

load_keras()

from sightline.training import enlarging  # noqa: E402  # the backend is chosen first
from sightline.training.enlarging import MOST_SAMPLED, enlarged  # noqa: E402
from sightline.training.setup.preparation import Prepared, prepare  # noqa: E402

BUDGET = {"training.time_budget_seconds": 600}

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of little pictures in colour: discs, squares and noise, anywhere."""
    place, generator = tmp_path_factory.mktemp("small") / "shapes", np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for label, name in enumerate(("disc", "noise", "square")):
        (place / name).mkdir(parents=True)
        for number in range(30):
            image, (row, column) = generator.normal(120, 30, (32, 32, 3)), generator.integers(8, 24, 2)
            away = (np.hypot(y - row, x - column), None, np.maximum(abs(y - row), abs(x - column)))[label]
            if away is not None:
                image[away < 6] += generator.normal(0, 60, 3)
            Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(place / name / f"{number:02d}.png")
    return place


def prepared(source: Path, settings: dict[str, Any]) -> Prepared:
    usual = {"training.feature_variants": 1, "data.group_near_duplicates": False}
    with reporting("quiet"):
        return prepare(sightline.load(source), sightline.recipe("transfer", usual | settings))


@pytest.mark.parametrize("is_better", [True, False])
def test_the_larger_side_is_taken_where_train_images_say_that_it_is_better(
    is_better: bool, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = prepared(small, BUDGET)
    assert data.spec.shape == (96, 96, 3)
    judged: list[tuple[np.ndarray, tuple[int, ...]]] = []
    usual = enlarging._head

    def head(data: Prepared, rows: np.ndarray, pixels: Any) -> Any:
        judged.append((rows, pixels[:].shape))
        return usual(data, rows, pixels)

    monkeypatch.setattr(enlarging, "_head", head)
    monkeypatch.setattr(enlarging.Comparison, "is_better", property(lambda _: is_better))
    with reporting("plain"):
        found = enlarged(data)
    # What is not to choose anything was not looked at.
    assert [shape for _, shape in judged] == [(len(data.splits.train), side, side, 3) for side in (96, 224)]
    assert all(np.isin(rows, data.splits.train).all() for rows, _ in judged)
    told = capsys.readouterr().err
    if not is_better:
        assert found is data
        assert "images stay at 96 pixels a side: not better beyond chance at 224; cross-entropy " in told
        return
    assert found.spec == dataclasses.replace(data.spec, height=224, width=224)
    assert found.pixels[:].shape == (len(data.dataset), 224, 224, 3)
    assert found.recipe.data.image_size == 224
    (change,) = (change for change in found.changes if change.key == "data.image_size")
    assert (change.asked, change.settled) == ("auto", 224)
    assert change.reason.startswith("better beyond chance than 96; cross-entropy ")
    assert (found.splits, found.dataset) == (data.splits, data.dataset)
    assert "An answer takes about 5.4 times as long; --set data.image_size=96 keeps it short." in told
    # Whoever goes on with it decides the same.
    with reporting("quiet"):
        assert enlarged(data).recipe == found.recipe


@pytest.mark.parametrize(
    "settings",
    [
        {},
        BUDGET | {"data.image_size": 96},
        {"training.time_budget_seconds": 15.5},
        BUDGET | {"model.weights": "random"},
    ],
)
def test_what_was_asked_for_stays_and_without_time_nothing_is_looked_at(
    settings: dict[str, Any], small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enlarging, "_head", lambda *_: pytest.fail("looked at"))
    data = prepared(small, settings)
    assert enlarged(data) is data


def test_the_largest_side_that_the_budget_suffices_for_is_looked_at(small: Path) -> None:
    data = prepared(small, BUDGET)
    sides = []
    for seconds in (600, 17.5, 16.5, 15.5):
        recipe = data.recipe.changed({"training.time_budget_seconds": seconds})
        sides.append(enlarging._affordable(dataclasses.replace(data, recipe=recipe)))
    assert sides == [224, 160, 128, None]


def test_of_many_images_an_even_share_of_each_class_is_looked_at(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepared(small, BUDGET)
    monkeypatch.setattr(enlarging, "MOST_SAMPLED", 30)
    rows = enlarging._sample(data)
    assert np.bincount(data.dataset.labels[rows]).tolist() == [10, 10, 10]
    monkeypatch.setattr(enlarging, "MOST_SAMPLED", 2)
    assert not len(enlarging._sample(data))
    assert MOST_SAMPLED == 400
