"""`stress` from end to end, against a trained run, and its command."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.errors import InvalidSource, InvalidValue, UnknownName
from sightline.evaluation.stress import COLUMNS, Stress, StressLevel

pytestmark = pytest.mark.slow
FEW: dict[str, Any] = {"corruptions": ["contrast", "gaussian noise"], "severities": [1, 5], "limit": 40}


@pytest.fixture
def folder(small_arrays: dict[str, np.ndarray], tmp_path: Path) -> Path:
    """30 test images as files in folders of their classes."""
    for row, (image, label) in enumerate(zip(small_arrays["x_test"][:30], small_arrays["y_test"][:30], strict=True)):
        place = tmp_path / "digits" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{row:02d}.png")
    return tmp_path / "digits"


def test_each_corruption_and_severity_has_its_figure_and_the_mean_is_theirs(tiny_run: sightline.Run) -> None:
    found = sightline.stress(tiny_run, **FEW)
    assert [(level.corruption, level.severity) for level in found.levels] == [
        (name, severity) for name in FEW["corruptions"] for severity in (1, 5)
    ]
    assert found.mean.num_correct == sum(level.num_correct for level in found.levels)
    assert found.mean.num_images == 4 * found.num_images == 160
    assert found.worst.accuracy == min(level.accuracy for level in found.corruptions)
    assert found.relative_drop == pytest.approx(1 - found.mean.accuracy / found.clean.accuracy)
    for level in (found.clean, found.mean, *found.levels, *found.corruptions):
        assert level.interval[0] <= level.accuracy <= level.interval[1]
    whole = found.corruptions[0]
    parts = [level for level in found.levels if level.corruption == whole.corruption]
    assert whole.num_correct == sum(level.num_correct for level in parts)


@pytest.mark.soak
def test_it_is_the_same_again_from_files_and_with_classes_in_another_order(
    tiny_run: sightline.Run, folder: Path
) -> None:
    found = [sightline.stress(tiny_run, folder, **FEW, split="all") for _ in range(2)]
    assert found[0].figures() == found[1].figures()
    dataset = sightline.load(folder)
    turned = dataclasses.replace(
        dataset, class_names=dataset.class_names[::-1], labels=dataset.num_classes - 1 - dataset.labels
    )
    assert sightline.stress(tiny_run, turned, **FEW, split="all").clean.num_correct == found[0].clean.num_correct


def test_files_that_cannot_be_read_are_named_and_in_no_figure(tiny_run: sightline.Run, folder: Path) -> None:
    whole = sightline.stress(tiny_run, folder, **FEW, split="all")
    broken = next(folder.rglob("*.png")).parent / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    found = sightline.stress(tiny_run, folder, **FEW, split="all")
    ((path, reason),) = found.errors
    assert path.endswith("broken.png")
    assert reason
    assert found.levels == whole.levels


def test_a_source_without_a_readable_image_and_strange_classes_are_refused(
    tiny_run: sightline.Run, folder: Path
) -> None:
    shutil.copytree(folder / "0", folder / "strange")
    with pytest.raises(InvalidValue, match="classes the bundle does not know: strange"):
        sightline.stress(tiny_run, folder, **FEW, split="all")
    shutil.rmtree(folder / "strange")
    for path in folder.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InvalidSource, match="none of 30 images can be answered"):
        sightline.stress(tiny_run, folder, **FEW, split="all")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruptions": ["fogg"]}, "Did you mean 'fog'"),
        ({"corruptions": []}, "corruptions must be a list of names"),
        ({"corruptions": "fog"}, "corruptions must be a list of names"),
        ({"severities": [0]}, "severities must be some of 1, 2, 3, 4, 5"),
        ({"severities": [True]}, "severities must be some of"),
        ({"severities": []}, "severities must be some of"),
        ({"severities": 3}, "severities must be some of"),
        ({"limit": 0}, "limit must be a whole number of at least 1"),
        ({"limit": True}, "limit must be a whole number"),
        ({"limit": float("nan")}, "limit must be a whole number"),
        ({"seed": "x"}, "seed must be a whole number"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(
    tiny_run: sightline.Run, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((InvalidValue, UnknownName), match=message):
        sightline.stress(tiny_run, **options)


def test_the_command_says_the_figure_and_writes_table_and_picture(
    tiny_run: sightline.Run, command: Any, tmp_path: Path
) -> None:
    table, picture = tmp_path / "stress.csv", tmp_path / "stress.png"
    words = ["stress", tiny_run.path, "--corruptions", "contrast,fog", "--severities", "1,5", "--limit", "20"]
    told = command(*words, "--csv", table, "--out", picture, "--quiet")
    assert told.code == 0
    assert told.out.startswith("mean accuracy 0.")
    assert "Worst: " in told.out
    lines = list(csv.DictReader(io.StringIO(table.read_text())))
    assert tuple(lines[0]) == COLUMNS
    assert len(lines) == 2 + 2 + 4
    assert picture.read_bytes().startswith(b"\x89PNG")
    figures = json.loads(command(*words, "--json", "--quiet").out)
    assert figures["worst"]["corruption"] in ("contrast", "fog")
    assert len(figures["levels"]) == 4
    assert command(*words[:2], "--severities", "one", "--quiet").code == 2
    assert command(*words, "--csv", picture, "--quiet").code in (0, 2)


def test_nothing_right_has_no_drop_to_speak_of() -> None:
    nothing = StressLevel("none", 0, 10, 0, (0.0, 0.3))
    found = Stress(10, nothing, nothing, (nothing,), (nothing,), (), "", None)
    assert np.isnan(found.relative_drop)
    assert "less" not in found.in_words
