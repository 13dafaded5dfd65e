"""The folder of a run: a new one, the one of an ensemble that was left unfinished, or a refusal."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import sightline
from sightline.configuration.schema import EnsembleRecipe
from sightline.errors import InvalidValue, OutputExists
from sightline.training.setup.run_folder import BEGUN, run_folder


def made_folder(out, data) -> Path:
    """The folder of a run that nobody is at any more."""
    with run_folder(out, data) as folder:
        return folder


def test_an_unfinished_ensemble_is_gone_on_with_and_half_a_member_is_cleared_away(prepared_job, tmp_path: Path) -> None:
    _, data = prepared_job({})
    folder = made_folder(tmp_path / "mine", data)
    assert json.loads((folder / "recipe.json").read_text()) == data.recipe.to_dict()
    half = folder / "members" / ".01.abcd.partial"
    half.mkdir()
    (half / "history.jsonl").touch()
    (folder / "members" / "02").mkdir()
    assert made_folder(tmp_path / "mine", data) == folder
    assert not half.exists()
    assert (folder / "members" / "02").exists()


@pytest.mark.parametrize("other", [{"seed": 1}, {"ensemble.members": 4}, {"training.epochs": 3}])
def test_an_unfinished_ensemble_of_another_recipe_is_refused(other: dict, prepared_job, tmp_path: Path) -> None:
    made_folder(tmp_path / "mine", prepared_job({})[1])
    with pytest.raises(OutputExists, match="holds an unfinished ensemble of another recipe, other data or other"):
        made_folder(tmp_path / "mine", prepared_job(other)[1])


def test_an_unfinished_ensemble_of_other_images_is_refused(prepared_job, corners: dict, tmp_path: Path) -> None:
    made_folder(tmp_path / "mine", prepared_job({})[1])
    changed = sightline.load(corners | {"x_test": 255 - corners["x_test"]}, name="corners")
    with pytest.raises(OutputExists, match=r"other data or other splits\. Name another folder, or delete this one"):
        made_folder(tmp_path / "mine", prepared_job({}, source=changed)[1])


@pytest.mark.parametrize("name", ["recipe.json", "splits.csv", "members/plan.json"])
def test_a_damaged_plan_is_not_gone_on_with(name: str, prepared_job, tmp_path: Path) -> None:
    _, data = prepared_job({})
    (made_folder(tmp_path / "mine", data) / name).write_text("{")
    with pytest.raises(OutputExists, match="unfinished ensemble"):
        made_folder(tmp_path / "mine", data)


def test_without_a_name_the_unfinished_run_is_found_and_a_finished_one_left_alone(
    prepared_job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, data = prepared_job({})
    first = made_folder(None, data)
    assert str(first) == str(Path("runs") / "corners-fast-001")
    assert made_folder(None, data) == first
    other = made_folder(None, prepared_job({"seed": 3})[1])
    assert other.name == "corners-fast-002"
    assert made_folder(None, data) == first
    (first / "metrics.json").write_text("{}")
    assert made_folder(None, data).name == "corners-fast-003"


def test_a_folder_with_something_else_in_it_is_refused(prepared_job, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(OutputExists, match="is a folder that is not empty"):
        made_folder(tmp_path / "mine", prepared_job({})[1])


def test_whoever_trains_the_same_ensemble_at_the_same_time_is_refused_or_gets_a_folder_of_its_own(
    prepared_job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = prepared_job({})[1]
    with run_folder(tmp_path / "mine", data) as folder:
        half = folder / "members" / ".01.partial"
        half.mkdir()
        with pytest.raises(OutputExists, match=r"mine: is being trained by another command\. Name .* or wait"):
            made_folder(tmp_path / "mine", data)
        assert half.is_dir(), "what the other command writes is left alone"
    assert made_folder(tmp_path / "mine", data) == folder
    assert not half.exists()
    with run_folder(None, data) as first, run_folder(None, data) as second:
        assert first != second
    assert made_folder(None, data) in (first, second)


def _refused(out: Path, data, *, has_learned: bool) -> None:
    def refuse() -> None:
        with run_folder(out, data) as folder:
            if has_learned:
                (folder / "history.jsonl").write_text("{}\n")
            raise InvalidValue("a budget too short")

    with pytest.raises(InvalidValue, match="a budget too short"):
        refuse()


def test_a_run_that_is_refused_before_it_learned_leaves_no_folder(prepared_job, tmp_path: Path) -> None:
    _, data = prepared_job({})
    data = dataclasses.replace(data, recipe=dataclasses.replace(data.recipe, ensemble=EnsembleRecipe()))
    _refused(tmp_path / "mine", data, has_learned=False)
    assert not (tmp_path / "mine").exists()
    _refused(tmp_path / "mine", data, has_learned=True)
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {*BEGUN, "history.jsonl"}
