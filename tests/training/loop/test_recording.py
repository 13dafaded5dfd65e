"""What `--tensorboard` leaves, read back by TensorBoard itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sightline
from sightline.errors import CannotWrite, InvalidValue
from sightline.training.loop.recording import append_scalars, log_folder, make_log_folder

SETTINGS = {"model.name": "mlp", "training.epochs": 3}


def read_back(folder: Path) -> dict[str, list[tuple[int, float]]]:
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    events = reading.EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_a_run_is_logged_epoch_by_epoch_as_its_history_says(small_npz: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    recipe = sightline.recipe("fast", SETTINGS)
    run = sightline.train(small_npz, recipe=recipe, out=tmp_path / "first", tensorboard=tmp_path / "logs", mode="quiet")
    train, validation = (read_back(tmp_path / "logs" / "first" / name) for name in ("train", "validation"))
    assert set(train) == {"loss", "accuracy", "learning_rate", "seconds"}
    assert set(validation) == {"loss", "accuracy"}
    for logged, prefix in ((train, ""), (validation, "validation_")):
        for tag, course in logged.items():
            expected = [(row["epoch"], pytest.approx(row[prefix + tag], rel=1e-6)) for row in run.history]
            assert course == expected, tag
    lines = (run.path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [step for step, _ in train["loss"]]


def test_without_validation_there_is_no_folder_for_it(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    append_scalars(tmp_path / "run", {"epoch": 4, "loss": 0.5, "accuracy": 0.25})
    assert read_back(tmp_path / "run" / "train") == {"loss": [(4, 0.5)], "accuracy": [(4, 0.25)]}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["train"]


def test_each_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    folders = [make_log_folder(tmp_path / "logs", "first") for _ in range(3)]
    assert [folder.name for folder in folders] == ["first", "first-2", "first-3"]


def test_a_missing_tensorboard_is_told_before_training_begins(python, tmp_path: Path) -> None:
    program = """
import sys, sightline
sys.modules["tensorboard"] = None
try:
    sightline.train("mnist", out="run", tensorboard="logs")
except sightline.SightlineError as error:
    print(type(error).__name__, error, "keras" in sys.modules)
"""
    answer = python(program)
    assert answer.out == (
        "MissingPackage --tensorboard needs the package 'tensorboard', which is not installed. "
        "Run: pip install 'sightline[tensorboard]' False\n"
    ), answer.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("inside", [".", "mine/all"])
def test_a_file_is_no_place_to_log_into(tmp_path: Path, inside: str) -> None:
    (tmp_path / "logs").write_text("taken")
    with pytest.raises(InvalidValue, match=r"--tensorboard .*logs is no folder"):
        sightline.train("mnist", tensorboard=tmp_path / "logs" / inside)


def test_a_link_that_leads_nowhere_is_no_place_to_log_into_and_is_not_tried_forever(tmp_path: Path) -> None:
    (tmp_path / "logs").symlink_to(tmp_path / "gone")
    with pytest.raises(InvalidValue, match=r"--tensorboard .*logs is no folder"):
        sightline.train("mnist", tensorboard=tmp_path / "logs")
    with pytest.raises(CannotWrite):
        make_log_folder(tmp_path / "logs", "first")


@pytest.mark.parametrize("noted", ["../elsewhere", "/", 5, ["a"], "\0"])
def test_a_folder_that_is_noted_and_lies_elsewhere_is_not_logged_to(noted: object, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "noted.json").write_text(json.dumps(noted))
    assert log_folder(tmp_path / "logs", "first", tmp_path / "noted.json") == tmp_path / "logs" / "first"
    assert log_folder(tmp_path / "logs", "first", tmp_path / "noted.json") == tmp_path / "logs" / "first"
